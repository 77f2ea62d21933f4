# Ion itself: its chart, with what was made beside it.

resource "random_password" "front" {
  length  = 40
  special = false
}

locals {
  # What is secret, as variables of Ion's processes. No job has them.
  connections = merge(
    {
      ION_LEDGER_PASSWORD                   = azurerm_cosmosdb_account.ion.primary_key
      ION_FRONT_TOKEN                       = random_password.front.result
      APPLICATIONINSIGHTS_CONNECTION_STRING = azurerm_application_insights.ion.connection_string
    },
    local.by_identity ? {} : { ION_BLOBS_ACCOUNT_KEY = azurerm_storage_account.ion.primary_access_key },
    var.extra_secrets,
  )
}

module "values" {
  source = "./modules/values"

  image         = { repository = local.image, tag = var.image_tag }
  namespaces    = local.namespaces
  label         = local.names.label
  allowed_cidrs = var.allowed_cidrs
  bus           = { host = "${azurerm_servicebus_namespace.ion.name}.servicebus.windows.net", premium = var.bus_units > 0 }
  ledger        = { account = azurerm_cosmosdb_account.ion.name, database = azurerm_cosmosdb_mongo_database.ion.name }
  login_cidrs   = data.azurerm_network_service_tags.login.ipv4_cidrs
  checksum      = nonsensitive(substr(sha256(jsonencode(local.connections)), 0, 16))
  pools         = local.pools
  job_taint     = var.job_nodes.spot ? local.spot : ""

  blobs = {
    account   = azurerm_storage_account.ion.name
    container = azurerm_storage_container.ion.name
    cidr      = local.subnets.endpoints
    identity  = local.by_identity
  }

  identities = {
    ion   = azurerm_user_assigned_identity.ion["ion"].client_id
    batch = azurerm_user_assigned_identity.ion["batch"].id
  }

  batch = one([for key, pool in local.batch : { endpoint = azurerm_batch_account.ion[key].account_endpoint, pool = pool }])
}

resource "kubernetes_namespace_v1" "ion" {
  for_each = local.namespaces

  metadata {
    name = each.value
    labels = {
      # `commit` reads what a module wrote, whoever that was: it is root with one capability.
      "pod-security.kubernetes.io/enforce" = each.key == "jobs" ? "privileged" : "restricted"
    }
  }

  depends_on = [azurerm_kubernetes_cluster_node_pool.jobs]
}

resource "kubernetes_service_account_v1" "job" {
  automount_service_account_token = false

  metadata {
    name        = "ion-job"
    namespace   = kubernetes_namespace_v1.ion["jobs"].metadata[0].name
    annotations = { "azure.workload.identity/client-id" = azurerm_user_assigned_identity.ion["jobs"].client_id }
  }
}

resource "kubernetes_secret_v1" "connections" {
  data = local.connections

  metadata {
    name      = "ion-connections"
    namespace = kubernetes_namespace_v1.ion["ion"].metadata[0].name
  }
}

resource "kubernetes_secret_v1" "tls" {
  data = {
    "tls.crt" = tls_locally_signed_cert.server.cert_pem
    "tls.key" = tls_private_key.ion["server"].private_key_pem_pkcs8
    "ca.crt"  = tls_self_signed_cert.authority.cert_pem
  }

  metadata {
    name      = "ion-tls"
    namespace = kubernetes_namespace_v1.ion["ion"].metadata[0].name
  }
}

resource "helm_release" "ion" {
  name      = "ion"
  namespace = kubernetes_namespace_v1.ion["ion"].metadata[0].name
  chart     = "${path.module}/../helm/ion"
  timeout   = 900
  values    = concat([yamlencode(module.values.values)], var.helm_values)

  depends_on = [
    azurerm_federated_identity_credential.ion,
    azurerm_private_dns_zone_virtual_network_link.ion,
    azurerm_private_endpoint.ion,
    azurerm_role_assignment.ion,
    azurerm_role_assignment.nodes_pull,
    kubernetes_secret_v1.connections,
    kubernetes_secret_v1.tls,
    kubernetes_service_account_v1.job,
    terraform_data.image,
  ]
}
