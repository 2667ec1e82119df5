# Every target works in a fresh clone on a machine with Python 3.11+, make and apt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests that use every core themselves; all others run side by side.
ALONE := chaos
# What make check leaves out beside them: real vLLM, browsers, clients that are installed first, what takes long.
LONG := $(ALONE) or e2e or browser or clients or slow
# What make chaos plays: SEEDS histories from seed FROM on, JOBS at once (three on two cores, unless told).
SEEDS ?= 40
FROM ?= 0
JOBS ?=
# Two processes a core, since half of a test is waiting, and one for vLLM, which mostly loads; more gain nothing.
# A file's tests stay together; tests/conftest.py says which files come first.
PARALLEL = -n $$((2 * $$(nproc) + 1)) --maxprocesses 9 --dist loadfile --no-loadscope-reorder

# The tests start hundreds of processes, and without byte code each compiles the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install system run test steady quick check lint fast e2e chaos chaos-scenarios compose-test curation-test bench docs lock clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with the project and the development tools

$(STAMP): pyproject.toml requirements-dev.lock
	@sh tools/bootstrap-venv.sh "$(PYTHON)" "$(VENV)"
	@touch $@

system: ## Install nginx and libnuma from the system's packages if they are missing
	@sh tools/system-packages.sh nginx libnuma1

run: install system ## Start two real vLLM CPU servers (or one per GPU) and answer a sample batch
	@$(BIN)/batchline up --demo examples/quickstart.jsonl

test: install ## Run every test, the end-to-end ones on real vLLM included
	@sh tools/system-packages.sh nginx libnuma1 chromium libfaketime caddy openssl postgresql
	@$(BIN)/pytest $(PARALLEL) -m "not $(ALONE)" $(if $(COVERAGE),--cov --cov-report=term)
	@$(BIN)/pytest -m $(ALONE) tests/chaos

steady: install ## Run make test alone, beside a load, on one core and as a background job
	@sh tools/steady.sh $(MAKE) test

quick: install ## Look at each save for half a minute: style, the core, the structure
	@$(BIN)/ruff check -q . && $(BIN)/pytest -q -n logical tests/core tests/blobs tests/structure \
		--ignore tests/structure/test_patterns.py --ignore tests/structure/test_signals.py

check: lint fast ## Lint, type-check and run the fast tests

lint: install ## Lint and type-check
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

fast: install system
	@sh tools/system-packages.sh caddy openssl postgresql
	@$(BIN)/pytest -q $(PARALLEL) -m "not ($(LONG))"

e2e: install system ## Run the end-to-end tests on real vLLM and real nginx
	@$(BIN)/pytest -m e2e

chaos: install ## Kill and break everything at random, SEEDS=40 histories, and check what must hold
	@sh tools/system-packages.sh nginx libfaketime
	@PYTHONPATH=tests $(BIN)/python -m chaos --seeds $(SEEDS) --from $(FROM) $(if $(JOBS),--jobs $(JOBS))

chaos-scenarios: install ## Run the long scenarios: 200 kills, full disks, no backend, a poison line
	@sh tools/system-packages.sh nginx
	@PYTHONPATH=tests $(BIN)/python -m chaos.scenarios

compose-test: install ## Run the compose files for real (needs a Docker engine)
	@sh tests/compose/run.sh

curation-test: install ## Run the handler label-studio against a real Label Studio (installed on first use, 1 GB)
	@LABEL_STUDIO_REAL=1 $(BIN)/pytest -v --timeout 3600 tests/deliver/builtin/test_label_studio.py

bench: install system ## Measure lines per second and memory beside an ideal loop
	@$(BIN)/python -m benchmarks.throughput

docs: install ## Regenerate the tables of docs/ that are made from code, and the nginx files
	@$(BIN)/python -m batchline.cli.main docs
	@$(BIN)/python tests/conformance/table.py

lock: install ## Recompute the pinned requirements
	@sh tools/lock.sh "$(BIN)"

clean: ## Remove the virtual environment and local state
	rm -rf $(VENV) .batchline .pytest_cache .mypy_cache .ruff_cache tests/.artifacts tests/clients/node/node_modules
