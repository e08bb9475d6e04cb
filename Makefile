# make setup   create .venv from requirements.lock, if it is missing or stale
# make demo    set up, then run the demo study and say where its report is
# make test    set up, then lint, type check and run the tests
# Everything else is Snakemake: .venv/bin/snakemake --help
.DELETE_ON_ERROR:
.PHONY: help setup demo lint test clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made-from-lock

help:
	@sed -n 's/^# //p' Makefile

setup: $(STAMP)

# torch brings dependencies of its own on some machines, so the lock is installed with them. deepbet alone is
# installed without, which leaves its GUI out.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Upfield needs Python 3.11 or newer, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	grep -v '^deepbet==' requirements.lock > .venv/requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --requirement .venv/requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps "$$(grep '^deepbet==' requirements.lock)"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/snakemake --profile profiles/demo
	@echo
	@echo "The report: $(CURDIR)/results/demo/report/index.html"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --profile profiles/demo --lint

test: lint
	$(BIN)/python -m pytest

clean:
	rm -rf .venv .snakemake build *.egg-info
