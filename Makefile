# make setup        create .venv from the lock files, if it is missing or stale; link the Slurm profile
# make demo         set up, then run the demo study and say where its report is
# make test         set up, then lint, type check and run the tests
# make test-faults  set up, then damage inputs and kill runs at random, and see that nothing is lost or wrong
# make test-slurm   set up, start a throw-away Slurm on this machine (installs Debian's packages) and test on it
# Everything else is Snakemake: .venv/bin/snakemake --help
.DELETE_ON_ERROR:
.PHONY: help setup demo lint test test-faults test-slurm clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made-from-lock

help:
	@sed -n 's/^# //p' Makefile

# Snakemake looks for a profile's name in this folder first, then in ~/.config/snakemake, which is the user's own.
setup: $(STAMP)
	@test -e slurm || ln -s profiles/slurm slurm

# torch brings dependencies of its own on some machines, so the locks are installed with them. Two are installed without:
# deepbet, to leave its GUI out, and the Slurm plugin, which asks for a newer numpy than antspyx allows and needs it for a
# report that is not made here.
ALONE := ^(deepbet|snakemake-executor-plugin-slurm)==
$(STAMP): requirements.lock requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Upfield needs Python 3.11 or newer, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) workflow/scripts/upfield/place.py .venv/bin/python
	$(PYTHON) -m venv --clear .venv
	grep -vE '$(ALONE)' requirements.lock > .venv/requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --requirement .venv/requirements.txt --requirement requirements-dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps $$(grep -E '$(ALONE)' requirements.lock)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	$(BIN)/python workflow/scripts/upfield/home.py
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

# One process more than there are cores: many tests wait for programs and processes of their own.
test: lint
	$(BIN)/python -m pytest --ignore=tests/slurm --ignore=tests/faults \
	  --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder

# FAULT_TRIES=5: five times the usual number of tries.
FAULT_TRIES ?= 1
test-faults: setup
	$(BIN)/python -m pytest tests/faults --tries $(FAULT_TRIES) \
	  --numprocesses $$(getconf _NPROCESSORS_ONLN) --dist loadfile --no-loadscope-reorder

SLURM_PACKAGES := munge slurmctld slurmd slurm-client slurmdbd mariadb-server
test-slurm: setup
	@command -v slurmdbd /usr/sbin/slurmdbd >/dev/null || \
	  { test "$$(id -u)" = 0 || sudo=sudo; \
	    $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $(SLURM_PACKAGES); }
	$(BIN)/python -m pytest tests/slurm

clean:
	rm -rf .venv .snakemake build *.egg-info
	test ! -L slurm || rm slurm
