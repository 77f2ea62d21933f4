locals {
  # Ion's own processes: an identity of Azure's, nodes apart from those of jobs, a new pod when the Secret is another.
  pod = {
    labels       = { "azure.workload.identity/use" = "true" }
    annotations  = { "ion.dev/connections" = var.checksum }
    nodeSelector = var.pools.ion
  }

  # prepare and commit are the identity of jobs. The module's container is nobody: it is given no token of it. The cluster
  # takes nodes away when they have little to do; not from under a job, which would begin anew.
  job_metadata = {
    labels = var.blobs.identity ? { "azure.workload.identity/use" = "true" } : {}
    annotations = merge(
      { "cluster-autoscaler.kubernetes.io/safe-to-evict" = "false" },
      var.blobs.identity ? { "azure.workload.identity/skip-containers" = "module" } : {},
    )
  }

  job_spec = merge(
    { nodeSelector = var.pools.jobs },
    var.job_taint == "" ? {} : { tolerations = [{ key = var.job_taint, operator = "Exists", effect = "NoSchedule" }] },
  )

  # Without an identity an attempt is given links to its own blobs, which are signed with the account's key.
  batch = var.batch == null ? {} : {
    azurebatch = merge(
      {
        url          = "https://${var.batch.endpoint}"
        pool         = var.batch.pool
        handlerImage = "${var.image.repository}:${var.image.tag}"
      },
      var.blobs.identity ? { identity = var.identities.batch } : {},
    )
  }

  # What is reached by jobs that may reach nothing else: their blobs, and what gives out tokens for these.
  blob_peers = concat([var.blobs.cidr], var.blobs.identity ? var.login_cidrs : [])
}

output "values" {
  description = "Values of Ion's chart. No secret is in them: ION_LEDGER_PASSWORD and so on come from the Secret."

  value = {
    image  = var.image
    secret = { existing = "ion-connections" }
    tls    = { secret = "ion-tls" }

    config = merge(local.batch, {
      ledger = {
        kind        = "mongodb"
        cosmos      = true
        hosts       = ["${var.ledger.account}.mongo.cosmos.azure.com:10255"]
        replica_set = "globaldb"
        user        = var.ledger.account
        tls         = true
        database    = var.ledger.database
      }
      bus = merge(
        { kind = "servicebus", namespace = var.bus.host },
        var.bus.premium ? { event_limit = "960Ki" } : {},
      )
      blobs = { kind = "azure", url = "az://${var.blobs.container}/${var.namespaces.ion}", account = var.blobs.account }
      front = { tokens = ["$${ION_FRONT_TOKEN}"] } # filled in from the Secret

      kubernetes = { podTemplate = { metadata = local.job_metadata, spec = local.job_spec } }
    })

    management = {
      pod = local.pod
      service = {
        type                  = "LoadBalancer"
        externalTrafficPolicy = "Local" # policies see who calls
        annotations = {
          "service.beta.kubernetes.io/azure-dns-label-name"    = var.label
          "service.beta.kubernetes.io/azure-allowed-ip-ranges" = join(",", var.allowed_cidrs)
        }
      }
    }
    gateway         = { pod = local.pod }
    dispatchers     = { pod = local.pod }
    serviceAccounts = { annotations = { "azure.workload.identity/client-id" = var.identities.ion } }

    jobs = {
      namespace      = var.namespaces.jobs
      serviceAccount = { create = false, name = "ion-job" }
    }

    networkPolicy = {
      blobs = [{
        to    = [for one in local.blob_peers : { ipBlock = { cidr = one } }]
        ports = [{ port = 443, protocol = "TCP" }]
      }]
      management = concat(
        [for one in var.allowed_cidrs : { ipBlock = { cidr = one } }],
        [{ podSelector = { matchExpressions = [{ key = "app.kubernetes.io/component", operator = "NotIn", values = ["job"] }] } }],
      )
    }
  }
}
