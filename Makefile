# `make` alone tells what there is. Every target sets up what it needs.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
# Without byte code every process would compile torch anew, for some ten seconds each.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.mmad-ready

# Strict: a page, a link or an anchor that is missing fails. The variable silences what its theme says of itself.
BUILD_MANUAL := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# How many test processes run at once: one more than there are cores where many tests wait for other processes.
test: JOBS ?= 3
test-fast test-long: JOBS ?= 2
# A file's tests share what was made for them, and files begin in the order that tests/conftest.py gives them.
SPREAD = -n $(JOBS) --dist loadfile --no-loadscope-reorder
# What `make stress` trains, for how many seconds it kills, and the seed of who is killed when; then how often a server is
# started anew under how many commands.
STRESS_RUNS ?= 24
STRESS_SECONDS ?= 240
STRESS_SEED ?= 0
STRESS_RESTARTS ?= 20
STRESS_WRITERS ?= 8
# What `make reproduce` trains on, for how long, and which chapters of the documented log (all, in its order).
DATA ?=
PROFILE ?= full
ONLY ?=

.PHONY: help setup demo test test-fast test-long test-versions stress check docs bench reproduce report dist clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## Make .venv and install everything (uv where there is one, else pip)
	@echo "ready: $(BIN)/mmad --help"

$(READY): pyproject.toml requirements.lock tools/setup
	@tools/setup $(VENV)
	@touch $@

demo: $(READY) ## Train a pair on the embedded data set and write reports/index.html
	@$(BIN)/mmad demo

test: $(READY) ## Run every test (JOBS=3 processes)
	@$(BIN)/python -m pytest $(SPREAD)

test-fast: $(READY) ## Run the tests that take less than a third of a second each
	@$(BIN)/python -m pytest $(SPREAD) -m "not slow"

test-long: $(READY) ## Search with random examples: others each time, and twenty times as many
	@$(BIN)/python -m pytest $(SPREAD) -m hypothesis --hypothesis-profile=long --timeout=1800

test-versions: $(READY) ## Run test-fast with the oldest and newest dependencies on every Python that is here
	@tools/test-versions

stress: $(READY) ## Kill a queue, its server, and each operation at every call: STRESS_RUNS=24 STRESS_RESTARTS=20
	@MMAD_STRESS_RUNS=$(STRESS_RUNS) MMAD_STRESS_SECONDS=$(STRESS_SECONDS) MMAD_STRESS_SEED=$(STRESS_SEED) \
	  MMAD_STRESS_RESTARTS=$(STRESS_RESTARTS) MMAD_STRESS_WRITERS=$(STRESS_WRITERS) MMAD_KILL_CALLS=0 \
	  $(BIN)/python -m pytest -s -p no:xdist \
	  tests/scheduler/test_scheduler_stress.py tests/scheduler/test_scheduler_restarts.py tests/kills

check: $(READY) ## Lint, format, types, borders between the rooms, the manual
	@echo "== ruff check";  $(BIN)/ruff check .
	@echo "== ruff format"; $(BIN)/ruff format --check .
	@echo "== mypy";        $(BIN)/mypy
	@echo "== imports";     $(BIN)/lint-imports
	@echo "== manual";      $(BUILD_MANUAL)

docs: $(READY) ## Build the manual: site/index.html
	@$(BUILD_MANUAL)
	@echo "site/index.html"

bench: $(READY) ## Run the benchmarks
	@for file in $(sort $(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python "$$file"; done

reproduce: $(READY) ## Train the documented log: DATA=folder PROFILE=full|short|smoke ONLY=mdf_net
	@$(BIN)/mmad reproduce $(ONLY) --profile "$(PROFILE)" $(if $(DATA),--data "$(DATA)")

report: $(READY) ## Write the report of everything recorded
	@$(BIN)/mmad report --html

dist: $(READY) ## Build dist/*.whl and dist/*.tar.gz
	@rm -rf build dist
	@$(BIN)/python -m build --outdir dist . >/dev/null
	@ls dist/*

clean: ## Remove caches and build products (.venv, data, db and reports stay)
	@rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	@find mmad tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "caches and build products removed"
