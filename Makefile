# make demo              a fresh machine to JupyterLab on the quickstart: environment, embedded model, notebook
# make demo HEADLESS=1   the same without a screen: runs the notebook and writes its panel to quickstart.html
# make check             the daily loop: what needs neither a model nor a browser
# make test              every check that CI runs; each is a target of its own: see `make help`
# make dictionaries      trains the embedded model's dictionaries again; hours, and every step goes on where it stopped
#
# Works with the make of macOS (3.81) too: no .ONESHELL, no .SHELLFLAGS.

SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
HEADLESS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo model dictionaries test check env lint types imports tsc js pytest notebooks e2e hosts package api \
  pictures reference bench torture audit clean

help:
	@echo "make demo              set everything up and open the quickstart in JupyterLab"
	@echo "make demo HEADLESS=1   run the quickstart without a screen and write quickstart.html"
	@echo "make model             fetch and convert the embedded model into the user's cache"
	@echo "make check             the daily loop, under two minutes: lint, types, imports, tsc, tests without a model"
	@echo "make test              every check; or one of: lint types imports js pytest notebooks e2e package"
	@echo "make hosts             the widgets in every notebook host (installs them, 1.6 GB, into the user's cache)"
	@echo "make api               the reference, out of the docstrings: build/api/steerwidgets.html"
	@echo "make pictures          README's pictures, taken anew in Chromium from the embedded model"
	@echo "make reference         every notebook as it runs here, one offline page each: notebooks/reference"
	@echo "make bench             every figure beside plain transformers and the peers: build/bench; on a quiet machine"
	@echo "make torture           a thousand interrupts, and ten thousand messages to each widget (an hour or two)"
	@echo "make audit             known vulnerabilities of the dependencies, asked of PyPI and npm"
	@echo "make dictionaries      train the embedded model's dictionaries again (hours on two cores; resumable)"
	@echo "make clean             remove what the targets made here (not the model's cache)"

# ---------------------------------------------------------------- environment

# Installs Debian packages where that is possible; $(1): packages, $(2): what to say where it is not.
define debian_install
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing $(1) with apt-get"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1) >/dev/null; \
	else \
	  echo $(2) >&2; exit 1; \
	fi
endef

NO_PYTHON = "steerwidgets needs Python 3.11 or newer, and no python3 was found: install one, then run make again."
NO_VENV = "This Python has no venv module: install it (on Debian and Ubuntu: sudo apt-get install python3-venv), then run make again."
NO_NODE = "The front-end checks need Node.js 20 or newer with npm: install both, then run make again."

# Sets $$python to a Python that is new enough, or leaves it empty.
find_python = python=""; for each in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
	  if command -v "$$each" >/dev/null && "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    python="$$each"; break; fi; done

$(BIN)/python:
	@set -e; $(find_python); \
	if [ -z "$$python" ] && ! command -v python3 >/dev/null; then \
	  $(call debian_install,python3 python3-venv,$(NO_PYTHON)); \
	  $(find_python); \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "steerwidgets needs Python 3.11 or newer, and python3 is $$(python3 --version 2>&1): install a newer one, or name it with make PYTHON=/path/to/python3." >&2; \
	  exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  $(call debian_install,python3-venv,$(NO_VENV)); \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

$(VENV)/.stamp-all: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[all]"
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.stamp-all $@

env: $(VENV)/.stamp-dev

# ---------------------------------------------------------------- demo

demo: $(VENV)/.stamp-all
	@$(BIN)/python -m steerwidgets.demo.model
ifneq ($(filter-out 0,$(HEADLESS)),)
	@$(BIN)/python notebooks/headless.py notebooks/quickstart.ipynb quickstart.html
