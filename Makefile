# What people do with this repository. `make` alone lists the targets. It needs make, a POSIX shell and Python (see README).
# ARGS="..." passes arguments to the program behind a target: make up ARGS="--data /tmp/chat"

.DEFAULT_GOAL := help
SHELL := /bin/sh
bin := .venv/bin
ARGS ?=
BACKENDS ?= embedded
BASE ?=
DOCKER ?= docker
PYTHON ?=
export PYTHON
# Most tests wait more than they compute, so two cores take three of them at a time.
WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((cores > 8 ? 8 : cores < 3 ? 3 : cores)))

version = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' services/cecochat/__init__.py)

# A stamp is newer than everything that decides what is installed. The development set includes the runtime set.
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

.PHONY: help setup up observe audit demo fmt lint type forecast test test-all fresh bench protos client page reference conformance protos-release lock image base-image engine-up engine-down sbom advisories clean
.PHONY: backends backends-up backends-down backends-status
.PHONY: cluster-up cluster-test cluster-down cluster-box

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

up: $(runtime) ## run the whole system; it prints how to chat
	@exec $(bin)/cecochat up $(ARGS)

# The ports are those of scripts/backends/jaeger.py and prometheus_up.py. Both go on running, and keep what they
# have seen, until `make backends-down`.
observe: $(runtime) ## do the same, with Jaeger and Prometheus
	@$(or $(PYTHON),python3) -m scripts.backends up jaeger
	@$(or $(PYTHON),python3) -m scripts.backends up prometheus-up && metrics=http://127.0.0.1:17091 \
		|| echo "CecoChat starts without Prometheus."; \
	CECOCHAT_OTLP_URL=http://127.0.0.1:17318 CECOCHAT_JAEGER_URL=http://127.0.0.1:17686 \
		CECOCHAT_PROMETHEUS_URL=$$metrics exec $(bin)/cecochat up $(ARGS)

# Use ARGS="--repair", "--since 24h" or "--follow". For a cluster, set CECOCHAT_CONSUL or use ARGS="--settings FILE".
# The exit code is 1 if rows are missing.
audit: $(runtime) ## compare the log with the history of the last `make up`
	@exec $(bin)/cecochat audit $(ARGS)

demo: $(runtime) ## show that a chat survives when its server is killed
	@exec $(bin)/python scripts/demo.py $(ARGS)

setup: $(dev) ## make .venv, with everything for development
	@echo "$(CURDIR)/.venv is up to date."

fmt: $(dev) ## format the code, and fix what ruff can fix
	$(bin)/ruff check --fix-only .
	$(bin)/ruff format .

lint: $(dev) ## check rules and format with ruff
	$(bin)/ruff check .
	$(bin)/ruff format --check .

type: $(dev) ## check types with mypy, strictly
	$(bin)/mypy

forecast: $(dev)
	@$(bin)/python -m tests.support.backends

test: forecast lint type ## run the checks and all tests that have their backends
	$(bin)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(ARGS)

test-all: lint type ## do the same, with the tests that take many minutes
	$(bin)/python -m pytest -n $(WORKERS) --no-loadscope-reorder --slow $(ARGS)

# ARGS=trixie takes another release of Debian, and so another Python. It takes 5 to 10 minutes, so run it at night.
fresh: ## try README's two commands in a bare Debian (as root)
	@scripts/fresh.sh $(ARGS)

# ARGS="kafka redis --data ..." names some of them, and options. `python3 -m scripts.backends --help` lists all.
# By default: Kafka, Cassandra, PostgreSQL, Redis, Consul and Jaeger.
backends: ## install the backends, or those that ARGS names
	@$(or $(PYTHON),python3) -m scripts.backends provision $(ARGS)

backends-up: ## start the backends, and wait until they answer
	@$(or $(PYTHON),python3) -m scripts.backends up $(ARGS)

backends-down: ## stop what backends-up has started, and nothing else
	@$(or $(PYTHON),python3) -m scripts.backends down $(ARGS)

backends-status: ## show which backends answer, and what they use
	@$(or $(PYTHON),python3) -m scripts.backends status $(ARGS)

