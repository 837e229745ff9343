# PostgreSQL, for searches: one server for a test cluster; its data stays on its node.
#
#   nomad job run jobs/backends/postgres.nomad.hcl
#   nomad job run -var node=store-1 -var checkout=/opt/cecochat -var data=/srv/cecochat jobs/backends/postgres.nomad.hcl
#
# It runs on Nomad 1.6 and later, with the driver raw_exec and a checkout on the node. Run `make backends ARGS=postgres`
# on the node first. Otherwise the first start does it, which installs a package, as root on Debian. See docs/how-to/deploy-with-nomad.md.
#
# It has no password, and listens on the address of the node, so use it only in a network of your own.

variable "node" {
  type        = string
  default     = ""
  description = "name of the node that it and its data stay on; empty means any, for a cluster of one node"
}

variable "datacenters" {
  type        = list(string)
  default     = ["*"]
  description = "datacenters of that node"
}

variable "checkout" {
  type        = string
  default     = ""
  description = "folder of the checkout on the node; empty means the folder in which `nomad job run` is run"
}

variable "data" {
  type        = string
  default     = "~/.local/state/cecochat/nomad"
  description = "folder on the node, for postgres/ in it; ~ is the home of the agent's user"
}

variable "python" {
  type        = string
  default     = "python3"
  description = "Python 3.11 or newer on the node"
}

variable "port" {
  type        = number
  default     = 17432
  description = "port for clients"
}

variable "cpu" {
  type        = number
  default     = 100
  description = "MHz"
}

variable "memory" {
  type        = number
  default     = 256
  description = "MiB, which are reserved, but not enforced by raw_exec"
}

locals {
  checkout = var.checkout == "" ? abspath(".") : var.checkout
}

job "cecochat-postgres" {
  type        = "service"
  datacenters = var.datacenters

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  dynamic "constraint" {
    for_each = var.node == "" ? [] : [var.node]

    content {
      attribute = "${node.unique.name}"
      value     = constraint.value
    }
  }

  update {
    max_parallel      = 1     # the old one ends first, because both have the same ports and data
    auto_revert       = false # an older version may not read what a newer one has written
    health_check      = "checks"
    min_healthy_time  = "5s"
    healthy_deadline  = "10m" # the first start may have to install it
    progress_deadline = "15m"
  }

  group "postgres" {
    count = 1

    network {
      port "clients" {
        static = var.port
      }
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "2s"
      mode     = "delay" # keep trying on this node
    }

    # It must not move to another node, where it would begin empty.
    reschedule {
      attempts  = 0
      unlimited = false
    }

    service {
      name = "cecochat-postgres"
      port = "clients"

      check {
        name     = "listens"
        type     = "tcp"
        interval = "5s"
        timeout  = "3s"

        check_restart {
          limit = 12   # no answer for a minute
          grace = "2m" # the first start may have to install it
        }
      }
    }

    task "postgres" {
      driver       = "raw_exec"
      kill_signal  = "SIGINT" # SIGTERM would wait until all clients have left
      kill_timeout = "30s" # it writes to the disk what it has in memory; killed, it would begin empty

      config {
        command = var.python
        args = [
          "-m", "scripts.backends", "run", "postgres",
          "--data", "${var.data}/postgres",
          "--host", "${NOMAD_IP_clients}",
          "--port", "${NOMAD_PORT_clients}",
        ]
      }

      env {
        PYTHONPATH = local.checkout
      }

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}
