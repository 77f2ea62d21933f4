resource "random_string" "suffix" {
  length  = 6
  upper   = false
  special = false
}

module "names" {
  source   = "./modules/names"
  prefix   = var.prefix
  suffix   = var.suffix == "" ? random_string.suffix.result : var.suffix
  location = var.location
}

locals {
  names = module.names.names
  tags  = merge({ application = "ion" }, var.tags)

  # Namespaces of the cluster. Jobs are apart from Ion, so that dispatchers cannot read its Secrets.
  namespaces = { ion = "ion", jobs = "ion-jobs" }
}

resource "azurerm_resource_group" "ion" {
  name     = local.names.group
  location = var.location
  tags     = local.tags
}
