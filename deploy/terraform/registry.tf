# The container registry, and Ion's image in it. Nobody has a password: nodes pull by their identities.

resource "azurerm_container_registry" "ion" {
  name                = local.names.registry
  resource_group_name = azurerm_resource_group.ion.name
  location            = var.location
  sku                 = var.registry_sku
  admin_enabled       = false
  tags                = local.tags
}

locals {
  image = "${azurerm_container_registry.ion.login_server}/ion"

  # The clients of what is made here.
  extras = "azurebatch,azuremonitor,kubernetes,management,mongodb,objects,servicebus"
}

# Built where it is kept, by the registry itself; needs the command `az`, logged in to the same subscription.
resource "terraform_data" "image" {
  count = var.build_image ? 1 : 0

  triggers_replace = [azurerm_container_registry.ion.id, var.image_tag, local.extras]

  provisioner "local-exec" {
    working_dir = "${path.module}/../.."
    command     = "az acr build --subscription \"$SUBSCRIPTION\" --registry \"$REGISTRY\" --image \"ion:$TAG\" --build-arg \"EXTRAS=$EXTRAS\" --file deploy/docker/ion.Dockerfile ."
    environment = {
      SUBSCRIPTION = var.subscription_id
      REGISTRY     = azurerm_container_registry.ion.name
      TAG          = var.image_tag
      EXTRAS       = local.extras
    }
  }
}
