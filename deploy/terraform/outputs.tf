# The first five are called as in 2018. `terraform output -raw NAME` prints one without quotes.

output "ion_fqdn" {
  description = "The host of the management API; its port is 9000."
  value       = module.names.fqdn
}

output "ion_ca" {
  description = "The authority's certificate: certs/ca.pem."
  value       = tls_self_signed_cert.authority.cert_pem
}

output "ion_client_cert" {
  description = "The client's certificate, an admin's: certs/client.crt."
  value       = tls_locally_signed_cert.client.cert_pem
  sensitive   = true
}

output "ion_client_key" {
  description = "The key of the client's certificate: certs/client.key."
  value       = tls_private_key.ion["client"].private_key_pem_pkcs8
  sensitive   = true
}

output "kubeconfig" {
  description = "For kubectl, with an administrator's certificate."
  value       = azurerm_kubernetes_cluster.ion.kube_config_raw
  sensitive   = true
}

output "ion_front_token" {
  description = "What the front API wants to see: Authorization: Bearer TOKEN."
  value       = random_password.front.result
  sensitive   = true
}

output "resource_group" {
  description = "Where everything is."
  value       = azurerm_resource_group.ion.name
}

output "cluster" {
  description = "The cluster's name, for az aks get-credentials."
  value       = azurerm_kubernetes_cluster.ion.name
}

output "registry" {
  description = "Where images are pushed to."
  value       = azurerm_container_registry.ion.login_server
}
