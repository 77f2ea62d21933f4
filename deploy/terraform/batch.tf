# Azure Batch: an account that knows no keys, and one pool of machines with GPUs that run containers.

locals {
  batch = var.batch_enabled ? { pool = "gpu" } : {}
}

resource "azurerm_batch_account" "ion" {
  for_each = local.batch

  name                         = local.names.batch
  resource_group_name          = azurerm_resource_group.ion.name
  location                     = var.location
  pool_allocation_mode         = "BatchService"
  allowed_authentication_modes = ["AAD"]
  tags                         = local.tags
}

resource "azurerm_batch_pool" "ion" {
  for_each = local.batch

  name                           = each.value
  resource_group_name            = azurerm_resource_group.ion.name
  account_name                   = azurerm_batch_account.ion[each.key].name
  vm_size                        = var.batch_pool.size
  max_tasks_per_node             = var.batch_pool.slots
  inter_node_communication       = "Disabled"
  target_node_communication_mode = "Simplified"
  node_agent_sku_id              = "batch.node.ubuntu 22.04"

  # Has Docker, the driver of NVIDIA's cards and its toolkit for containers.
  storage_image_reference {
    publisher = "microsoft-dsvm"
    offer     = "ubuntu-hpc"
    sku       = "2204"
    version   = "latest"
  }

  # The one identity of the nodes. A second one, and they would no longer know which of them they are.
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.ion["batch"].id]
  }

  # Nodes fetch these images when they start, by their identity. Others a task fetches itself, with a password or none.
  container_configuration {
    type                  = "DockerCompatible"
    container_image_names = [for one in concat(["ion:${var.image_tag}"], var.batch_images) : "${azurerm_container_registry.ion.login_server}/${one}"]

    container_registries {
      registry_server           = azurerm_container_registry.ion.login_server
      user_assigned_identity_id = azurerm_user_assigned_identity.ion["batch"].id
    }
  }

  network_configuration {
    subnet_id                        = azurerm_subnet.ion["batch"].id
    public_address_provisioning_type = "BatchManaged"
  }

  task_scheduling_policy {
    node_fill_type = "Pack" # so that the others can go
  }

  # As many nodes as there are tasks for, waiting or running; none five minutes after the last. A node goes when its
  # tasks have ended.
  auto_scale {
    evaluation_interval = "PT5M"
    formula             = <<-FORMULA
      $known = $PendingTasks.GetSamplePercent(TimeInterval_Minute * 5);
      $last = max(0, $PendingTasks.GetSample(1));
      $tasks = $known < 70 ? $last : max($last, avg($PendingTasks.GetSample(TimeInterval_Minute * 5)));
      $nodes = min(${var.batch_pool.max}, ceil($tasks / ${var.batch_pool.slots}));
      $TargetDedicatedNodes = ${var.batch_pool.spot ? "0" : "$nodes"};
      $TargetLowPriorityNodes = ${var.batch_pool.spot ? "$nodes" : "0"};
      $NodeDeallocationOption = taskcompletion;
    FORMULA
  }

  depends_on = [azurerm_role_assignment.ion, terraform_data.image, azurerm_private_endpoint.ion]
}
