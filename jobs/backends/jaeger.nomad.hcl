# Jaeger: takes traces and shows them; it keeps them in memory.
#
#   nomad job run jobs/backends/jaeger.nomad.hcl
#   nomad job run -var node=store-1 -var checkout=/opt/cecochat -var data=/srv/cecochat jobs/backends/jaeger.nomad.hcl
#
# It runs on Nomad 1.6 and later, with the driver raw_exec and a checkout on the node. Run `make backends ARGS=jaeger`
# on the node first. Otherwise the first start does it, which takes many minutes to build it. See docs/how-to/deploy-with-nomad.md.
#
# It has no password, and listens on the address of the node, so use it only in a network of your own.

variable "node" {
  type        = string
  default     = ""
  description = "name of the node that it stays on; empty means any, for a cluster of one node"
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
  description = "folder on the node, for jaeger/ in it; ~ is the home of the agent's user"
}

variable "python" {
  type        = string
  default     = "python3"
  description = "Python 3.11 or newer on the node"
}

variable "port" {
  type        = number
  default     = 17686
  description = "port of its pages and query API"
}

variable "otlp_grpc" {
  type        = number
  default     = 17317
  description = "port where servers send traces, OTLP over gRPC"
}

variable "otlp_http" {
  type        = number
  default     = 17318
  description = "port where servers send traces, OTLP over HTTP"
}

variable "cpu" {
  type        = number
  default     = 100
  description = "MHz"
}

variable "memory" {
  type        = number
  default     = 512
  description = "MiB, which are reserved, but not enforced by raw_exec"
}

locals {
  checkout = var.checkout == "" ? abspath(".") : var.checkout
}

job "cecochat-jaeger" {
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
    max_parallel      = 1 # the old one ends first, because both have the same ports
    auto_revert       = true
    health_check      = "checks"
    min_healthy_time  = "5s"
    healthy_deadline  = "10m" # the first start may have to install it
    progress_deadline = "15m"
  }

  group "jaeger" {
    count = 1

    network {
      port "query" {
        static = var.port
      }
      port "otlp_grpc" {
        static = var.otlp_grpc
      }
      port "otlp_http" {
        static = var.otlp_http
      }
      port "query_grpc" {}
      port "collector_grpc" {}
      port "collector_http" {}
      port "admin" {}
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "2s"
      mode     = "delay" # keep trying on this node
    }

    # It must not move to another node, because servers send to its address.
    reschedule {
      attempts  = 0
      unlimited = false
    }

    service {
      name = "cecochat-jaeger"
      port = "query"

      check {
        name     = "serves"
        type     = "http"
        port     = "admin"
        path     = "/"
        interval = "5s"
        timeout  = "3s"

        check_restart {
          limit = 12    # no answer for a minute
          grace = "10m" # the first start may have to build it
        }
      }
    }

    task "jaeger" {
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "10s" # there is nothing to save

      config {
        command = var.python
        args = [
          "-m", "scripts.backends", "run", "jaeger",
          "--data", "${var.data}/jaeger",
          "--host", "${NOMAD_IP_query}",
          "--port", "${NOMAD_PORT_query}",
          "--ports", join(",", [
            "jaeger.otlp-grpc=${NOMAD_PORT_otlp_grpc}",
            "jaeger.otlp-http=${NOMAD_PORT_otlp_http}",
            "jaeger.query-grpc=${NOMAD_PORT_query_grpc}",
            "jaeger.collector-grpc=${NOMAD_PORT_collector_grpc}",
            "jaeger.collector-http=${NOMAD_PORT_collector_http}",
            "jaeger.admin=${NOMAD_PORT_admin}",
          ]),
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
