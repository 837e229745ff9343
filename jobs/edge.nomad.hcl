# The edge: HAProxy on every node, in front of what clients reach.
#
#   nomad job run -var edge='${meta.public_host}' -var certificate=/etc/cecochat/edge.pem jobs/edge.nomad.hcl
#
# `cecochat deploy` runs it where its values set `edge`, which the servers' jobs need too: docs/how-to/put-an-edge-in-front.md.
# It runs on Nomad 1.6 and later. What is in Consul, Kafka and so on is described in docs/how-to/deploy-with-nomad.md.

variable "version" {
  type        = string
  default     = "0.1.0"
  description = "what is deployed: a change of it alone is a rolling update"
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "raw_exec or exec, with CecoChat and HAProxy installed on the nodes, or docker, with both in the image"
}

variable "command" {
  type        = string
  default     = "cecochat"
  description = "the program, for raw_exec and exec; its path where it is not on the agent's PATH"
}

variable "user" {
  type        = string
  default     = ""
  description = "whose rights the program has; empty: those of the driver, which for raw_exec are the agent's, often root's"
}

variable "image" {
  type        = string
  default     = "cecochat:0.1.0"
  description = "for docker"
}

variable "volumes" {
  type        = list(string)
  default     = []
  description = "for docker: folders of the node, such as /etc/cecochat:/etc/cecochat:ro, for files that settings name"
}

variable "datacenters" {
  type        = list(string)
  default     = ["*"]
  description = "where its nodes may be"
}

variable "consul" {
  type        = string
  default     = "127.0.0.1:8500"
  description = "host:port of the Consul agent of a node"
}

variable "settings" {
  type        = map(string)
  default     = {}
  description = "further CECOCHAT_* variables, such as CECOCHAT_JWKS_FILE: docs/reference/settings.md"
}

variable "edge" {
  type        = string
  default     = "$${attr.unique.network.ip-address}"
  description = "host of its node that clients are told, such as $${meta.public_host}; the servers' jobs take the same"
}

variable "edge_port" {
  type        = number
  default     = 8443
  description = "where clients come in; the servers' jobs take the same"
}

variable "certificate" {
  type        = string
  default     = ""
  description = "file of each node with certificate, chain and key (PEM), read again when it changes; empty: no TLS"
}

variable "healthy_deadline" {
  type        = string
  default     = "1m"
  description = "a server that is not healthy by then has failed; it begins before an image is loaded, so a large one needs more"
}

variable "progress_deadline" {
  type        = string
  default     = "2m"
  description = "a version of which no further server is healthy by then is taken back; longer than healthy_deadline"
}

variable "cpu" {
  type        = number
  default     = 200
  description = "MHz"
}

variable "memory" {
  type        = number
  default     = 256
  description = "MiB"
}

job "cecochat-edge" {
  type        = "system" # a messaging server is reached through the edge of its node
  datacenters = var.datacenters

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  update {
    max_parallel      = 1 # its streams begin anew: one node after the other
    stagger           = "10s"
    auto_revert       = false # system jobs are not taken back
    health_check      = "checks"
    min_healthy_time  = "5s"
    healthy_deadline  = var.healthy_deadline
    progress_deadline = var.progress_deadline
  }

  group "edge" {
    # A change of it starts new ones, as a change of the program's path would.
    meta {
      version = var.version
    }

    network {
      port "edge" {
        static = var.edge_port
      }
    }

    # No other node will do.
    restart {
      attempts = 10
      interval = "5m"
      delay    = "1s"
      mode     = "delay"
    }

    service {
      name = "nomad-cecochat-edge"
      port = "edge"

      meta {
        alloc_id = "${NOMAD_ALLOC_ID}"
        version  = var.version
      }

      check {
        name      = "listens"
        type      = "tcp"
        port      = "edge"
        interval  = "5s"
        timeout   = "2s"
        on_update = "require_healthy"

        check_restart {
          limit = 6
          grace = "60s"
        }
      }
    }

    task "edge" {
      driver       = var.driver
      user         = var.user
      kill_signal  = "SIGTERM"
      kill_timeout = "10s" # streams through it end at once; their clients go on when the next one is there

      config {
        command      = var.driver == "docker" ? null : var.command
        image        = var.driver == "docker" ? var.image : null
        network_mode = var.driver == "docker" ? "host" : null
        volumes      = var.driver == "docker" ? var.volumes : null
        args         = ["edge", "run"]
      }

      env = merge({
        CECOCHAT_EDGE           = "${var.edge}:${NOMAD_PORT_edge}"
        CECOCHAT_EDGE_CERT_FILE = var.certificate
        CECOCHAT_CONSUL         = var.consul
      }, var.settings)

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}
