# Keyfill. `make demo` and `make test` set up all they need; `make help` lists the rest.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
NODE_MODULES := contracts/node_modules
CORE := $(wildcard intents/*.py solver/*.py solver/*/*.py) tests/bench/ours.py
CC ?= cc
MACHINES := $(addprefix tests/core/test_,authority.py lease_machine.py deadline.py ledger.py book.py)
FORGE := cd contracts && tool/forge
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test prove proofs test-full mutants lint test-python test-contracts compile \
	bench-core bench-intake bench-settlement bench-auction swarm gas soak simulate \
	lock format artifacts clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready $(NODE_MODULES)/.ready ## install locked dependencies (both commands do it)

demo: setup ## the whole way: signed intents, calls, settlement on Anvil (ARGS=--keep leaves it up)
	@$(BIN)/keyfill demo $(ARGS)

test: setup lint test-contracts test-python ## every test

prove: setup ## what CI runs after the tests: a million commands, machines step by step, a thousand worlds
	@KEYFILL_COMMANDS=1000000 $(PY) -m pytest -q tests/core/test_differential.py
	@KEYFILL_HYPOTHESIS=full $(PY) -m pytest -q -n 2 $(MACHINES)
	@$(MAKE) --no-print-directory swarm

test-full: export KEYFILL_SEED := free
test-full: setup lint ## the long runs: new seeds, ten times more of everything, deeper invariants, mutants
	cd contracts && seed=0x$$(od -An -N8 -tx8 /dev/urandom | tr -d ' ') && echo "--fuzz-seed $$seed" && \
		FOUNDRY_PROFILE=full tool/forge test --fuzz-seed $$seed
	$(MAKE) proofs
	$(PY) contracts/tool/mutants.py
	KEYFILL_COMMANDS=10000000 KEYFILL_SWEEP=40 KEYFILL_KILLS=2000 KEYFILL_MARKET_KILLS=20 \
		KEYFILL_HYPOTHESIS=full $(PY) -m pytest tests $(ARGS)
	$(PY) -m simulations.swarm --worlds 10000 --steps 5000 --jobs 2
	$(MAKE) mutants

mutants: setup ## change intents and core one place at a time: does a test notice? (resumes; --help says more)
	@$(PY) -m tests.mutation $(ARGS)

proofs: setup contracts/proofs/.ready ## what holds of the contracts' pure libraries for every value (halmos)
	cd contracts && FOUNDRY_PROFILE=symbolic PATH="$$PWD/proofs/bin:$$PWD/tool:$$PATH" halmos

lint: setup
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo

test-contracts: setup ## Foundry unit, fuzz and invariant tests; artifacts match sources
	@$(PY) contracts/tool/artifact.py --check
	@$(FORGE) test --summary

test-python: setup ## pytest, with a count per kind of test; of the compiled core too if there is a C compiler
	@if command -v $(CC) >/dev/null 2>&1; then $(MAKE) --no-print-directory compile; fi
	@$(PY) -m pytest -q $(ARGS)

compile: build/compiled/.ready ## what a wheel has, compiled, in build/compiled (needs a C compiler)

bench-core: compile ## matching, replay and clearing beside their peers, as JSON lines
	@$(PY) -m tests.bench.core $(ARGS)
	@$(PY) -m tests.bench.replay
	@$(PY) -m tests.bench.clearing

bench-intake: compile ## from signed bytes to durable, beside raw recovery and aiohttp, as JSON lines
	@$(PY) -m tests.bench.intake $(ARGS)

bench-settlement: setup ## batches a block takes from one sender, finality far away, as a JSON line
	@$(PY) -m tests.settlement.throughput

bench-auction: setup ## exact winners and rewards beside HiGHS and a greedy rule, as JSON lines
	@$(PY) -m tests.bench.auction $(ARGS)
	@$(PY) -m tests.bench.gain

swarm: setup ## 1,000 simulated worlds of 5,000 steps with faults of every kind
	@$(PY) -m simulations.swarm --worlds 1000 --steps 5000 --jobs 2 $(ARGS)

gas: setup ## gas per fill, from receipts of mined transactions, as JSON lines
	@$(PY) -m contracts.gas $(ARGS)

soak: setup ## 1,000 intents through the HTTP API to final settlement, as JSON lines
	@$(PY) -m tests.soak $(ARGS)

simulate: setup ## credits with and without unmatched issuance: parquet and a figure
	@$(PY) -m simulations --json $(ARGS)

artifacts: setup ## compile the contracts and rewrite the committed ABI and bytecode
	@$(PY) contracts/tool/artifact.py

format: setup ## format Python and Solidity
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix --quiet .
	@$(FORGE) fmt

lock: ## write the lock files anew (needs uv and npm)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--extra demo --extra simulations --extra substitutes --group dev pyproject.toml -o requirements.lock
	cd contracts && npm install --package-lock-only

clean: ## remove everything that is not committed but made by these targets
	rm -rf $(VENV) $(NODE_MODULES) contracts/proofs contracts/out contracts/cache build .keyfill simulations/report

build/compiled/.ready: $(VENV)/.ready hatch_build.py pyproject.toml $(CORE)
	@echo "compiling the core"
	@rm -rf build/wheel build/compiled
	@KEYFILL_BENCH=1 $(BIN)/hatchling build --target wheel --directory build/wheel >/dev/null
	@$(PY) -m zipfile --extract build/wheel/*.whl build/compiled
	@rm -rf build/wheel
	@touch $@

contracts/proofs/.ready: contracts/symbolic/requirements.lock $(VENV)/.ready
	@rm -rf contracts/proofs
	@$(PY) -m venv contracts/proofs
	@contracts/proofs/bin/pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.ready: requirements.lock
	@test -n "$(PYTHON)" || { echo "keyfill needs Python 3.11 or newer: install python3 (Debian: apt install python3 python3-venv; macOS: brew install python)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "keyfill needs Python's venv module (Debian: apt install python3-venv)"; exit 1; }
	@echo "installing Python packages (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(NODE_MODULES)/.ready: contracts/package-lock.json
	@command -v npm >/dev/null 2>&1 || { echo "keyfill needs Node.js 20 or newer with npm (Debian: apt install nodejs npm; macOS: brew install node)"; exit 1; }
	@echo "installing Anvil and the contract tools (once)"
	@cd contracts && npm ci --silent --no-audit --no-fund
	@touch $@
