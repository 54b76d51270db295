# Python 3.11 or newer with venv, and make, are all that a fresh machine needs: each target sets up .venv itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help run test check lint lock clean
help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.sandbox ## the sandbox: an emulated AWS, an SMTP door, and relayd between them
	@$(BIN)/relayd sandbox

test: $(VENV)/.dev ## the test suite
	@$(BIN)/python -m pytest -n 4 --dist worksteal

check: $(VENV)/.dev ## ruff, mypy strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lock: $(VENV)/.dev ## resolve the locked versions anew (hashes, no index addresses)
	@PYTHON=$(BIN)/python sh requirements/lock.sh

clean: ## remove the virtual environment
	rm -rf $(VENV)

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
