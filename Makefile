# Python 3.11 or newer with venv, and make, are all that a fresh machine needs: each target sets up .venv itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-deploy
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

# The one source of the version is the package.
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' relayd/__init__.py)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BUILDER ?= $(firstword $(foreach name,docker podman buildah,$(shell command -v $(name) 2>/dev/null)))
IMAGE = $(BUILDER) build $(IMAGE_OPTIONS) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION)

.PHONY: help run test check lock deploy-check image dist pythons smoke-aws bench bench-node clean
help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.sandbox ## the sandbox: an emulated AWS, an SMTP door, and relayd between them
	@$(BIN)/relayd sandbox

# Bytecode is kept, whatever the environment says: or each worker, and each daemon that it starts, compiles everything.
test: $(VENV)/.dev ## the test suite
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 4 --dist worksteal

check: $(VENV)/.dev ## ruff, mypy strict, import-linter, deptry
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry .

deploy-check: $(VENV)/.dev $(TOOLS)/.done ## what is in deploy/: cfn-lint, kubernetes-validate, and all tests of it
	@$(BIN)/python -m pytest -n 2 tests/deploy

lock: $(VENV)/.dev ## resolve the locked versions anew (hashes, no index addresses)
	@PYTHON=$(BIN)/python sh requirements/lock.sh

image: ## the images relayd:VERSION and relayd-sandbox:VERSION (docker, podman or buildah; deploy/README.md)
	@test -n "$(BUILDER)" || { echo "no docker, podman or buildah: name one with BUILDER="; exit 1; }
	$(IMAGE) --target run --tag relayd:$(VERSION) .
	$(IMAGE) --target sandbox --tag relayd-sandbox:$(VERSION) .

dist: $(VENV)/.release ## wheel and sdist in dist/, checked and tried on every supported Python that is here
	@$(BIN)/nox -s dist wheel

pythons: $(VENV)/.release ## the suite on every supported Python that is here
	@$(BIN)/nox -s tests

smoke-aws: $(VENV)/.sandbox ## say what three mails to SES's simulator would need of your account; SMOKE=--really does it
	@$(BIN)/python -m deploy.smoke $(SMOKE)

RESULTS := bench/results
# Bench by bench: a table for you, and the same as JSON in $(RESULTS). The picture needs matplotlib (the extra `bench`).
bench: $(VENV)/.dev ## relayd against its rivals, everything measured (about 45 minutes; docs/performance.md)
	@mkdir -p $(RESULTS)
	@$(BIN)/python -m bench.mails --set all --output $(RESULTS)/mails.json
	@$(BIN)/python -m bench.rewrite --output $(RESULTS)/rewrite.json
	@$(BIN)/python -m bench.large_calls --output $(RESULTS)/large_calls.json
	@$(BIN)/python -m bench.start --output $(RESULTS)/start.json
	-@$(BIN)/python -m bench.mails.picture $(RESULTS) $(RESULTS)/performance.png

bench-node: ## install what the rival in Node needs (node 20 and npm)
	@npm ci --prefix bench/mails/rivals/node_sqs_consumer --ignore-scripts --no-audit --no-fund

clean: ## remove the virtual environments
	rm -rf $(VENV) $(TOOLS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "relayd needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	@# Half a virtual environment looks like a whole one to the next run.
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no virtual environment: install venv (Debian: apt install python3-venv)"; exit 1; }

# --no-deps: everything comes from the lock, hashes checked; relayd itself is linked, not copied.
$(VENV)/.sandbox: $(VENV)/bin/python requirements/sandbox.txt pyproject.toml
	@echo "setting up $(VENV) (once) ..."
	@$(PIP) install --require-hashes -r requirements/sandbox.txt
	@$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements/dev.txt pyproject.toml
	@echo "setting up $(VENV) for development (once) ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps -e .
	@touch $@ $(VENV)/.sandbox

$(VENV)/.release: $(VENV)/bin/python requirements/release.txt
	@$(PIP) install --require-hashes -r requirements/release.txt
	@touch $@

$(TOOLS)/.done: $(VENV)/bin/python requirements/deploy.txt
	@echo "setting up $(TOOLS) (once) ..."
	@rm -rf $(TOOLS) && $(BIN)/python -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check -q install --require-hashes -r requirements/deploy.txt
	@touch $@
