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
# The fastest first: it tells soonest of what is wrong on all of them.
TEST_BACKENDS := test-torch test-tensorflow test-jax
SLOW_BACKENDS := test-slow-torch test-slow-tensorflow test-slow-jax
# Tests of what works without Keras. They run once, and with a backend that does not exist, so
# that they fail when something in them begins to need one.
NO_BACKEND := $(addprefix tests/,benchmarks/test_accuracy.py benchmarks/test_accuracy_report.py \
	benchmarks/test_browser.py benchmarks/test_preset_accuracy.py \
	benchmarks/test_guarantees.py benchmarks/test_hostile_files.py benchmarks/test_leave_one_out.py \
	benchmarks/test_peers.py benchmarks/test_serve.py \
	benchmarks/test_test_time.py benchmarks/test_trust.py \
	converters/test_reader.py \
	export/test_image_graph.py export/test_triton_config.py \
	cli/test_interruption.py cli/test_main.py cli/test_serve.py cli/test_standard_streams.py \
	archive cli/test_archives.py data dicom imaging \
	examples/test_qupath_script.py examples/test_serve_container.py napari \
	evaluation/test_metrics.py evaluation/test_probability_quality.py \
	evaluation/test_remembered_outputs.py evaluation/test_risk_control.py inference serve tools \
	test_annotations.py test_backend_choice.py test_compile_cache.py test_compile_notice.py \
	test_files.py test_registries.py test_renamed.py test_shown.py test_systems.py \
	training/data/appearance)
# Two processes on a thread each keep two cores busy; most tests use no more than one. A large
# number of them costs memory: each holds Keras and the backend.
WORKERS ?= 2
PYTEST = $(COVERED_ENV) OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -q \
	-n $(WORKERS) --dist worksteal $(COVERED_OPTIONS)
# With COVERAGE=1 each part of the tests notes which lines it ran, in a file of its own.
COVERED := .coverage-data
ifdef COVERAGE
COVERED_ENV = COVERAGE_FILE=$(abspath $(COVERED))/$@
COVERED_OPTIONS := --cov --cov-report=
endif
# The backend of `make test-quick`; torch runs its tests the fastest.
BACKEND ?= torch
# The documentation: every block of its pages runs, once, on this backend.
DOCS := tests/docs
# What takes long and seldom breaks: other processes, artefacts, whole runs, notebooks.
NOT_QUICK := $(addprefix tests/,benchmarks cli/test_end_to_end.py examples export \
	training/devices)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The backends' tests would share two cores.
.NOTPARALLEL:
.PHONY: help setup demo test test-quick test-slow coverage coverage-report docs lint format wheel
.PHONY: browser presets api-check release-check clean
.PHONY: test-napari test-no-backend test-docs $(TEST_BACKENDS) $(SLOW_BACKENDS)

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
	@echo "Parts of test: make test-no-backend, test-docs, test-torch, test-tensorflow, test-jax"

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
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

setup: $(DEV_READY) ## make the virtual environment for development

demo: $(DEMO_READY) ## segment a fundus photograph and a cell image with the built-in preset
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python examples/demo.py

test: test-no-backend test-torch test-docs $(TEST_BACKENDS) ## run the tests on PyTorch, TensorFlow and JAX

test-quick: test-no-backend ## in minutes and on one backend, run what a change most often breaks
	KERAS_BACKEND=$(BACKEND) $(PYTEST) $(addprefix --ignore=,$(NO_BACKEND) $(DOCS) $(NOT_QUICK))

test-slow: $(SLOW_BACKENDS) ## run the tests that take minutes, on the three backends

test-no-backend: $(DEV_READY)
	KERAS_BACKEND=none $(PYTEST) $(NO_BACKEND)

$(TEST_BACKENDS): test-%: $(DEV_READY)
	KERAS_BACKEND=$* $(PYTEST) $(addprefix --ignore=,$(NO_BACKEND) $(DOCS))

test-docs: $(DEV_READY)
	KERAS_BACKEND=$(BACKEND) $(PYTEST) $(DOCS)

coverage: $(DEV_READY) ## run the tests, and print what none of them runs through on any backend
	rm -rf $(COVERED)
	for part in test-no-backend $(TEST_BACKENDS); do $(MAKE) $$part COVERAGE=1 || exit 1; done
	$(MAKE) coverage-report

# COVERAGE_OF=torch where the tests without a backend and on torch alone were run.
COVERAGE_OF ?= all
coverage-report: $(DEV_READY)
	$(BIN)/coverage combine --keep --quiet --data-file=$(COVERED)/all $(COVERED)/test-*
	$(BIN)/coverage json --quiet --data-file=$(COVERED)/all -o $(COVERED)/coverage.json
	$(BIN)/python tools/coverage_floor.py $(COVERED)/coverage.json --tests $(COVERAGE_OF)

$(SLOW_BACKENDS): test-slow-%: $(DEV_READY)
	KERAS_BACKEND=$* $(BIN)/python -m pytest -q -m slow

# Of a place of its own, because napari and Qt are 0.9 GB, and only these tests need them.
NAPARI := $(VENV)-napari
NAPARI_READY := $(NAPARI)/.ready
$(NAPARI_READY): pyproject.toml
	$(PYTHON) -m venv $(NAPARI)
	$(NAPARI)/bin/python -m pip install --quiet --editable '.[napari]' pyqt6 pytest pytest-qt npe2
	@touch $@

test-napari: $(NAPARI_READY) ## test the plugin for napari, in an environment of its own (gigabytes)
	KERAS_BACKEND=none QT_QPA_PLATFORM=offscreen $(NAPARI)/bin/python -m pytest -q tests/napari

docs: $(DEV_READY) ## build the documentation into site/, running its tutorials, and check it
	KERAS_BACKEND=$(BACKEND) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	KERAS_BACKEND=$(BACKEND) ESPMEDSAM_SITE=$(abspath site) \
		$(BIN)/python -m pytest -q tests/docs/test_site.py

browser: ## build the page for browsers, which `espmedsam export --format web` needs (Node.js)
	cd examples/browser && npm ci && npm run build

lint: $(DEV_READY) ## check the code, its formatting, its types, its words and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell -D - -D tools/words.txt
	$(BIN)/lint-imports
	$(BIN)/python tools/house.py --check --quiet
	$(BIN)/mypy

format: $(DEV_READY) ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(DEV_READY) ## build the sdist and the wheel into dist/
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python tools/earlier_presets.py --output dist

# WORK=FOLDER holds the runs, outside of the repository; OPTIONS=--list prints the steps alone.
presets: $(DEV_READY) ## rebuild the presets from ESPMEDSAM_DATA, in hours: make presets WORK=FOLDER
	$(BIN)/python tools/rebuild_presets.py --work "$(WORK)" $(OPTIONS)

api-check: $(DEV_READY) ## list what breaks programs written for the last release
	KERAS_BACKEND=$(BACKEND) TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python tools/api_changes.py

release-check: $(DEV_READY) ## build sdist and wheel, and run both in new environments
	$(BIN)/python tools/release_check.py

clean: ## remove the virtual environment, caches and build outputs
	rm -rf $(VENV) dist site .cache .coverage-data .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		demo_output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