# docs/tutorials/cluster.md walks through it. SECURE=1 adds keys, certificates and an ACL for Consul and Nomad:
# see docs/how-to/secure-a-test-cluster.md.
cluster-up: ## start a test cluster of three machines with Vagrant
	@scripts/cluster/host.sh up $(ARGS)

cluster-test: $(dev) ## test it by losing machines and networks (half an hour)
	CECOCHAT_BACKENDS=cluster $(bin)/python -m pytest tests/cluster --cluster $(ARGS)

cluster-down: ## remove the test cluster, and leave nothing of it
	@scripts/cluster/host.sh down

# There is no public box for these two.
cluster-box: ## make the box for lxc and docker
	@scripts/cluster/host.sh box

# BACKENDS=real measures a cluster of processes. ARGS="--check" fails if the cost of a message, in that of a bare
# relay, is more than a fifth above tests/bench/ratios.json; ARGS="--keep" writes that file.
bench: $(dev) ## measure, and print a table and JSON
	$(bin)/python -m tests.bench --backends $(BACKENDS) $(ARGS)

protos: $(dev) ## generate the code for protos/
	$(bin)/python scripts/protos.py generate

client: $(dev) ## install what the TypeScript client needs, and build and test it
	@$(bin)/python -c "from pathlib import Path; from tests.support import npm; npm.installed(Path('clients/typescript'))"
	@cd clients/typescript && npm test

page: $(dev) ## build the chat page, after a change of clients/
	@$(bin)/python -c "from pathlib import Path; from tests.support import npm; [npm.installed(Path('clients', each)) for each in ('typescript', 'page')]"
	@cd clients/page && npm run --silent build

reference: $(dev) ## write the pages and jobs that follow from the code
	$(bin)/python -m scripts.reference

conformance: $(dev) ## write the generated cases of the conformance kit
	$(bin)/python -m tests.conformance

protos-release: $(dev) ## make protos/ the baseline that changes must not break
	$(bin)/python scripts/protos.py release

# `make lock` keeps the versions that still fit; `make lock ARGS=--upgrade` takes the newest.
compile := $(bin)/uv pip compile --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock" --quiet $(ARGS)

lock: $(if $(wildcard $(bin)/uv),,$(dev)) ## write all lock files from pyproject.toml
	$(compile) pyproject.toml --extra all --group dev --output-file requirements-dev.lock
	$(compile) pyproject.toml --extra all --constraint requirements-dev.lock --output-file requirements.lock
	$(compile) --group build --constraint requirements-dev.lock --output-file requirements-build.lock
	$(compile) --group supply --output-file requirements-supply.lock

# The tag is the default of the jobs' variable `image`. BASE=python:3.13-slim-bookworm takes another base.
image: ## build the image cecochat:<version> for Docker
	@DOCKER="$(DOCKER)" BASE="$(BASE)" scripts/image.sh cecochat:$(version) $(ARGS)

engine-up: ## start a Docker engine where no init does, as root: eval "$(make --silent engine-up)"
	@scripts/engine.sh up

engine-down: ## stop it; its images stay
	@scripts/engine.sh down

base-image: ## make the base of the image where no registry can be reached, as root on Debian
	@DOCKER="$(DOCKER)" scripts/base-image.sh $(BASE)

$(supply): requirements-supply.lock
	@$(or $(PYTHON),python3) -m venv --clear build/supply
	@build/supply/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

sbom: $(supply) ## write build/cecochat.cdx.json, the list of packages
	@build/supply/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file build/cecochat.cdx.json requirements.lock
	@echo "build/cecochat.cdx.json lists the packages of requirements.lock, each with its hashes."

# Run this every night. The exit code is 1 if there are any. With REQUIRED=1 it also fails if the database cannot be reached.
advisories: $(supply) ## check the locked packages for known vulnerabilities
	@$(or $(PYTHON),python3) -m scripts.advisories build/supply/bin/pip-audit $(if $(REQUIRED),--required)

clean: ## remove what these targets made, but no data folder
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find services tests scripts -name __pycache__ -prune -exec rm -rf {} +
