# The edge: HAProxy on every node, in front of what clients reach.
#
#   nomad job run -var edge='${meta.public_host}' -var certificate=/etc/cecochat/edge.pem jobs/edge.nomad.hcl
#
# `cecochat deploy` runs it if its values set `edge`, which the servers' jobs need, too: see docs/how-to/put-an-edge-in-front.md.
# It runs on Nomad 1.6 and later. See docs/how-to/deploy-with-nomad.md.

variable "version" {
  type        = string
  default     = "0.1.0"
  description = "the version to deploy; changing it alone causes a rolling update"
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "raw_exec or exec, with CecoChat and HAProxy installed on the nodes, or docker, with both in the image"
}

variable "command" {
  type        = string
  default     = "cecochat"
  description = "the program, for raw_exec and exec; give its path if it is not on the agent's PATH"
}

variable "user" {
  type        = string
  default     = ""
  description = "user that runs the program; empty means the driver's default, which for raw_exec is the agent's user, often root"
}

variable "image" {
  type        = string
  default     = "cecochat:0.1.0"
  description = "image, for docker"
}

variable "volumes" {
  type        = list(string)
  default     = []
  description = "for docker, folders of the node with files that settings name, such as /etc/cecochat:/etc/cecochat:ro"
}

variable "datacenters" {
  type        = list(string)
  default     = ["*"]
  description = "datacenters of its nodes"
}

variable "consul" {
  type        = string
  default     = "127.0.0.1:8500"
  description = "host:port of the Consul agent of a node"
}

variable "settings" {
  type        = map(string)
  default     = {}
  description = "further CECOCHAT_* variables, such as CECOCHAT_JWKS_FILE; see docs/reference/settings.md"
}

variable "edge" {
  type        = string
  default     = "$${attr.unique.network.ip-address}"
  description = "host of the node that clients are told, such as $${meta.public_host}; the servers' jobs need the same value"
}

variable "edge_port" {
  type        = number
  default     = 8443
  description = "port for clients; the servers' jobs need the same value"
}

variable "certificate" {
  type        = string
  default     = ""
  description = "file on each node with certificate, chain and key (PEM), which is read again when it changes; empty means no TLS"
}

variable "healthy_deadline" {
  type        = string
  default     = "1m"
  description = "a server that is not healthy after this time has failed; it includes loading the image, so a large one needs more"
}

variable "progress_deadline" {
  type        = string
  default     = "2m"
  description = "a version is reverted if no further server is healthy after this time; longer than healthy_deadline"
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
  type        = "system" # messaging servers are reached through the edge of their own node
  datacenters = var.datacenters

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  update {
    max_parallel      = 1 # one node after the other, because its streams begin anew
    stagger           = "10s"
    auto_revert       = false # Nomad does not revert system jobs
    health_check      = "checks"
    min_healthy_time  = "5s"
    healthy_deadline  = var.healthy_deadline
    progress_deadline = var.progress_deadline
  }

  group "edge" {
    # A new version starts new ones, as a new path of the program would.
    meta {
      version = var.version
    }

    network {
      port "edge" {
        static = var.edge_port
      }
    }

    # It cannot move to another node.
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
      kill_timeout = "10s" # its streams end at once, and their clients go on once the next one is there

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
