PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-long simulate soak emulator-topology bench lint format clean
.DEFAULT_GOAL := test

demo: $(READY)  ## the main job, live, on the embedded sandbox
	@$(BIN)/python -m sandbox demo

test: lint  ## everything that takes under three minutes; more workers than cores, since the tests mostly wait
	$(BIN)/python -m pytest -q -m "not long" -n 8 --dist loadfile

test-long: $(READY)  ## what takes longer
	$(BIN)/python -m pytest -q -m long -n 2

SEEDS ?= 10000
FIRST ?= 1

simulate: $(READY)  ## worlds by seed, each promise checked at every step: make simulate SEEDS=100000 FIRST=1
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) --jobs 2

soak: $(READY)  ## ten minutes of failing calls and dying workers, then the reckoning
	$(BIN)/python -m tests.reliability.soak

emulator-topology: $(READY)  ## infra/topology.json within the limits of Microsoft's own emulator, on stdout
	@$(BIN)/python -m tests.infra.emulator_topology

bench: $(READY)  ## ours against what the SDKs do alone; takes a quarter of an hour, and a quiet machine
	@$(BIN)/python -m tests.benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed; $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis

.PHONY: contracts
contracts: $(READY)  ## write the JSON Schemas, the AsyncAPI document and the reference pages from the models
	$(BIN)/python -m contracts
