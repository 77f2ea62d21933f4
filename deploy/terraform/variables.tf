# Where it is, what it is called, who gets in, and Ion itself. What each service may be is in variables_services.tf.

variable "subscription_id" {
  type        = string
  description = "The Azure subscription: `az account show --query id`."

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", lower(var.subscription_id)))
    error_message = "subscription_id is no subscription's id: it looks like 00000000-0000-0000-0000-000000000000."
  }
}

variable "location" {
  type        = string
  default     = "westeurope"
  description = "The region, as in `az account list-locations --query [].name`."

  validation {
    condition     = can(regex("^[a-z]{4,}[0-9]?$", var.location))
    error_message = "location is no region's name: write it as westeurope, in lower case and without spaces."
  }
}

variable "prefix" {
  type        = string
  default     = "ion"
  description = "What all names begin with."

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,9}$", var.prefix))
    error_message = "prefix must be 3 to 10 of a-z and 0-9 and begin with a letter: a storage account may have no other signs."
  }
}

variable "suffix" {
  type        = string
  default     = ""
  description = "What all names end with, since many have to be unique in the world. Empty: six signs at random."

  validation {
    condition     = can(regex("^([a-z0-9]{3,6})?$", var.suffix))
    error_message = "suffix must be empty, or 3 to 6 of a-z and 0-9."
  }
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of everything, for bills."
}

variable "address_space" {
  type        = string
  default     = "10.40.0.0/16"
  description = "Addresses of the virtual network: a /16 that nothing else has which is ever to be peered with it."

  validation {
    condition = (
      can(cidrhost(var.address_space, 1))
      && can(regex("^10\\.[0-9]+\\.0\\.0/16$", var.address_space))
      && !contains(["10.244.0.0/16", "10.250.0.0/16"], var.address_space)
    )
    error_message = "address_space must be a /16 such as 10.40.0.0/16; 10.244 and 10.250 are those of pods and Services."
  }
}

variable "allowed_cidrs" {
  type        = list(string)
  description = "Who reaches the management API and the cluster's API server: addresses as 203.0.113.7/32. All: 0.0.0.0/0."

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for one in var.allowed_cidrs : can(cidrnetmask(one))])
    error_message = "allowed_cidrs must have IPv4 ranges such as 203.0.113.7/32, yours among them."
  }
}

variable "image_tag" {
  type        = string
  default     = "0.1.0"
  description = "The tag of Ion's image in the registry. Another one for each build: a tag that is there is not built again."

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", var.image_tag)) && var.image_tag != "latest"
    error_message = "image_tag must be up to 128 of letters, digits, dots, dashes and underscores, and not latest."
  }
}

variable "build_image" {
  type        = bool
  default     = true
  description = "Builds Ion's image in the registry by `az acr build`, from this checkout. false: you pushed it, or will."
}

variable "client_name" {
  type        = string
  default     = "admin"
  description = "Whose the client certificate is that comes out; its role is admin."

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", var.client_name))
    error_message = "client_name must be up to 64 letters, digits and . _ @ -, and begin with a letter or digit."
  }
}

variable "helm_values" {
  type        = list(string)
  default     = []
  description = "Further values of Ion's chart, as YAML, laid over those from here: [file(\"mine.yaml\")]."

  validation {
    condition     = alltrue([for one in var.helm_values : can(keys(yamldecode(one)))])
    error_message = "helm_values must be texts of YAML, each a mapping."
  }
}

variable "extra_secrets" {
  type        = map(string)
  default     = {}
  sensitive   = true
  description = "Further variables of Ion's processes: secrets of modules on Azure Batch, passwords of registries."

  validation {
    condition     = alltrue([for name in keys(var.extra_secrets) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "extra_secrets must be named as variables are: capital letters, digits and underscores."
  }
}
