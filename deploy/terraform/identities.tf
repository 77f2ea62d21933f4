# Who may do what in Azure. No principal here has a secret: pods prove by a token of the cluster who they are, nodes by
# the machine that they run on.

locals {
  identities = toset(["cluster", "ion", "jobs", "batch"])

  # The cluster's service accounts that are one of these identities.
  accounts = merge(
    { for one in ["management", "gateway", "dispatcher"] : one => { identity = "ion", subject = "${local.namespaces.ion}:ion-${one}" } },
    { job = { identity = "jobs", subject = "${local.namespaces.jobs}:ion-job" } },
  )

  by_identity = var.blob_credentials == "identity"

  # Roles that are needed before the cluster and the pool are made, or by Ion. Names are those of Azure's own roles.
  roles = merge(
    {
      cluster_network = { identity = "cluster", role = "Network Contributor", scope = azurerm_virtual_network.ion.id }
      ion_bus         = { identity = "ion", role = "Azure Service Bus Data Owner", scope = azurerm_servicebus_namespace.ion.id }
      batch_pull      = { identity = "batch", role = "AcrPull", scope = azurerm_container_registry.ion.id }
    },
    local.by_identity ? {
      ion_blobs   = { identity = "ion", role = "Storage Blob Data Contributor", scope = azurerm_storage_container.ion.id }
      ion_links   = { identity = "ion", role = "Storage Blob Delegator", scope = azurerm_storage_account.ion.id }
      jobs_blobs  = { identity = "jobs", role = "Storage Blob Data Contributor", scope = azurerm_storage_container.ion.id }
      batch_blobs = { identity = "batch", role = "Storage Blob Data Contributor", scope = azurerm_storage_container.ion.id }
    } : {},
    # May look at pools, and manage jobs and tasks.
    { for key, pool in local.batch : "ion_batch" => { identity = "ion", role = "Azure Batch Job Submitter", scope = azurerm_batch_account.ion[key].id } },
  )
}

resource "azurerm_user_assigned_identity" "ion" {
  for_each = local.identities

  name                = "${local.names.cluster}-${each.key}"
  resource_group_name = azurerm_resource_group.ion.name
  location            = var.location
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "ion" {
  for_each = local.accounts

  name                      = each.key
  user_assigned_identity_id = azurerm_user_assigned_identity.ion[each.value.identity].id
  issuer                    = azurerm_kubernetes_cluster.ion.oidc_issuer_url
  subject                   = "system:serviceaccount:${each.value.subject}"
  audience                  = ["api://AzureADTokenExchange"]
}

resource "azurerm_role_assignment" "ion" {
  for_each = local.roles

  principal_id         = azurerm_user_assigned_identity.ion[each.value.identity].principal_id
  principal_type       = "ServicePrincipal"
  role_definition_name = each.value.role
  scope                = each.value.scope
}

# The cluster's nodes, whose identity AKS makes with the cluster.
resource "azurerm_role_assignment" "nodes_pull" {
  principal_id         = azurerm_kubernetes_cluster.ion.kubelet_identity[0].object_id
  principal_type       = "ServicePrincipal"
  role_definition_name = "AcrPull"
  scope                = azurerm_container_registry.ion.id
}
