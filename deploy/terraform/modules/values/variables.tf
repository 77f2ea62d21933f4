# What is known of the deployment, as Ion's chart has to be told. Needs no provider, so that it can be tried by itself.

variable "image" {
  type        = object({ repository = string, tag = string })
  description = "Ion's image."
}

variable "namespaces" {
  type        = object({ ion = string, jobs = string })
  description = "Of Ion, and of jobs."
}

variable "label" {
  type        = string
  description = "Of the management API's public address, in the region's domain."
}

variable "allowed_cidrs" {
  type        = list(string)
  description = "Who reaches the management API."
}

variable "bus" {
  type        = object({ host = string, premium = bool })
  description = "The Service Bus namespace."
}

variable "ledger" {
  type        = object({ account = string, database = string })
  description = "The Cosmos DB account."
}

variable "blobs" {
  type        = object({ account = string, container = string, cidr = string, identity = bool })
  description = "The storage account; where its private endpoint is; whether there are identities in place of its key."
}

variable "identities" {
  type        = object({ ion = string, batch = string })
  description = "The client id of Ion's own, and the resource id of that of Batch nodes."
}

variable "login_cidrs" {
  type        = list(string)
  description = "Where tokens are got."
}

variable "batch" {
  type        = object({ endpoint = string, pool = string })
  default     = null
  description = "The Batch account, if there is one."
}

variable "checksum" {
  type        = string
  description = "Of the Secret's content: pods are started anew when it changes."
}

variable "pools" {
  type        = object({ ion = map(string), jobs = map(string) })
  description = "Labels of the nodes of Ion's own pods, and of those of jobs."
}

variable "job_taint" {
  type        = string
  default     = ""
  description = "The key of the taint that nodes of jobs have, if they have one."
}
