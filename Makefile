# Everything a clean machine needs: Python 3.11 or later and a package index.
#   make eval    environment, the main job on the demonstration photographs, where the report is
#   make test    environment, the whole test suite in two processes
#   make test-quick    its tests that need neither Ray nor a browser nor much time, for daily work
#   make coverage    the whole test suite, and how much of the package it runs in its own processes
#   make lint    ruff and mypy
#   make proof   the figures of the README, from the development data in $(SHARED)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHARED ?= ../shared/data
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# In two processes; tests/conftest.py says which tests stay together.
PYTEST := $(BIN)/python -m pytest -q --numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: eval test test-quick coverage lint proof environment test-environment system clean

eval: environment
	$(BIN)/emofuse evaluate

test: test-environment system
	$(PYTEST)

test-quick: test-environment
	$(PYTEST) -m "not ray and not browser and not slow"

# Apart from `make test`, since measuring slows the tests that are Python by two fifths.
coverage: test-environment system
	$(PYTEST) --cov

lint: test-environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

proof: test-environment system
	$(BIN)/python tests/proof/run.py --data $(SHARED)

environment: $(VENV)/.installed
test-environment: $(VENV)/.installed-test

# torch comes first and by itself, so that nothing else decides its version.
$(VENV)/.installed: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt --editable '.[test,s3,findingemo]'
	@touch $@

# What tests need beside Python: Chromium opens the report. Without the right to install it those tests are skipped.
system:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	{ command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends chromium >/dev/null; } || \
	echo "no Chromium: the tests that open the report in a browser will be skipped"

clean:
	rm -rf $(VENV) .coverage* .pytest_cache .mypy_cache .ruff_cache build *.egg-info
