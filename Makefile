# The two commands: make demo, make test. Everything lands in .venv and build/; nothing else of the machine is touched,
# but for the packages that lab/install.sh asks apt for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4
# An emulated machine keeps a core busy.
GUESTS ?= 2
FUZZ_S ?= 60

.PHONY: demo check test test-all bench fuzz docs lab clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /    make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

$(VENV)/.run: pyproject.toml lab/venv.sh
	PYTHON=$(PYTHON) sh lab/venv.sh $(VENV) .
	@touch $@

$(VENV)/.dev: pyproject.toml lab/venv.sh
	PYTHON=$(PYTHON) sh lab/venv.sh $(VENV) '.[dev,fuzz]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run  ## three servers, the director and its status page, in one process
	@$(BIN)/ftpdirector demo

check: $(VENV)/.dev  ## format, lint, types, import contracts, unit tests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache > build/lint-imports.txt 2>&1 || { cat build/lint-imports.txt; exit 1; }
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/pytest -q -n $(WORKERS) -m "not real and not slow" tests

lab: $(VENV)/.dev  ## install the servers and clients that the tests need (apt; root or sudo)
	@sh lab/install.sh
	@sh lab/guest/install.sh
	@sh lab/suite.sh $(BIN)/python

test: lab check  ## all tests, then the fuzz targets for a minute
	$(BIN)/pytest -q -n $(WORKERS) -m "real and not slow" --ignore=tests/guest tests
	$(BIN)/pytest -q -n $(GUESTS) -m "not slow" tests/guest
	$(MAKE) fuzz

test-all: lab check  ## the full products as well
	$(BIN)/pytest -q -n $(WORKERS) -m "real or slow" --ignore=tests/guest tests
	$(BIN)/pytest -q -n $(GUESTS) tests/guest
	$(MAKE) fuzz FUZZ_S=600

fuzz: $(VENV)/.dev  ## every fuzz target, FUZZ_S seconds in all
	$(BIN)/python fuzz/run.py --seconds $(FUZZ_S)

bench: $(VENV)/.dev  ## side by side with its peers; writes benchmarks/RESULTS.md and KERNEL.md
	sh benchmarks/install.sh
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.kernel

docs: $(VENV)/.dev  ## write the generated reference pages anew
	$(BIN)/python docs/generate.py

clean:  ## forget everything that was made here
	rm -rf $(VENV) build
