# The storage account: files, logs, manifests. Ion never overwrites and removes what its retention says, so there are no
# versions, no undeleting and no rules of a life cycle; each would keep, or take away, what Ion does not know of.

resource "azurerm_storage_account" "ion" {
  name                             = local.names.blobs
  resource_group_name              = azurerm_resource_group.ion.name
  location                         = var.location
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = var.blob_replication
  https_traffic_only_enabled       = true
  min_tls_version                  = "TLS1_2"
  allow_nested_items_to_be_public  = false
  shared_access_key_enabled        = var.blob_credentials == "key"
  default_to_oauth_authentication  = true
  cross_tenant_replication_enabled = false
  public_network_access_enabled    = var.blobs_public
  tags                             = local.tags

  blob_properties {
    versioning_enabled = false
  }
}

resource "azurerm_storage_container" "ion" {
  name                  = "ion"
  storage_account_id    = azurerm_storage_account.ion.id
  container_access_type = "private"
}
