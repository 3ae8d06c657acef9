# Each target makes what it needs: a virtual environment in .venv, its packages, and then the thing itself.
# PYTHON=/path/to/python chooses the interpreter of a new .venv, DIFY_PLUGIN_CLI the packager.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
TYPED := main.py utils tools provider playground scripts
PACKAGER := $(or $(DIFY_PLUGIN_CLI),$(shell command -v dify-plugin || command -v dify))
VERSION = $(shell sed -n 's/^version: *//p' manifest.yaml)

.DEFAULT_GOAL := help
.PHONY: help demo test test-long lint format translations bench model-quality package clean

help:
	@echo "make demo       a tour of the plugin in the terminal; needs no account"
	@echo "make test       format, lint, types, tests and the package; what CI runs"
	@echo "make test-long  the tests that take minutes: crash loops, large tables"
	@echo "make lint       format, lint and types only"
	@echo "make format     rewrite the code as the formatter wants it"
	@echo "make translations  write the texts of i18n/ into manifest.yaml, provider/ and tools/"
	@echo "make bench      speed, as a ratio to mem0 itself"
	@echo "make model-quality  what a small real model makes of the prompts; fetches and builds it once, takes an hour"
	@echo "make package    dist/mem0ai-$(VERSION).difypkg; needs Dify's dify-plugin program"
	@echo "make clean      remove everything made here, the demo's memories included"

# A stamp is as old as the last installation and depends on the lists it installed.
$(PY):
	@python="$(PYTHON)"; [ -n "$$python" ] || python=$$(sh playground/find_python.sh) || exit 1; \
	echo "Making $(VENV) with $$python"; "$$python" -m venv $(VENV)

$(VENV)/demo-installed: requirements.txt playground/requirements.txt | $(PY)
	@echo "Installing the plugin's and the demo's packages (once, about a minute)"
	@$(PIP) -r requirements.txt -r playground/requirements.txt
	@touch $@

$(VENV)/dev-installed: requirements.txt playground/requirements.txt requirements-dev.txt | $(PY)
	@echo "Installing the packages for development (once, about a minute)"
	@$(PIP) -r requirements.txt -r playground/requirements.txt -r requirements-dev.txt
	@touch $(VENV)/demo-installed $@

demo: $(VENV)/demo-installed
	@$(PY) -m playground.demo $(if $(RECORD),--record $(RECORD))

lint: $(VENV)/dev-installed
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy $(TYPED)

format: $(VENV)/dev-installed
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

translations: $(VENV)/dev-installed
	$(PY) -m scripts.translations

# Without Dify's packager tests/contract/test_package.py still checks what would be packed, by the same rules.
test: lint
	$(PY) -m pytest -n 4 --dist loadfile -m "not long"
	$(if $(PACKAGER),@$(MAKE) --no-print-directory package)

test-long: $(VENV)/dev-installed
	$(PY) -m pytest -m long

bench: $(VENV)/dev-installed
	$(PY) -m benchmarks.overhead
	$(PY) -m benchmarks.lanes
	$(PY) -m benchmarks.extraction

# Needs a C++ compiler and CMake. Never a part of the tests: it takes an hour, and no two runs are quite alike.
model-quality: $(VENV)/dev-installed
	$(PY) -m benchmarks.model_quality

package:
	@[ -n "$(PACKAGER)" ] || { echo "Dify's packager is needed: put dify-plugin (github.com/langgenius/dify-plugin-daemon, releases) on PATH or name it in DIFY_PLUGIN_CLI."; exit 1; }
	@mkdir -p dist
	$(PACKAGER) plugin package . -o dist/mem0ai-$(VERSION).difypkg

clean:
	rm -rf $(VENV) dist playground/.data .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
