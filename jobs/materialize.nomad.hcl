# Materialize servers. They write the log to the history.
#
#   nomad job run jobs/materialize.nomad.hcl
#   nomad job run -var count=4 -var-file=production.hcl jobs/materialize.nomad.hcl
#
# Written by `make reference` from jobs/server.hcl.template and scripts/jobs.py.
# It runs on Nomad 1.6 and later. See docs/how-to/deploy-with-nomad.md.

variable "count" {
  type        = number
  default     = 2
  description = "number of servers at the first run; control changes it later, and another run keeps its number"
}

variable "version" {
  type        = string
  default     = "0.1.0"
  description = "the version to deploy; changing it alone causes a rolling update"
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "raw_exec or exec, with CecoChat installed on the nodes, or docker"
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

variable "kafka" {
  type        = string
  default     = "127.0.0.1:17092"
  description = "host:port of brokers, separated by commas"
}

variable "cassandra" {
  type        = string
  default     = "127.0.0.1:17042"
  description = "host:port of nodes, separated by commas"
}

variable "redis" {
  type        = string
  default     = "127.0.0.1:17379"
  description = "host:port"
}

variable "postgres" {
  type        = string
  default     = ""
  description = "host:port, for searches, such as 127.0.0.1:17432; empty means that there are none"
}

variable "settings" {
  type        = map(string)
  default     = {}
  description = "further CECOCHAT_* variables, such as CECOCHAT_JWKS_FILE; see docs/reference/settings.md"
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
  default     = 500
  description = "MHz"
}

variable "memory" {
  type        = number
  default     = 384
  description = "MiB"
}

# The checks use TLS if the servers do. They ask whether a server lives, not who it is.
locals {
  health = lookup(var.settings, "CECOCHAT_INTERNAL_CERT_FILE", "") == "" ? "http" : "https"
}

job "cecochat-materialize" {
  type        = "service"
  datacenters = var.datacenters

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  # Spread the servers, so that a node that dies takes as few of them as possible with it.
  spread {
    attribute = "${node.unique.id}"
  }

  update {
    max_parallel      = 1
    canary            = 1 # the new version proves itself beside the old one first
    auto_promote      = true
    auto_revert       = true # a version that does not become healthy is reverted
    health_check      = "checks"
    min_healthy_time  = "5s" # a server that will fail does so within its first takeovers
    healthy_deadline  = var.healthy_deadline
    progress_deadline = var.progress_deadline
  }

  # When a node is drained, servers move one after the other, as in an update.
  migrate {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "5s"
    healthy_deadline = "2m"
  }

  group "materialize" {
    count = var.count

    # A new version starts new servers, as a new path of the program would.
    meta {
      version = var.version
    }

    # Control changes the count within these limits, by what the servers carry.
    scaling {
      enabled = true
      min     = 1
      max     = 8
    }

    network {
      port "health" {}
    }

    # A server that dies is started again at once. Control has given its work to others by then.
    restart {
      attempts = 10
      interval = "5m"
      delay    = "1s"
      mode     = "fail" # after that, try another node
    }

    reschedule {
      unlimited      = true
      delay          = "5s"
      delay_function = "exponential"
      max_delay      = "1m"
    }

    # This is for Nomad and for people. Servers find each other as cecochat-materialize, which they register
    # themselves, with a check that tells one start of a server from the next (ADR 40).
    service {
      name = "nomad-cecochat-materialize"
      port = "health"

      meta {
        alloc_id = "${NOMAD_ALLOC_ID}"
        version  = var.version
      }

      # Does the process live? Backends do not count, or one outage would restart all servers.
      check {
        name            = "live"
        type            = "http"
        protocol        = local.health
        tls_skip_verify = true
        port            = "health"
        path            = "/livez"
        interval        = "5s"
        timeout         = "2s"

        check_restart {
          limit = 6 # no answer for half a minute
          grace = "60s"
        }
      }

      # Has it finished its start? An update goes on once it has.
      check {
        name            = "ready"
        type            = "http"
        protocol        = local.health
        tls_skip_verify = true
        port            = "health"
        path            = "/readyz"
        interval        = "2s"
        timeout         = "2s"
        on_update       = "require_healthy"
      }
    }

    task "materialize" {
      driver       = var.driver
      user         = var.user
      kill_signal  = "SIGTERM"
      kill_timeout = "30s" # it waits up to 15s for its turn, and then it finishes and commits what it is writing

      config {
        command         = var.driver == "docker" ? null : var.command
        image           = var.driver == "docker" ? var.image : null
        network_mode    = var.driver == "docker" ? "host" : null
        volumes         = var.driver == "docker" ? var.volumes : null
        readonly_rootfs = var.driver == "docker" ? true : null
        cap_drop        = var.driver == "docker" ? ["all"] : null
        args            = ["serve", "materialize"]
      }

      env = merge({
        CECOCHAT_INTERNAL_HOST           = "${NOMAD_IP_health}"
        CECOCHAT_MATERIALIZE_HEALTH_PORT = "${NOMAD_PORT_health}"
        CECOCHAT_CONSUL                  = var.consul
        CECOCHAT_KAFKA                   = var.kafka
        CECOCHAT_CASSANDRA               = var.cassandra
        CECOCHAT_REDIS                   = var.redis
        CECOCHAT_POSTGRES                = var.postgres
      }, var.settings)

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}