else
	@set -e; options=(); \
	if [ "$$(id -u)" = 0 ]; then options+=(--allow-root); fi; \
	if [ "$$(uname)" != Darwin ] && [ -z "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; then \
	  options+=(--no-browser); \
	  echo "There is no screen here: open the address that JupyterLab prints below in a browser (Ctrl-C ends it)."; \
	fi; \
	exec $(BIN)/python -m jupyterlab --ServerApp.root_dir=notebooks --LabApp.default_url=/lab/tree/quickstart.ipynb \
	  $${options[@]+"$${options[@]}"}
endif

model: $(VENV)/.stamp-all
	@$(BIN)/python -m steerwidgets.demo.model

# ---------------------------------------------------------------- dictionaries

# Each step reads what the ones before it left in build/dictionaries/. Labels and blind predictions were written by
# readers (notebooks/embedded/labelling/sheets/); they are of the shipped SAE, and another training needs others.
# `make dictionaries SHARE=0.01` tries every step on a hundredth of the work; in a clone of its own, since it writes over
# the shipped files.
SHARE ?= 1
MAKE_SCRIPTS := corpus.written corpus.corpus corpus.labelled sae.choose_layer sae.activations sae.make_sae \
  sae.report_sae features.make_features concepts.steering_cavs concepts.concept_texts concepts.make_heldout \
  concepts.make_mfa concepts.make_reft concepts.make_probes concepts.wordnet_cavs concepts.concept_zeros \
  features.make_more_features features.sampled_activations labelling.screen_features labelling.label_sheets:examples \
  labelling.label_sheets:tests labelling.sae_steering labelling.label_scores features.make_effects

dictionaries: $(VENV)/.stamp-dev model
	@set -e; export STEERWIDGETS_SHARE=$(SHARE) PYTHONPATH=notebooks; for step in $(MAKE_SCRIPTS); do \
	  echo "--- $$step"; $(BIN)/python -m embedded.$${step/:/ }; \
	done

# ---------------------------------------------------------------- checks

# Nothing under test may ask a model hub; the embedded model comes through pip.
check lint types imports js pytest notebooks e2e hosts package: export HF_HUB_OFFLINE := 1

# What keeps one core busy runs beside something else: first what pip installs, beside the front-end. What apt may have
# to install comes before, since it does one thing at a time. The tests themselves run in several processes.
test: $(BIN)/python js/node_modules/.package-lock.json
	@$(call side_by_side,env model,js)
	@$(call side_by_side,lint types imports,package)
	@$(MAKE) --no-print-directory pytest
	@$(MAKE) --no-print-directory notebooks
	@$(MAKE) --no-print-directory e2e
	@echo "All checks passed."

# The daily loop, under two minutes on two cores: what needs no model, and no browser.
check: $(VENV)/.stamp-dev js/node_modules/.package-lock.json
	@$(call side_by_side,lint types imports,tsc)
	$(BIN)/python -m pytest -q $(WORKERS) -m "not model" $(WITHOUT)
	@echo "Checked."

# Some tests wait for what they have started: three at once keep two cores busy, here and in the browser.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder
WITHOUT := --ignore=tests/e2e --ignore=tests/hosts --ignore=tests/benchmarks --ignore=tests/test_package.py

# Two lists of targets at once; what the second one says comes when the first is done.
define side_by_side
	set -e; log="$$(mktemp)"; trap 'rm -f "$$log"' EXIT; \
	$(MAKE) --no-print-directory $(2) >"$$log" 2>&1 & other=$$!; \
	first=0; $(MAKE) --no-print-directory $(1) || first=$$?; \
	second=0; wait $$other || second=$$?; cat "$$log"; \
	if [ $$first != 0 ] || [ $$second != 0 ]; then echo "Failed: $(1) ($$first), $(2) ($$second)" >&2; exit 1; fi
endef

tsc: js/node_modules/.package-lock.json
	npm --prefix js run check

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.stamp-dev
	$(BIN)/mypy

imports: $(VENV)/.stamp-dev
	$(BIN)/lint-imports

js/node_modules/.package-lock.json: js/package-lock.json
	@set -e; \
	new_enough() { command -v npm >/dev/null && node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null; }; \
	if ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
	  $(call debian_install,nodejs npm,$(NO_NODE)); \
	fi; \
	if ! new_enough; then \
	  echo "The front-end checks need Node.js 20 or newer, and this is $$(node --version): install a newer one, then run make again." >&2; \
	  exit 1; \
	fi
	npm --prefix js ci --no-audit --no-fund
	@touch $@

# The built front-end is committed: what is committed must be what the sources build to.
js: js/node_modules/.package-lock.json
	npm --prefix js run check
	npm --prefix js run build
	git diff --exit-code --stat -- steerwidgets/static
	@set -e; new="$$(git ls-files --others --exclude-standard -- steerwidgets/static)"; \
	if [ -n "$$new" ]; then echo "Built, but not committed: $$new" >&2; exit 1; fi
	npm --prefix js test

pytest: $(VENV)/.stamp-dev model
	$(BIN)/python -m pytest $(WORKERS) $(WITHOUT) --durations=10

# Two at a time, each on a core of its own.
notebooks: $(VENV)/.stamp-dev model
	@set -e; shopt -s nullglob; all=(notebooks/*.ipynb); \
	if [ $${#all[@]} = 0 ]; then echo "There are no notebooks to run." >&2; exit 1; fi; \
	printf "%s\0" "$${all[@]}" | OMP_NUM_THREADS=1 xargs -0 -P 2 -n 1 $(BIN)/python notebooks/headless.py

# The shell is Chromium without a window, which costs a fifth of a browser test's time.
HEADLESS_SHELL := chromium-headless-shell
e2e: BROWSER_TESTS := tests/e2e -n 3 --dist worksteal
hosts: BROWSER_TESTS := tests/hosts
hosts: js/node_modules/.package-lock.json # the foreign style sheets come with npm
e2e hosts: $(VENV)/.stamp-dev model
	@set -e; \
	find_browser() { \
	  local each; for each in "$$@"; do if [ -n "$$each" ] && command -v "$$each"; then return; fi; done; return 1; \
	}; \
	if ! browser="$$(find_browser "$${STEERWIDGETS_CHROMIUM:-}" $(HEADLESS_SHELL))"; then \
	  ($(call debian_install,$(HEADLESS_SHELL),"No $(HEADLESS_SHELL): another Chromium is looked for.")) || true; \
	  browser="$$(find_browser $(HEADLESS_SHELL) chromium chromium-browser google-chrome)" || \
	    { browser=""; $(BIN)/python -m playwright install --only-shell chromium; }; \
	fi; \
	if [ -n "$$browser" ]; then export STEERWIDGETS_CHROMIUM="$$browser"; fi; \
	echo "Browser: $${STEERWIDGETS_CHROMIUM:-playwright}"; \
	$(BIN)/python -m pytest $(BROWSER_TESTS) --durations=5

package: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest tests/test_package.py

# ---------------------------------------------------------------- by hand

api: $(VENV)/.stamp-dev
	$(BIN)/python notebooks/api.py build/api

# One offline page for each notebook as it ran here, its widgets frozen: for the day on which nothing computes. They are
# committed, and a test says when one is of an older notebook.
reference: $(VENV)/.stamp-dev model
	@ls notebooks/*.ipynb | OMP_NUM_THREADS=1 xargs -P 2 -I {} sh -c '$(BIN)/python notebooks/reference.py {} notebooks/reference/$$(basename {} .ipynb).html'

pictures: $(VENV)/.stamp-dev model
	PYTHONPATH=tests $(BIN)/python -m e2e.pictures notebooks/images

# QUICK=1 runs every script small, to see that it works; ONLY="rows lens" runs some.
QUICK ?=
ONLY ?=
bench: export HF_HUB_OFFLINE := 1
bench: $(VENV)/.stamp-dev model
	@$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev,bench]"
	@[ -d build/bench/peers ] || $(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --target build/bench/peers circuitsvis==1.43.3 nnterp==1.3.0 repeng==0.4.0 steering-vectors==0.12.2
	$(BIN)/python tests/benchmarks/bench.py $(if $(filter-out 0,$(QUICK)),--quick) $(if $(ONLY),--only $(ONLY))

# CI runs a seeded part of the same attacks, in tests/torture/.
SEED ?= 0
ATTACKS ?= 1000
MESSAGES ?= 10000
torture: export HF_HUB_OFFLINE := 1
torture: export OMP_NUM_THREADS := 1
torture: $(VENV)/.stamp-dev
	$(BIN)/python tests/torture/interrupts.py $(ATTACKS) $(SEED)
	$(BIN)/python tests/torture/messages.py $(MESSAGES) $(SEED)
	STEERWIDGETS_EXAMPLES=20 $(BIN)/python -m pytest -q tests/properties -o timeout=3600

# Known vulnerabilities of what is installed and of what the front-end is built with. The tool has a place of its own:
# it needs packages that nothing else here does. A registry's mirror may not answer npm.
audit: $(VENV)/.stamp-dev
	@set -e; if [ ! -x build/audit/bin/pip-audit ]; then \
	  $(BIN)/python -m venv build/audit && build/audit/bin/python -m pip install --disable-pip-version-check -q pip-audit; fi; \
	site="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"; \
	python=0; build/audit/bin/pip-audit --strict --path "$$site" --progress-spinner off || python=$$?; \
	npm=0; npm --prefix js audit || npm=$$?; \
	if [ $$python != 0 ] || [ $$npm != 0 ]; then echo "pip-audit ended with $$python, npm audit with $$npm." >&2; exit 1; fi

clean:
	rm -rf $(VENV) js/node_modules dist build quickstart.html .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
