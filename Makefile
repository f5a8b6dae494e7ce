PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SANDBOX_READY := $(VENV)/.ready-sandbox
PAGE_READY := $(VENV)/.ready-page
TOOLS := $(VENV)/tools

# Many processes import the same modules. Without bytecode each compiles them anew: the tests took a fifth longer.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-long test-page screenshots simulate mutations soak emulator-topology bench scale lint format contracts workbook completion session lock sbom version clean
.DEFAULT_GOAL := help

help:  ## this list
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
	  printf '  %-17s  %s\n' "$$target" "$$text"; done

DEMO_OPTIONS ?=

demo: $(SANDBOX_READY)  ## the main job, live: half a minute; DEMO_OPTIONS=--stay
	@$(BIN)/python -m sandbox demo $(DEMO_OPTIONS)

test: $(READY)  ## lint, types and every test that takes under a minute
	@# Beside the checks the tests are compiled once: each of the ten workers would compile all of them otherwise.
	@$(BIN)/python -m pytest -q --collect-only > /dev/null 2>&1 & \
	  $(MAKE) --no-print-directory lint; checked=$$?; wait; exit $$checked
	@echo "Running the tests …"
	@# More workers than cores: the tests mostly wait. In the order of their files: those that compute come last.
	$(BIN)/python -m pytest -q -m "not long and not browser" -n 10 --dist loadfile --no-loadscope-reorder

test-long: $(READY)  ## the longer tests: one to two hours
	$(BIN)/python -m pytest -q -m long -n 2

test-page: $(PAGE_READY)  ## test the sandbox's page in a headless Chromium
	$(BIN)/python -m pytest -q -rs -m browser tests/sandbox/page

screenshots: $(PAGE_READY)  ## take the pictures of the page in docs/images
	@$(BIN)/python -m tests.sandbox.page.screenshots

SEEDS ?= 10000
FIRST ?= 1

simulate: $(READY)  ## check the promises in simulated runs of the app: SEEDS=N
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) --jobs 2

mutations: $(READY)  ## break each rule once: does the simulation find it?
	@$(BIN)/python -m tests.simulation.mutations

soak: $(READY)  ## ten minutes of failing calls and killed workers
	$(BIN)/python -m tests.reliability.soak

emulator-topology: $(READY)  ## print infra/topology.json for Microsoft's emulator
	@$(BIN)/python -m tests.infra.emulator_topology

bench: $(READY)  ## compare with the SDKs alone; FAMILY=tick for one of them
	@$(BIN)/python -m tests.benchmarks $(if $(FAMILY),--only $(FAMILY))

scale: $(READY)  ## reckon how long very many scale sets take
	@$(BIN)/python -m tests.benchmarks.scale

lint: $(READY)  ## style, types, import rules and spelling
	@echo "Checking style, types, import rules and spelling …"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(READY)  ## format the code, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

contracts: $(READY)  ## write schemas, AsyncAPI and reference pages
	$(BIN)/python -m contracts

workbook: $(READY)  ## write infra/workbook.json from infra/queries
	@$(BIN)/python -m tools.workbook

completion: $(READY)  ## write the completion scripts of the command line
	$(BIN)/python -m tests.cli.completion

session: $(READY)  ## record the session of docs/operating.md anew
	$(BIN)/python -m tests.cli.session

LOCK_OPTIONS ?=

lock: $(TOOLS)/.ready  ## write the locks of requirements; LOCK_OPTIONS=--upgrade
	@$(TOOLS)/bin/python -m tools.lock $(LOCK_OPTIONS)

sbom: $(TOOLS)/.ready  ## write build/sbom.json, a CycloneDX bill of materials
	@mkdir -p build
	@$(TOOLS)/bin/cyclonedx-py requirements requirements.txt --mc-type application --output-file build/sbom.json
	@echo "build/sbom.json holds the packages of requirements.txt."

version:  ## print the version of the worker
	@sed -n 's/^VERSION = "\(.*\)"/\1/p' maintenance/version.py

clean:  ## delete the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-dev.txt $(SANDBOX_READY)
	@"$(PYTHON)" tools/install.py $(VENV) requirements-dev.txt
	@touch $@

$(PAGE_READY): requirements-page.txt $(READY)
	@"$(PYTHON)" tools/install.py $(VENV) requirements-page.txt
	@touch $@

$(TOOLS)/.ready: requirements-tools.txt $(SANDBOX_READY)
	@"$(PYTHON)" tools/install.py $(TOOLS) requirements-tools.txt
	@touch $@

$(SANDBOX_READY): requirements-sandbox.txt tools/install.py
	@command -v "$(PYTHON)" > /dev/null || \
	  { echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3.12 …"; exit 1; } >&2
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; $(PYTHON) is %s. Name a newer one: make PYTHON=python3.12 …" % sys.version.split()[0])'
	@"$(PYTHON)" tools/install.py $(VENV) requirements-sandbox.txt
	@touch $@
