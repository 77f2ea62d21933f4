# One network: nodes of the cluster, nodes of Batch, and the private endpoints by which both reach blobs and ledger.

locals {
  subnets = {
    cluster   = cidrsubnet(var.address_space, 4, 0)
    batch     = cidrsubnet(var.address_space, 4, 1)
    endpoints = cidrsubnet(var.address_space, 8, 32)
  }

  # What is reached by an address of this network, and the zone that tells it instead of the public one.
  endpoints = {
    blobs = {
      of   = azurerm_storage_account.ion.id
      part = "blob"
      zone = "privatelink.blob.core.windows.net"
    }
    ledger = {
      of   = azurerm_cosmosdb_account.ion.id
      part = "MongoDB"
      zone = "privatelink.mongo.cosmos.azure.com"
    }
  }
}

resource "azurerm_virtual_network" "ion" {
  name                = local.names.network
  resource_group_name = azurerm_resource_group.ion.name
  location            = var.location
  address_space       = [var.address_space]
  tags                = local.tags
}

resource "azurerm_subnet" "ion" {
  for_each = local.subnets

  name                 = each.key
  resource_group_name  = azurerm_resource_group.ion.name
  virtual_network_name = azurerm_virtual_network.ion.name
  address_prefixes     = [each.value]
}

resource "azurerm_private_dns_zone" "ion" {
  for_each = local.endpoints

  name                = each.value.zone
  resource_group_name = azurerm_resource_group.ion.name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "ion" {
  for_each = local.endpoints

  name                = "${local.names.network}-${each.key}"
  private_dns_zone_id = azurerm_private_dns_zone.ion[each.key].id
  virtual_network_id  = azurerm_virtual_network.ion.id
  tags                = local.tags
}

resource "azurerm_private_endpoint" "ion" {
  for_each = local.endpoints

  name                = "${local.names.network}-${each.key}"
  resource_group_name = azurerm_resource_group.ion.name
  location            = var.location
  subnet_id           = azurerm_subnet.ion["endpoints"].id
  tags                = local.tags

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = each.value.of
    subresource_names              = [each.value.part]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = each.key
    private_dns_zone_ids = [azurerm_private_dns_zone.ion[each.key].id]
  }
}

# Where identities are exchanged for tokens: jobs without network may reach that as well, or they could not store.
data "azurerm_network_service_tags" "login" {
  location = var.location
  service  = "AzureActiveDirectory"
}
