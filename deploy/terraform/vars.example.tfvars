# Copy it, say as ion.tfvars, and put in your own. All else has a default: see variables.tf and variables_services.tf.
subscription_id = "00000000-0000-0000-0000-000000000000"
location        = "westeurope"
prefix          = "acme"

# Who may call the management API and the cluster's API server: your address, and those of your colleagues.
allowed_cidrs = ["203.0.113.7/32"]

system_nodes = { size = "Standard_D2s_v5", min = 2, max = 3 }
job_nodes    = { size = "Standard_D4s_v5", max = 5 }
batch_pool   = { size = "Standard_NC4as_T4_v3", max = 2 }
