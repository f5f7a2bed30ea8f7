# Keepline's commands. `make demo` and `make test` set themselves up; nothing needs installing by hand.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test soak check coverage docs bench clean purge lock ui deploy help

help:            ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

setup: $(READY)  ## create .venv and install the locked versions

# uv resolves and links wheels much faster than pip; it reads its own variables, so pip's are handed on.
# Where uv cannot reach the index (an unusual pip.conf), pip itself installs the same lock.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Keepline needs Python 3.11 or newer; set PYTHON=/path/to/python3.11."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Keepline's locked dependencies into $(VENV) (about 300 packages, 2.5 GB with PyTorch) ..."
	@$(BIN)/python -m pip install --quiet "uv>=0.9"
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}" \
	  SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}" bash -c '\
	  for name in UV_FIND_LINKS UV_DEFAULT_INDEX SSL_CERT_FILE; do [ -n "$${!name}" ] || unset $$name; done; \
	  $(BIN)/uv pip install --python $(BIN)/python -r requirements.lock && \
	  $(BIN)/uv pip install --python $(BIN)/python --no-deps -e .' \
	  || { $(BIN)/python -m pip install -r requirements.lock && $(BIN)/python -m pip install --no-deps -e .; }
	@rm -f $(VENV)/.ready-*; touch $@

demo: setup      ## run the whole pipeline on the simulated contact centre and print where the report is
	@$(BIN)/keepline demo

# Two files at a time, each with one thread: two that use two threads on two cores wait for each other most of the time.
test: setup      ## run the tests
	@OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 $(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile --no-loadscope-reorder

# One after the other: they live through days of a simulated centre, or kill processes over and over.
soak: setup      ## run the tests that take minutes each, an hour or more in all
	@OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 $(BIN)/python -m pytest -m soak --timeout=7200

check: setup     ## lint, types, import contracts, dead code, dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy data models evaluation training flows tests benchmarks
	@$(BIN)/lint-imports
	@$(BIN)/vulture
	@$(BIN)/deptry . 2>&1

# The README's table of P1 needs the whole fine-tuning, about half an hour on two cores; one is named as `make bench ONLY=gates`.
ONLY ?= $(patsubst benchmarks/bench_%.py,%,$(wildcard benchmarks/bench_*.py))
ARGS_asr_peers := --utterances 60 --tuning 1
bench: setup     ## print every figure the README quotes, as JSON
	@set -e; $(foreach name,$(ONLY),$(BIN)/python benchmarks/bench_$(name).py $(ARGS_$(name));)

ui: setup        ## open MLflow's pages on the demo's runs (http://127.0.0.1:5000)
	@$(BIN)/keepline ui

deploy: setup    ## register all flows with the Prefect server of PREFECT_API_URL (SITE=NAME, default demo)
	@$(BIN)/keepline deploy --site $(or $(SITE),demo)

# The old lock's pins are kept where they still fit; torch is left open so that a CPU wheel named by find-links wins.
lock: setup      ## refresh requirements.lock from pyproject.toml
	@grep -v '^torch==' requirements.lock > $(VENV)/lock.txt
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip compile -q --all-extras pyproject.toml \
	  -o $(VENV)/lock.txt --no-header --no-annotate --no-emit-find-links --no-emit-index-url
	@sed 's/^torch==\([0-9.]*\)+cpu/torch==\1/' $(VENV)/lock.txt > requirements.lock

coverage: setup  ## run the tests and print how much of the code they reach; below the floor it fails
	@OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	  --cov --cov-report=term:skip-covered

docs: setup      ## build the documentation site into site/
	@$(BIN)/mkdocs build --strict

clean:           ## remove the environment and caches; stores stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache site .coverage
	@find . -name __pycache__ -type d -prune -not -path './data/store/*' -not -path './data/stores/*' -exec rm -rf {} +

# Real exports, the ledger, the champions and the default DVC remote lie in a store: only its name, typed, deletes it.
STORE ?= data/store
purge:           ## delete a store (STORE=FOLDER): lists what is in it and wants SITE=its folder's name
	@test -d "$(STORE)" || { echo "$(STORE): no such store. Name one with STORE=FOLDER."; exit 2; }
	@echo "$(STORE) holds:"; du -sh "$(STORE)"/* "$(STORE)"/.[a-z]* 2>/dev/null | sed 's/^/  /'
	@test "$(SITE)" = "$(notdir $(abspath $(STORE)))" || { \
	  echo "Nothing was deleted. To delete all of it: make purge STORE=$(STORE) SITE=$(notdir $(abspath $(STORE)))"; exit 2; }
	@find "$(STORE)" -mindepth 1 -maxdepth 1 -not -name .gitignore -exec rm -rf {} +
	@echo "$(STORE): deleted"
