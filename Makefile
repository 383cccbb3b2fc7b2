# Everything lives in .venv of the checkout. `make run` and `make test` need Python 3.11+ and nothing else.
PYTHON ?= python3
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install install-test run test lint format bench lock chaos

.venv/.run: requirements/run.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements/run.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv/.test: .venv/.run requirements/test.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements/test.txt
	touch $@

install: .venv/.test

run: .venv/.run
	$(BIN)/accredit up --demo

lint: .venv/.test
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/ruff check src tests bench examples
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: .venv/.test
	$(BIN)/ruff format src tests bench examples
	$(BIN)/ruff check --fix src tests bench examples

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

chaos: .venv/.test
	$(BIN)/pytest -n 0 tests/chaos --rounds 25

bench: .venv/.test
	set -e; for each in bench/*.py; do case $$each in bench/_*) ;; *) $(BIN)/python $$each ;; esac; done

lock:
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	printf 'hatchling\neditables\n' | $(LOCK) --extra demo pyproject.toml - -o requirements/run.txt
	$(LOCK) -c requirements/run.txt requirements/test.in -o requirements/test.txt
