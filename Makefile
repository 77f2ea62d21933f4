# Everything a person or a CI needs: `make demo`, `make test`, `make check`, `make bench`.
# Each sets up what it needs first, in .venv, and says what it is doing. A second run starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
export PIP_ROOT_USER_ACTION := ignore

# What tests run for real beside Python: an engine for containers, a static program to make an image of, a broker, a
# database, a C compiler, what knows Prometheus' rules; and what a Kubernetes node of one machine is built with and made of.
NODE := go dpkg-source etcd containerd /usr/lib/cni/bridge iptables conntrack ethtool socat debootstrap kubectl
NODE_PACKAGES := golang-go dpkg-dev etcd-server containerd containernetworking-plugins iptables conntrack ethtool socat \
	debootstrap $(shell command -v kubectl >/dev/null || echo kubernetes-client)
SYSTEM := curl podman runc busybox rabbitmq-server pg_ctlcluster openssl cc promtool $(NODE)
PACKAGES := curl podman runc busybox-static rabbitmq-server postgresql openssl gcc libc6-dev prometheus $(NODE_PACKAGES)

.PHONY: help demo test check format proto docs bench clean system cluster-up cluster-down

help:
	@echo "make demo    run the media pipeline on three real clips and show what it found"
	@echo "make test    all checks and all tests"
	@echo "make check   lint, types, layers"
	@echo "make format  mend what the linter can"
	@echo "make proto   the code that is generated from the .proto files"
	@echo "make docs    the pages that are made from the code"
	@echo "make bench   the benchmarks, each beside its floor"
	@echo "make cluster-up, make cluster-down   a real Kubernetes cluster of one node on this machine"

demo: $(VENV)/.media
	@echo "» the media pipeline: a link to a video becomes a tree of pictures"
	@$(BIN)/python examples/media/demo.py

test: check system $(VENV)/.media
	@$(BIN)/python -m tests.cluster build
	@echo "» tests"
	@$(BIN)/python -m tests.cluster status >/dev/null && ran=yes; \
	$(BIN)/pytest -n 4; code=$$?; \
	$(BIN)/pytest -n 0 tests/cluster/test_cluster_restarts.py tests/cluster/test_cluster_crashes.py || code=1; \
	[ -n "$$ran" ] || $(BIN)/python -m tests.cluster down; exit $$code

check: $(VENV)/.dev
	@echo "» lint, types, layers"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

proto: $(VENV)/.dev
	@echo "» messages of the management API"
	@$(BIN)/python -m grpc_tools.protoc -Isrc --python_out=src --pyi_out=src src/ion/management/rpc/*.proto

docs: $(VENV)/.dev
	@echo "» references of the commands and of the API"
	@$(BIN)/python docs/generate

bench: $(VENV)/.media
	@echo "» benchmarks; each figure stands beside its floor, measured in the same run"
	@$(BIN)/python -m bench

cluster-up: $(VENV)/.dev system
	@$(BIN)/python -m tests.cluster up

cluster-down: $(VENV)/.dev
	@echo "» the Kubernetes cluster of this machine ends"
	@$(BIN)/python -m tests.cluster down

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache examples/media/.ion

$(BIN)/python:
	@echo "» a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(MAKE) --no-print-directory venv-package; $(PYTHON) -m venv $(VENV); }

# Debian keeps the module apart from its Python.
.PHONY: venv-package
venv-package:
	@echo "» python3-venv, which this Python lacks"
	@apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null

$(VENV)/.ion: pyproject.toml | $(BIN)/python
	@echo "» Ion and what it needs"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install -e .
	@touch $@

$(VENV)/.media: examples/media/requirements.txt examples/media/clips.py $(VENV)/.ion
	@echo "» OpenCV, ffmpeg and three clips for the example"
	@$(PIP) install -r examples/media/requirements.txt
	@$(BIN)/python examples/media/clips.py >/dev/null
	@touch $@

$(VENV)/.dev: $(VENV)/.ion
	@echo "» the tools for checks and tests"
	@$(PIP) install --group dev
	@touch $@

# As root on Debian what is missing is installed; elsewhere the tests that need it say so and are skipped. Debian starts a
# server's service when it installs it; the policy says no, for the tests start their own.
system:
	@for program in $(SYSTEM); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "» from Debian:$$missing"; \
		policy=/usr/sbin/policy-rc.d; \
		[ -e $$policy ] || { printf '#!/bin/sh\nexit 101\n' >$$policy; chmod +x $$policy; trap "rm -f $$policy" EXIT; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	else echo "» not here:$$missing (tests that need it are skipped)"; fi
