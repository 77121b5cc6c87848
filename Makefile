# Two commands matter: `make demo` runs the main job on a synthetic cohort, `make test` runs the whole suite.
# Both set everything up first, once: uv from pip into .venv, then the packages of requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
INSTALLED := $(VENV)/.installed
DEMO ?= demo

.PHONY: help setup demo test check fix fuzz bench lock clean

help:
	@echo "make demo   the main job on a synthetic cohort, into $(DEMO)/ (about 5 minutes on 2 cores)"
	@echo "make test   lint, types and the whole suite"
	@echo "make check  lint and types"
	@echo "make fix    format, and mend what the linter can"
	@echo "make fuzz   20,000 broken files, none of which may crash, hang or end in an unforeseen error"
	@echo "make bench  the benchmarks, into benchmarks/results/"
	@echo "make lock   pin the dependencies anew in requirements.lock"
	@echo "make clean  remove the demo and the caches; the environment stays"

setup: $(INSTALLED)

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "mammoscope needs Python 3.11 to 3.13; name one with PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(INSTALLED): requirements.lock pyproject.toml | $(BIN)/uv
	@echo "installing into $(VENV), once"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED)
	$(BIN)/mammoscope demo $(DEMO)

check: $(INSTALLED)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

fix: $(INSTALLED)
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

test: check
	$(BIN)/pytest -n 2

fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz/fuzz_imaging.py --cases 20000 --out benchmarks/results/fuzz.json

# not what suites share, nor those that take long: python benchmarks/learning.py, explain.py, predict_killed.py
bench: $(INSTALLED)
	@for suite in $(filter-out $(addprefix benchmarks/,reporting.py learning_runs.py random_run.py predict_stages.py learning.py explain.py predict_killed.py),$(wildcard benchmarks/*.py)); do $(BIN)/python $$suite || exit 1; done

lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
		--no-header --no-annotate --extra dev pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
