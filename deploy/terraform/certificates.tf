# As `ion certs` makes them: an authority that signs itself, a server's certificate, a client's whose role stands in its
# subject. All keys are in Terraform's state.

locals {
  hours = { authority = 24 * 3650, server = 24 * 825, client = 24 * 365, early = 24 * 30 }
}

resource "tls_private_key" "ion" {
  for_each = toset(["authority", "server", "client"])

  algorithm   = "ECDSA"
  ecdsa_curve = "P256"
}

resource "tls_self_signed_cert" "authority" {
  private_key_pem       = tls_private_key.ion["authority"].private_key_pem
  is_ca_certificate     = true
  max_path_length       = 0
  set_subject_key_id    = true
  validity_period_hours = local.hours.authority
  allowed_uses          = ["cert_signing", "crl_signing"]

  subject {
    common_name  = "Ion certificates"
    organization = "ion"
  }
}

resource "tls_cert_request" "server" {
  private_key_pem = tls_private_key.ion["server"].private_key_pem
  dns_names       = [module.names.fqdn, "ion-management", "ion-management.${local.namespaces.ion}.svc", "localhost"]
  ip_addresses    = ["127.0.0.1", "::1"]

  subject {
    common_name  = substr(module.names.fqdn, 0, 64)
    organization = "ion"
  }
}

resource "tls_cert_request" "client" {
  private_key_pem = tls_private_key.ion["client"].private_key_pem

  subject {
    common_name         = var.client_name
    organizational_unit = "admin"
    organization        = "ion"
  }
}

resource "tls_locally_signed_cert" "server" {
  cert_request_pem      = tls_cert_request.server.cert_request_pem
  ca_private_key_pem    = tls_private_key.ion["authority"].private_key_pem
  ca_cert_pem           = tls_self_signed_cert.authority.cert_pem
  validity_period_hours = local.hours.server
  early_renewal_hours   = local.hours.early
  set_subject_key_id    = true
  allowed_uses          = ["digital_signature", "server_auth"]
}

resource "tls_locally_signed_cert" "client" {
  cert_request_pem      = tls_cert_request.client.cert_request_pem
  ca_private_key_pem    = tls_private_key.ion["authority"].private_key_pem
  ca_cert_pem           = tls_self_signed_cert.authority.cert_pem
  validity_period_hours = local.hours.client
  early_renewal_hours   = local.hours.early
  set_subject_key_id    = true
  allowed_uses          = ["digital_signature", "client_auth"]
}
