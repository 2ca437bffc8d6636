# `make demo` and `make test` do all their set-up themselves: they need python3 (3.11 or newer),
# make and a package index. Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
# `pip install torch` by itself picks a build with gigabytes of CUDA libraries.
TORCH := torch==2.13.0
# One file per set of packages: set-up is done once, and again when pyproject.toml changes.
DEMO_READY := $(VENV)/.demo-ready
DEV_READY := $(VENV)/.dev-ready
TEST_BACKENDS := test-tensorflow test-jax test-torch
SLOW_BACKENDS := test-slow-tensorflow test-slow-jax test-slow-torch

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The backends' tests would share two cores, and each has threads of its own.
.NOTPARALLEL:
.PHONY: help setup demo test test-slow lint format wheel clean $(TEST_BACKENDS) $(SLOW_BACKENDS)

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
	@echo "One backend alone: make test-tensorflow, test-jax, test-torch"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# TensorFlow, because keras-hub installs it anyway: any other backend would come on top.
$(DEMO_READY): pyproject.toml | $(BIN)/python
	@echo "Installing the package with TensorFlow into $(VENV) (once; some minutes)"
	$(BIN)/python -m pip install --quiet --editable '.[tensorflow,demo]'
	@touch $@

$(DEV_READY): pyproject.toml | $(BIN)/python
	@echo "Installing the package with all three backends into $(VENV) (once; some minutes)"
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(DEV_READY) ## make the virtual environment for development

demo: $(DEMO_READY) ## segment a fundus photograph and a cell picture with the built-in preset
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python examples/demo.py

test: $(TEST_BACKENDS) ## run the tests on TensorFlow, JAX and PyTorch

test-slow: $(SLOW_BACKENDS) ## run the tests that take minutes, on the three backends

$(TEST_BACKENDS): test-%: $(DEV_READY)
	KERAS_BACKEND=$* $(BIN)/python -m pytest -q

$(SLOW_BACKENDS): test-slow-%: $(DEV_READY)
	KERAS_BACKEND=$* $(BIN)/python -m pytest -q -m slow

lint: $(DEV_READY) ## check the code and its formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV_READY) ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(DEV_READY) ## build the sdist and the wheel into dist/
	$(BIN)/python -m build --outdir dist .

clean: ## remove the virtual environment, caches and build outputs
	rm -rf $(VENV) dist .cache .pytest_cache .ruff_cache demo_output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
