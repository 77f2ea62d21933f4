# What each service may be, and so what it costs: docs/azure.md has hints.

variable "cluster_tier" {
  type        = string
  default     = "Free"
  description = "The tier of the cluster's control plane. Standard has an agreement about its availability."

  validation {
    condition     = contains(["Free", "Standard", "Premium"], var.cluster_tier)
    error_message = "cluster_tier must be Free, Standard or Premium."
  }
}

variable "kubernetes_version" {
  type        = string
  default     = null
  description = "The cluster's minor version, as 1.33; without it the one that Azure recommends."

  validation {
    condition     = var.kubernetes_version == null || can(regex("^1\\.[0-9]{2}(\\.[0-9]+)?$", var.kubernetes_version))
    error_message = "kubernetes_version must look like 1.33, as in `az aks get-versions`."
  }
}

variable "system_nodes" {
  type        = object({ size = optional(string, "Standard_D2s_v5"), min = optional(number, 2), max = optional(number, 3) })
  default     = {}
  description = "Nodes for Ion's own pods and for the cluster's."

  validation {
    condition     = var.system_nodes.min >= 1 && var.system_nodes.max >= var.system_nodes.min && var.system_nodes.max <= 1000
    error_message = "system_nodes must have a min of 1 or more and a max that is not below it."
  }
}

variable "job_nodes" {
  type        = object({ size = optional(string, "Standard_D4s_v5"), max = optional(number, 5), spot = optional(bool, false) })
  default     = {}
  description = "Nodes for jobs on Kubernetes: none while nothing runs, max at most. spot: cheaper, and taken away at any time."

  validation {
    condition     = var.job_nodes.max >= 1 && var.job_nodes.max <= 1000
    error_message = "job_nodes must have a max of 1 to 1000."
  }
}

variable "registry_sku" {
  type        = string
  default     = "Standard"
  description = "The tier of the container registry."

  validation {
    condition     = contains(["Basic", "Standard", "Premium"], var.registry_sku)
    error_message = "registry_sku must be Basic, Standard or Premium."
  }
}

variable "bus_units" {
  type        = number
  default     = 0
  description = "Messaging units of Service Bus Premium; 0: the Standard tier. To change between the two makes it anew."

  validation {
    condition     = contains([0, 1, 2, 4, 8, 16], var.bus_units)
    error_message = "bus_units must be 0, 1, 2, 4, 8 or 16."
  }
}

variable "ledger_throughput" {
  type        = number
  default     = 4000
  description = "Request units a second that the ledger's database may take at most; it scales between a tenth of it and that."

  validation {
    condition     = var.ledger_throughput >= 1000 && var.ledger_throughput <= 1000000 && var.ledger_throughput % 1000 == 0
    error_message = "ledger_throughput must be thousands, from 1000 to 1000000."
  }
}

variable "blob_replication" {
  type        = string
  default     = "ZRS"
  description = "How blobs are copied: LRS in one place, ZRS in three zones, GRS and GZRS in another region as well."

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS"], var.blob_replication)
    error_message = "blob_replication must be LRS, ZRS, GRS or GZRS."
  }
}

variable "blob_credentials" {
  type        = string
  default     = "identity"
  description = "Who Ion is to the blobs: identity (no key at all) or key (a grant for each attempt). See docs/azure.md."

  validation {
    condition     = contains(["identity", "key"], var.blob_credentials)
    error_message = "blob_credentials must be identity or key."
  }
}

variable "blobs_public" {
  type        = bool
  default     = true
  description = "Whether links to blobs work from outside of the network. Who has no link and no role gets nothing either way."
}

variable "batch_enabled" {
  type        = bool
  default     = true
  description = "Whether there are an Azure Batch account and its pool."
}

variable "batch_pool" {
  type = object({
    size  = optional(string, "Standard_NC4as_T4_v3")
    max   = optional(number, 2)
    slots = optional(number, 1)
    spot  = optional(bool, false)
  })
  default     = {}
  description = "Nodes of the pool, with GPUs by default: none while nothing runs, max at most, slots tasks at a time on each."

  validation {
    condition     = var.batch_pool.max >= 1 && var.batch_pool.max <= 1000 && var.batch_pool.slots >= 1 && var.batch_pool.slots <= 256
    error_message = "batch_pool must have a max of 1 to 1000 and slots of 1 to 256."
  }
}

variable "batch_images" {
  type        = list(string)
  default     = []
  description = "Images of modules in the registry that nodes fetch when they start, as detect:1. A change makes the pool anew."

  validation {
    condition     = alltrue([for one in var.batch_images : can(regex("^[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9_][A-Za-z0-9._-]*$", one))])
    error_message = "batch_images must be names with tags and without the registry, as detect:1."
  }
}

variable "telemetry_days" {
  type        = number
  default     = 30
  description = "For how many days Application Insights keeps what it was told."

  validation {
    condition     = contains([30, 60, 90, 120, 180, 270, 365, 550, 730], var.telemetry_days)
    error_message = "telemetry_days must be 30, 60, 90, 120, 180, 270, 365, 550 or 730."
  }
}

variable "telemetry_gb" {
  type        = number
  default     = 1
  description = "Gigabytes of telemetry that are taken in a day at most; what comes after is dropped. -1: all."

  validation {
    condition     = var.telemetry_gb == -1 || var.telemetry_gb > 0
    error_message = "telemetry_gb must be more than 0, or -1."
  }
}
