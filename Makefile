# make demo, make test: nothing but Python 3.11 and make is needed beforehand.
PYTHON ?= python3
# The CPU or CUDA build of torch, as pip names it; torch 2.11 and later work.
TORCH ?= torch==2.13.0
VENV := .venv
STAMP := $(VENV)/.installed
GOLDEN ?= ../shared/golden

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Tests and small trainings run side by side, one thread each.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto

.PHONY: help setup demo smoke test test-all lint format docs wheel-check clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## install everything into .venv

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed, $(PYTHON) is older; run: make setup PYTHON=python3.11" >&2; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## the whole chain on 16 real frames: models, files, anchors, table, figure
	snakemake --profile profiles/local --configfile config/demo.yaml
	@cat results/demo/tables/points.md
	@echo "figure: results/demo/figures/psnr-bunny.png"

smoke: setup  ## the same chain, tiny: a minute
	snakemake --profile profiles/local --configfile config/smoke.yaml

test: setup  ## the tests
	$(PYTEST) -m 'not slow'

test-all: setup  ## the tests and the slow ones, against all golden data where it is at hand
	$(if $(wildcard $(GOLDEN)),BOOSTNERV_GOLDEN=$(abspath $(GOLDEN))) $(PYTEST) -m ''
	$(MAKE) wheel-check

lint: setup  ## style, types, workflow
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow

format: setup  ## put style right
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

docs: setup  ## pages made from the code
	$(VENV)/bin/python -m boostnerv.config
	$(VENV)/bin/python -m boostnerv.codec.format_page

wheel-check: setup  ## a wheel in a clean environment decodes a file
	tests/wheel-check.sh '$(TORCH)'

clean:  ## remove what was made by running (data and results stay)
	rm -rf $(VENV) build dist .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis
