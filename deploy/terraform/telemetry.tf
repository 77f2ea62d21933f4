# Application Insights, which keeps its data in a workspace of Log Analytics.

resource "azurerm_log_analytics_workspace" "ion" {
  name                = local.names.insights
  resource_group_name = azurerm_resource_group.ion.name
  location            = var.location
  sku                 = "PerGB2018"
  retention_in_days   = var.telemetry_days
  daily_quota_gb      = var.telemetry_gb
  tags                = local.tags
}

resource "azurerm_application_insights" "ion" {
  name                = local.names.insights
  resource_group_name = azurerm_resource_group.ion.name
  location            = var.location
  workspace_id        = azurerm_log_analytics_workspace.ion.id
  application_type    = "other"
  retention_in_days   = var.telemetry_days
  tags                = local.tags
}
