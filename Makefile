# The two commands of the README, and the ones developers use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-long lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/meterline demo

# Four workers on two cores: most of the time of half the tests passes in waiting for a wire, a clock or another process.
test: $(VENV)/.dev
	$(BIN)/pytest -n 4 --dist worksteal -m "not long and not bench"

test-long: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m "long"

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# A stamp file says which dependencies are installed; it is older than pyproject.toml when they must be installed again.
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
