# Needs Python 3.11 or newer, make and a package index; everything else goes into .venv.
PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Each process has a PostgreSQL server of its own; tests of one file stay together.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 5 --dist loadfile
INSTALLED := .venv/.installed
# Every process of the tests would compile its modules anew, and rewrite all assertions.
unexport PYTHONDONTWRITEBYTECODE
PEERS := .venv-peers

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-numeric coverage services wheel first-steps sbom image soak check docs golden clean
.PHONY: bench bench-main-path bench-accuracy bench-ablation bench-backfill bench-data-plane bench-fidelity bench-leases bench-peers bench-service

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' Makefile

run: $(INSTALLED) ## forecast a real series, tick by tick; ARGS=--once ends by itself
	$(BIN)/forecaster demo $(ARGS)

test coverage: export HYPOTHESIS_PROFILE ?= few
test: $(INSTALLED) ## the quick tests; ARGS goes to pytest
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" --cpu-table $(ARGS)

test-all: test-numeric ## every test, and the table of faults
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --fault-table --cpu-table $(ARGS)

test-numeric: $(INSTALLED) ## the tests that run networks, as other processors would
	$(BIN)/python -m tests.processors

coverage: $(INSTALLED) ## the quick tests, and which lines none of them runs
	rm -rf build/coverage
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow" --cov --cov-report term --cov-report html:build/coverage/html $(ARGS)

services: ## install the servers that tests need, on Debian and Ubuntu
	.ci/services

wheel: $(INSTALLED) ## build dist, install the wheel into an empty environment, test it
	rm -rf dist build/wheel
	$(BIN)/python -m build --no-isolation
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	build/wheel/bin/forecaster --help
	$(BIN)/python -m pytest tests/test_wheel.py $(ARGS)

first-steps: $(INSTALLED) ## do what docs/tutorial/first-steps.md says, and compare; ARGS=--write rewrites its outputs
	$(BIN)/python -m tests.first_steps $(ARGS)

sbom: build/wheel/bin/forecaster ## list what is installed with the wheel in dist/forecaster.cdx.json (CycloneDX)
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/python -m pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7,<8"
	build/sbom/bin/cyclonedx-py environment --output-reproducible --output-file dist/forecaster.cdx.json build/wheel/bin/python

image: ## build the container image; TORCH_INDEX names an index of torch builds
	docker build --tag forecaster $(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) .
	docker run --rm forecaster --help

soak: $(INSTALLED) ## ticks each second amid random kills; SECONDS=300, ARGS="--seed 1 --store sqlite --burners 3"
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak --seconds $(or $(SECONDS),300) $(ARGS)

check: $(INSTALLED) ## format, lint, types and floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED) ## the site of docs/ in build/docs; broken links and anchors are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: bench-accuracy ## accuracy, and what a user waits for; FORECASTER_DATA names the data folder
	$(BIN)/python benchmarks/demo.py

bench-accuracy: $(INSTALLED) ## accuracy and its cost; ARGS=m4_hourly for one series set
	$(BIN)/python -m benchmarks.accuracy $(ARGS)

bench-ablation: $(INSTALLED) ## what each part of the model is worth, on validation windows
	$(BIN)/python -m benchmarks.ablation $(ARGS)

bench-backfill: $(INSTALLED) ## many past ticks at once, beside one by one and the parts alone
	$(BIN)/python -m benchmarks.backfill $(ARGS)

bench-data-plane: $(INSTALLED) ## rows in and out of both stores, and a tick of 100 000 series
	$(BIN)/python -m benchmarks.data_plane $(ARGS)

bench-fidelity: $(INSTALLED) ## whether the attention weights say what a forecast stands on
	$(BIN)/python -m benchmarks.fidelity $(ARGS)

bench-leases: $(INSTALLED) ## what a lease and a claim cost on both stores
	$(BIN)/python -m benchmarks.leases $(ARGS)

bench-main-path: $(INSTALLED) ## frames from the command to the network, and lines of the packages
	$(BIN)/python -m benchmarks.main_path

bench-peers: $(PEERS)/.installed ## neuralforecast and statsforecast beside ours
	$(PEERS)/bin/python -W ignore -m benchmarks.peers $(ARGS)

bench-service: $(INSTALLED) ## from start to first forecast, and lateness beside a training
	$(BIN)/python -m benchmarks.service $(ARGS)

golden: $(INSTALLED) ## rewrite the files in tests/golden; review the diff
	$(BIN)/python -m pytest -m "not slow" --write-golden $(ARGS)

clean: ## remove .venv, builds and caches, but no database
	rm -rf .venv $(PEERS) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# torch first: alone, nothing else can decide which torch it is.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed\nhint:  make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	@echo "installing into .venv; torch is large, the first time takes some minutes"
	$(PIP) torch
	$(PIP) --editable ".[demo,dev]"
	@touch $@

build/wheel/bin/forecaster:
	$(MAKE) wheel

$(PEERS)/.installed: pyproject.toml benchmarks/constraints-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PEERS)/bin/python -m pip install --quiet --constraint benchmarks/constraints-peers.txt torch
	$(PEERS)/bin/python -m pip install --quiet --constraint benchmarks/constraints-peers.txt --editable ".[demo]" --group peers
	@touch $@
