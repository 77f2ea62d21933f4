# Service Bus: topics and subscriptions are Ion's to make, so only the namespace is made here. Basic has no topics.

resource "azurerm_servicebus_namespace" "ion" {
  name                         = local.names.bus
  resource_group_name          = azurerm_resource_group.ion.name
  location                     = var.location
  sku                          = var.bus_units == 0 ? "Standard" : "Premium"
  capacity                     = var.bus_units
  premium_messaging_partitions = var.bus_units == 0 ? 0 : 1
  local_auth_enabled           = false # no shared access keys
  minimum_tls_version          = "1.2"
  tags                         = local.tags
}
