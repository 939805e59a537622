# make demo, make test: nothing but Python 3.11 and make is needed beforehand.
PYTHON ?= python3
# The CPU or CUDA build of torch, as pip names it; torch 2.11 and later work.
TORCH ?= torch==2.13.0
VENV := .venv
STAMP := $(VENV)/.installed
GOLDEN ?= ../shared/golden
EXPERIMENT ?= demo

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# One line per finished job (boostnerv/workflow/console.py).
QUIETLY := PYTHONPATH=workflow/plugins snakemake --logger boostnerv
# Tests and small trainings run side by side, one thread each.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest

.PHONY: help setup demo smoke smoke-cluster report pull test test-cluster test-browser test-all lint format docs \
  docs-graphs docs-site lock wheel-check clean

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
	$(QUIETLY) --profile profiles/local --configfile config/demo.yaml
	@cat results/demo/tables/points.md
	@echo "all of it, in a browser: results/demo/report/index.html"

smoke: setup  ## the same chain, tiny: a minute
	$(QUIETLY) --profile profiles/local --configfile config/smoke.yaml

# A cluster of one node in a folder and on ports of its own; it goes when the experiment ends, however that ends.
smoke-cluster: SHELL := /bin/bash
smoke-cluster: export BOOSTNERV_CLUSTER := $(CURDIR)/build/smoke-cluster/slurm
smoke-cluster: setup  ## the same on a SLURM cluster that is started and stopped for it; needs root
	rm -rf build/smoke-cluster/results
	slurm/local-cluster.sh start
	trap 'slurm/local-cluster.sh stop' EXIT && eval "$$(slurm/local-cluster.sh env)" \
	  && snakemake --profile slurm --configfile config/smoke.yaml --directory build/smoke-cluster \
	    --slurm-init-seconds-before-status-checks 3

report: setup  ## Snakemake's report of a finished experiment: make report EXPERIMENT=demo
	@mkdir -p build
	snakemake --profile profiles/local --configfile config/$(EXPERIMENT).yaml --report build/report-$(EXPERIMENT).html

# Names of experiments, e.g. make pull EXPERIMENTS="demo bunny-quick"; all that were published when empty.
EXPERIMENTS ?=
pull: setup  ## published results and what they were made from, so that nothing is planned for them (docs/data.md)
	boostnerv pull $(EXPERIMENTS)

test: setup  ## the tests
	$(PYTEST) -n auto --dist loadgroup -m 'not slow and not cluster and not browser'

# Tests of one cluster take turns on it.
test-cluster: setup  ## the tests that need root and SLURM
	$(PYTEST) -n 0 -m cluster

test-browser: setup  ## the tests of the page in chromium
	$(PYTEST) -n 0 -m browser

test-all: PYTEST += --hypothesis-profile thorough
test-all: setup  ## the tests, the slow ones and those of a cluster, against all golden data where it is at hand
	$(if $(wildcard $(GOLDEN)),BOOSTNERV_GOLDEN=$(abspath $(GOLDEN))) $(PYTEST) -n auto --dist loadgroup -m 'not cluster and not browser'
	$(MAKE) test-cluster
	$(MAKE) test-browser
	$(MAKE) wheel-check
	$(MAKE) docs-site

lint: setup  ## style, types, workflow
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint --configfile config/demo.yaml

format: setup  ## put style right
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

docs: setup  ## pages made from the code
	$(VENV)/bin/python -m boostnerv.config.keys_page
	$(VENV)/bin/python -m boostnerv.codec.container.format_page
	$(VENV)/bin/python -m boostnerv.evaluation.columns_page

docs-graphs: setup  ## pictures of the workflow; the SVG files where graphviz is installed
	$(VENV)/bin/python workflow/graphs.py

# Its packages are the extra `docs`, which nothing else needs.
docs-site: setup  ## the documentation as a site, build/site/index.html
	@$(VENV)/bin/python -c 'import material, mkdocs, mkdocstrings_handlers.python' 2>/dev/null \
	  || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "build/site/index.html; to search it as well: $(VENV)/bin/python -m http.server --directory build/site"

# uv (pip install uv) reads metadata alone. The CPU builds of torch are not on PyPI; CPU_BUILDS says where they are.
CPU_BUILDS ?= --extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match
COMPILE := uv pip compile --quiet --generate-hashes --no-annotate --no-header --constraint constraints.txt \
  --python-version 3.11 --python-platform x86_64-manylinux_2_36

lock:  ## versions and hashes of what images install, by uv
	echo '$(TORCH)+cpu' | $(COMPILE) $(CPU_BUILDS) --no-emit-package torch \
	  --extra workflow --extra report --output-file containers/requirements.txt pyproject.toml -
	printf '%s\n' setuptools '$(TORCH)+cpu' | $(COMPILE) $(CPU_BUILDS) --no-deps --output-file containers/torch-cpu.txt -
	printf '%s\n' setuptools '$(TORCH)' | $(COMPILE) --output-file containers/torch-cuda.txt -

wheel-check: setup  ## a wheel in a clean environment decodes a file
	tests/wheel-check.sh '$(TORCH)'

# Without Snakemake's records and marks, results would look as if nothing had changed and all were finished.
clean:  ## remove what was made by running (data, results and Snakemake's records of them stay)
	rm -rf $(filter-out %/metadata %/incomplete,$(wildcard .snakemake/*))
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
