# AKS: its network enforces policies (Cilium), and its pods may be identities of Azure's (workload identity).

locals {
  everywhere = contains(var.allowed_cidrs, "0.0.0.0/0")
}

resource "azurerm_kubernetes_cluster" "ion" {
  name                = local.names.cluster
  resource_group_name = azurerm_resource_group.ion.name
  location            = var.location
  dns_prefix          = local.names.cluster
  sku_tier            = var.cluster_tier
  kubernetes_version  = var.kubernetes_version
  tags                = local.tags

  automatic_upgrade_channel = "patch"
  node_os_upgrade_channel   = "NodeImage"
  oidc_issuer_enabled       = true
  workload_identity_enabled = true

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.ion["cluster"].id]
  }

  default_node_pool {
    name                        = "system"
    temporary_name_for_rotation = "systemtmp"
    vm_size                     = var.system_nodes.size
    auto_scaling_enabled        = true
    min_count                   = var.system_nodes.min
    max_count                   = var.system_nodes.max
    vnet_subnet_id              = azurerm_subnet.ion["cluster"].id
    node_labels                 = local.pools.ion
    tags                        = local.tags

    upgrade_settings {
      max_surge = "33%"
    }
  }

  node_provisioning_profile {
    mode = "Manual" # the pools are those of this file
  }

  network_profile {
    network_plugin      = "azure"
    network_plugin_mode = "overlay"
    network_data_plane  = "cilium"
    network_policy      = "cilium"
    pod_cidr            = "10.244.0.0/16"
    service_cidr        = "10.250.0.0/16"
    dns_service_ip      = "10.250.0.10"
  }

  dynamic "api_server_access_profile" {
    for_each = local.everywhere ? [] : [var.allowed_cidrs]
    content {
      authorized_ip_ranges = api_server_access_profile.value
    }
  }

  lifecycle {
    # The patch channel moves on by itself.
    ignore_changes = [kubernetes_version, default_node_pool[0].orchestrator_version]
  }

  depends_on = [azurerm_role_assignment.ion]
}

resource "azurerm_kubernetes_cluster_node_pool" "jobs" {
  name                        = "jobs"
  temporary_name_for_rotation = "jobstmp"
  kubernetes_cluster_id       = azurerm_kubernetes_cluster.ion.id
  vm_size                     = var.job_nodes.size
  auto_scaling_enabled        = true
  min_count                   = 0
  max_count                   = var.job_nodes.max
  vnet_subnet_id              = azurerm_subnet.ion["cluster"].id
  priority                    = var.job_nodes.spot ? "Spot" : "Regular"
  eviction_policy             = var.job_nodes.spot ? "Delete" : null
  spot_max_price              = var.job_nodes.spot ? -1 : null # as much as a node that is not spot
  node_labels                 = local.job_labels
  node_taints                 = local.job_taints
  tags                        = local.tags

  # Spot nodes cannot have it. Others have it in any case; said here, plans do not want to take it away.
  dynamic "upgrade_settings" {
    for_each = var.job_nodes.spot ? [] : ["33%"]
    content {
      max_surge = upgrade_settings.value
    }
  }

  lifecycle {
    ignore_changes = [orchestrator_version]
  }
}

locals {
  spot = "kubernetes.azure.com/scalesetpriority"

  # Which nodes Ion's own pods want, and which its jobs: a node of jobs that had another pod would not go when they ended.
  pools = { ion = { "ion.dev/pool" = "ion" }, jobs = { "ion.dev/pool" = "jobs" } }

  # AKS puts label and taint on spot nodes in any case; said here, plans do not want to take them away.
  job_labels = merge(local.pools.jobs, var.job_nodes.spot ? { (local.spot) = "spot" } : {})
  job_taints = var.job_nodes.spot ? ["${local.spot}=spot:NoSchedule"] : []
}
