# Cosmos DB for MongoDB: ledger and documents. Ion makes the collections itself, with their shard keys, over the same
# protocol; so the key may write metadata. All of them share the throughput of the database.
#
# This kind of account knows no identities for data: its key is the one secret that Azure makes here.

resource "azurerm_cosmosdb_account" "ion" {
  name                               = local.names.ledger
  resource_group_name                = azurerm_resource_group.ion.name
  location                           = var.location
  offer_type                         = "Standard"
  kind                               = "MongoDB"
  mongo_server_version               = "7.0"
  minimal_tls_version                = "Tls12"
  public_network_access_enabled      = false
  access_key_metadata_writes_enabled = true
  tags                               = local.tags

  capabilities {
    name = "EnableMongo"
  }

  # A change that was acknowledged is seen by all, and is kept.
  consistency_policy {
    consistency_level = "Strong"
  }

  geo_location {
    location          = var.location
    failover_priority = 0
  }

  backup {
    type = "Continuous"
    tier = "Continuous7Days"
  }
}

resource "azurerm_cosmosdb_mongo_database" "ion" {
  name                = "ion"
  resource_group_name = azurerm_resource_group.ion.name
  account_name        = azurerm_cosmosdb_account.ion.name

  autoscale_settings {
    max_throughput = var.ledger_throughput
  }
}
