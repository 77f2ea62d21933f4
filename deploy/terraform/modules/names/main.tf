# What everything is called, and how it is reached. Needs no provider, so that it can be tried by itself.

variable "prefix" { type = string }
variable "suffix" { type = string }
variable "location" { type = string }

locals {
  dashed = "${var.prefix}-${var.suffix}"
  joined = "${var.prefix}${var.suffix}"
}

output "names" {
  description = "By kind of resource."
  value = {
    group    = local.dashed
    network  = local.dashed
    cluster  = local.dashed
    label    = local.dashed # of the public address, in the region's domain
    bus      = local.dashed
    ledger   = local.dashed
    insights = local.dashed
    registry = local.joined
    blobs    = local.joined
    batch    = local.joined
  }
}

output "fqdn" {
  description = "Of the management API."
  value       = "${local.dashed}.${var.location}.cloudapp.azure.com"
}
