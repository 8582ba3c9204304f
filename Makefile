# The two commands: make demo, make test. Everything lands in .venv and build/; nothing else of the machine is touched,
# but for the packages that lab/install.sh asks apt for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4
# An emulated machine keeps a core busy.
GUESTS ?= 2
FUZZ_S ?= 60

.PHONY: demo check test test-all pythons coverage constraints bench fuzz docs lab clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /    make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

$(VENV)/.run: pyproject.toml constraints.txt lab/venv.sh
	PYTHON=$(PYTHON) sh lab/venv.sh $(VENV) '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt lab/venv.sh
	PYTHON=$(PYTHON) sh lab/venv.sh $(VENV) '.[dev,fuzz]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run  ## three servers, the director and its status page, in one process
	@$(BIN)/ftpdirector demo

CHECKS := check-format check-lint check-imports check-mypy check-pyright check-tests
.PHONY: $(CHECKS)

check: $(VENV)/.dev  ## format, lint, types, import contracts, unit tests: under a minute
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target $(CHECKS)

check-format: $(VENV)/.dev
	$(BIN)/ruff format --check .

check-lint: $(VENV)/.dev
	$(BIN)/ruff check .

check-imports: $(VENV)/.dev
	@$(BIN)/lint-imports --no-cache > build/lint-imports.txt 2>&1 || { cat build/lint-imports.txt; exit 1; }

check-mypy: $(VENV)/.dev
	$(BIN)/mypy

check-pyright: $(VENV)/.dev
	$(BIN)/pyright

check-tests: $(VENV)/.dev
	$(BIN)/pytest -q -n $(WORKERS) -m "not real and not long and not slow" tests

pythons: $(VENV)/.dev  ## a quick run on every other Python that is here
	@WORKERS=$(WORKERS) sh lab/pythons.sh $(BIN)/python

# Directors that run as nobody write there too.
coverage: $(VENV)/.dev  ## the lines of src that tests reach, in every process; at least 90 %
	@rm -rf build/coverage && mkdir -p build/coverage && chmod 1777 build/coverage
	$(BIN)/coverage run -m pytest -q -n $(WORKERS) --ignore=tests/guest -m "not slow" tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report > build/coverage/report.txt; code=$$?; tail -n 1 build/coverage/report.txt; exit $$code

constraints: $(VENV)/.dev  ## pin what is installed here
	{ sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude-editable | LC_ALL=C sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

lab: $(VENV)/.dev  ## install the servers and clients that the tests need (apt; root or sudo)
	@sh lab/install.sh
	@sh lab/guest/install.sh
	@sh lab/suite.sh $(BIN)/python

test: lab check pythons  ## all tests, then the fuzz targets for a minute
	$(BIN)/pytest -q -n $(WORKERS) -m "(real or long) and not slow" --ignore=tests/guest tests
	$(BIN)/pytest -q -n $(GUESTS) -m "not slow" tests/guest
	$(MAKE) fuzz

test-all: lab check pythons coverage  ## the full products as well
	$(BIN)/pytest -q -n $(WORKERS) -m "real or long or slow" --ignore=tests/guest tests
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
