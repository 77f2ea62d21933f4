# What this was written for. A provider's next major version may want other arguments: read its upgrade guide first.

terraform {
  required_version = ">= 1.9"

  required_providers {
    azurerm    = { source = "hashicorp/azurerm", version = "~> 5.10" }
    helm       = { source = "hashicorp/helm", version = "~> 3.0" }
    kubernetes = { source = "hashicorp/kubernetes", version = "~> 3.0" }
    random     = { source = "hashicorp/random", version = "~> 3.7" }
    tls        = { source = "hashicorp/tls", version = "~> 4.1" }
  }
}

provider "azurerm" {
  subscription_id     = var.subscription_id
  storage_use_azuread = true # the storage account may have no keys

  resource_providers_to_register = [
    "Microsoft.Batch",
    "Microsoft.ContainerRegistry",
    "Microsoft.ContainerService",
    "Microsoft.DocumentDB",
    "Microsoft.Insights",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.ServiceBus",
    "Microsoft.Storage",
  ]

  features {
    application_insights {
      disable_generated_rule = true # it would stay behind in the group, and keep that from being deleted
    }

    resource_group {
      # What others put into the group is not deleted with it.
      prevent_deletion_if_contains_resources = true
    }
  }
}

locals {
  # Of the cluster's own administrator: what `az aks get-credentials --admin` fetches.
  kubernetes = azurerm_kubernetes_cluster.ion.kube_config[0]
}

provider "kubernetes" {
  host                   = local.kubernetes.host
  client_certificate     = base64decode(local.kubernetes.client_certificate)
  client_key             = base64decode(local.kubernetes.client_key)
  cluster_ca_certificate = base64decode(local.kubernetes.cluster_ca_certificate)
}

provider "helm" {
  kubernetes = {
    host                   = local.kubernetes.host
    client_certificate     = base64decode(local.kubernetes.client_certificate)
    client_key             = base64decode(local.kubernetes.client_key)
    cluster_ca_certificate = base64decode(local.kubernetes.cluster_ca_certificate)
  }
}
