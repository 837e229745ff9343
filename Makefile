# What people do with this repository; `make` alone lists it. Needs: make, a POSIX shell, Python (README says which).
# ARGS="..." hands arguments to the program behind a target: make up ARGS="--data /tmp/chat"

.DEFAULT_GOAL := help
SHELL := /bin/sh
bin := .venv/bin
ARGS ?=
BACKENDS ?= embedded
BASE ?=
DOCKER ?= docker
PYTHON ?=
export PYTHON

version = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' services/cecochat/__init__.py)

# A stamp is newer than all that decides what is installed; the development set holds the runtime set.
runtime := .venv/.runtime
dev := .venv/.dev
supply := build/supply/.made
decides := pyproject.toml scripts/venv.sh

$(runtime): requirements.lock requirements-build.lock $(decides)
	@scripts/venv.sh requirements.lock
	@touch $@

$(dev): requirements-dev.lock $(decides)
	@scripts/venv.sh requirements-dev.lock
	@touch $(runtime) $@

.PHONY: help setup up observe audit demo fmt lint type forecast test test-all fresh bench protos reference protos-release lock image sbom advisories clean
.PHONY: backends backends-up backends-down backends-status
.PHONY: cluster-up cluster-test cluster-down cluster-box

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

up: $(runtime) ## run the whole system in one process; it prints how to chat
	@exec $(bin)/cecochat up $(ARGS)

# Ports of scripts/backends/jaeger.py and prometheus_up.py. Both stay, with what they have seen.
observe: $(runtime) ## make up with Jaeger and Prometheus beside it; `make backends-down` stops these
	@$(or $(PYTHON),python3) -m scripts.backends up jaeger
	@$(or $(PYTHON),python3) -m scripts.backends up prometheus-up && metrics=http://127.0.0.1:17091 \
		|| echo "It goes on without Prometheus."; \
	CECOCHAT_OTLP_URL=http://127.0.0.1:17318 CECOCHAT_JAEGER_URL=http://127.0.0.1:17686 \
		CECOCHAT_PROMETHEUS_URL=$$metrics exec $(bin)/cecochat up $(ARGS)

# ARGS="--repair", "--since 24h", "--follow"; a cluster is found as CECOCHAT_CONSUL or ARGS="--settings FILE" says.
audit: $(runtime) ## compare log and history of what `make up` has started; exit code 1: rows are missing
	@exec $(bin)/cecochat audit $(ARGS)

demo: $(runtime) ## two users chat, the server is killed between them, nothing is lost
	@exec $(bin)/python scripts/demo.py $(ARGS)

setup: $(dev) ## .venv with everything for development
	@echo "$(CURDIR)/.venv is up to date."

fmt: $(dev) ## format, and mend what can be mended
	$(bin)/ruff check --fix-only .
	$(bin)/ruff format .

lint: $(dev) ## ruff: rules and format
	$(bin)/ruff check .
	$(bin)/ruff format --check .

type: $(dev) ## mypy, strict
	$(bin)/mypy

forecast: $(dev)
	@$(bin)/python -m tests.support.backends

test: forecast lint type ## all checks, and every test that this machine has the backends for
	$(bin)/python -m pytest -n 4 --no-loadscope-reorder $(ARGS)

test-all: lint type ## the same with the tests that take many minutes
	$(bin)/python -m pytest -n 4 --no-loadscope-reorder --slow $(ARGS)

# ARGS=trixie: another release of Debian, and so another Python. For a nightly run; 5 to 10 minutes.
fresh: ## README's two commands, typed in a bare Debian with nothing installed (as root)
	@scripts/fresh.sh $(ARGS)

# ARGS="kafka redis --data ..." : which ones, and options; `python3 -m scripts.backends --help` has all.
backends: ## Kafka, Cassandra, Redis, Consul, Jaeger on to this machine; ARGS=prometheus: that too
	@$(or $(PYTHON),python3) -m scripts.backends provision $(ARGS)

backends-up: ## start them, wait until they answer, note where they are
	@$(or $(PYTHON),python3) -m scripts.backends up $(ARGS)

backends-down: ## stop what backends-up has started, and nothing else
	@$(or $(PYTHON),python3) -m scripts.backends down $(ARGS)

backends-status: ## which of them answer, where, and what they use
	@$(or $(PYTHON),python3) -m scripts.backends status $(ARGS)

# SECURE=1: keys, certificates and an ACL for Consul and Nomad; docs/how-to/secure-a-test-cluster.md
cluster-up: ## a test cluster of three machines, by Vagrant; docs/tutorials/cluster.md walks through it
	@scripts/cluster/host.sh up $(ARGS)

cluster-test: $(dev) ## lose its machines, cut and slow its network, fill its disks: half an hour
	CECOCHAT_BACKENDS=cluster $(bin)/python -m pytest tests/cluster --cluster $(ARGS)

cluster-down: ## end it, and leave nothing of it
	@scripts/cluster/host.sh down

cluster-box: ## the box that it takes where no public one can be had (lxc, docker)
	@scripts/cluster/host.sh box

bench: $(dev) ## measure; prints a table and JSON (BACKENDS=real: a cluster of processes)
	$(bin)/python -m tests.bench --backends $(BACKENDS) $(ARGS)

protos: $(dev) ## generate the code of protos/ below services/
	$(bin)/python scripts/protos.py generate

reference: $(dev) ## write docs/reference/, jobs/ and what observability/ has of pages and dashboards, from the code
	$(bin)/python -m scripts.reference

protos-release: $(dev) ## take protos/ as it is for what later changes must not break
	$(bin)/python scripts/protos.py release

# `make lock` keeps the versions that still fit; `make lock ARGS=--upgrade` takes the newest.
compile := $(bin)/uv pip compile --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock" --quiet $(ARGS)

lock: $(if $(wildcard $(bin)/uv),,$(dev)) ## write all locks anew from pyproject.toml
	$(compile) pyproject.toml --group dev --output-file requirements-dev.lock
	$(compile) pyproject.toml --constraint requirements-dev.lock --output-file requirements.lock
	$(compile) --group build --constraint requirements-dev.lock --output-file requirements-build.lock
	$(compile) --group supply --output-file requirements-supply.lock

# The tag is the default of the variable `image` of the jobs. BASE=python:3.13-slim-bookworm: another base.
image: ## cecochat:<version> for Docker, and for jobs with its driver
	@DOCKER="$(DOCKER)" BASE="$(BASE)" scripts/image.sh cecochat:$(version) $(ARGS)

$(supply): requirements-supply.lock
	@$(or $(PYTHON),python3) -m venv --clear build/supply
	@build/supply/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

sbom: $(supply) ## build/cecochat.cdx.json: what an installation is made of (CycloneDX)
	@build/supply/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file build/cecochat.cdx.json requirements.lock
	@echo "build/cecochat.cdx.json lists the packages of requirements.lock, each with its hashes."

# For a schedule, such as every night. REQUIRED=1: fail, too, where the database cannot be reached.
advisories: $(supply) ## known vulnerabilities of the packages that the locks name; exit code 1: some
	@$(or $(PYTHON),python3) -m scripts.advisories build/supply/bin/pip-audit $(if $(REQUIRED),--required)

clean: ## remove all that these targets made, .venv too; never a data folder
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find services tests scripts -name __pycache__ -prune -exec rm -rf {} +
