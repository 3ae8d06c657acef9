# Each target makes what it needs: a virtual environment in .venv, its packages, and then the thing itself.
# PYTHON=/path/to/python chooses the interpreter of a new .venv. Where Dify's own packager is on PATH, or named by
# DIFY_PLUGIN_CLI, `make package` has it pack, too.

VENV := .venv
PY := $(VENV)/bin/python
# Not compiled: that takes two thirds of the time, and what is imported is compiled then.
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile
TYPED := main.py utils tools provider playground scripts release
VERSION = $(shell sed -n 's/^version: *//p' manifest.yaml)

.DEFAULT_GOAL := help
.PHONY: help demo neo4j test test-long test-servers soak lint format translations workflows bench model-quality package \
	offline-package clean

help:
	@echo "make demo       a tour of the plugin in the terminal; needs no account (STAND_IN=1: and fetches no model)"
	@echo "make neo4j      a Neo4j for the demo's relations; needs a JDK (17 or newer) and Maven, fetches 128 MB once"
	@echo "make test       format, lint, types, tests and the package; what CI runs"
	@echo "make test-long  the tests that take minutes: crash loops, large tables"
	@echo "make test-servers  the store suite against real servers: fetches them once (700 MB), takes half an hour"
	@echo "make soak       half an hour of mixed load, swaps and outages: does anything grow? MINUTES=n for another length"
	@echo "make lint       format, lint and types only"
	@echo "make format     rewrite the code as the formatter wants it"
	@echo "make translations  write the texts of i18n/ into manifest.yaml, provider/ and tools/"
	@echo "make workflows  bring the example workflows up to date with the tools, and draw them"
	@echo "make bench      speed, as a ratio to mem0 itself"
	@echo "make model-quality  what a small real model makes of the prompts; fetches and builds it once, takes an hour"
	@echo "make package    dist/mem0ai-$(VERSION).difypkg, to be installed in Dify"
	@echo "make offline-package  the same with its wheels, one package per architecture, for sites without internet"
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
	@$(PY) -m playground.demo $(if $(STAND_IN),--stand-in) $(if $(RECORD),--record $(RECORD))

neo4j: $(VENV)/demo-installed
	@$(PY) -m playground.neo4j_server

lint: $(VENV)/dev-installed
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy $(TYPED)

format: $(VENV)/dev-installed
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

translations: $(VENV)/dev-installed
	$(PY) -m scripts.translations

workflows: translations
	$(PY) -m scripts.workflows

test: lint
	$(PY) -m pytest -n 4 --dist loadfile -m "not long"
	@$(MAKE) --no-print-directory package

test-long: $(VENV)/dev-installed
	$(PY) -m pytest -m long

# The servers have an environment of their own beside the one for development: see tests/servers/fetch.py.
test-servers: $(VENV)/dev-installed
	$(PY) -m tests.servers.fetch
	tests/servers/.fetched/venv/bin/python -m pytest --servers tests/contract/stores

soak: $(VENV)/dev-installed
	$(PY) -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES))

bench: $(VENV)/dev-installed
	$(PY) -m benchmarks.overhead
	$(PY) -m benchmarks.lanes
	$(PY) -m benchmarks.extraction

# Needs a C++ compiler and CMake. Never a part of the tests: it takes an hour, and no two runs are quite alike.
model-quality: $(VENV)/dev-installed
	$(PY) -m benchmarks.model_quality

package: $(VENV)/dev-installed
	@$(PY) -m release.package

# Needs the package index; its wheels are kept in dist/wheels.
offline-package: $(VENV)/dev-installed
	@$(PY) -m release.offline

clean:
	rm -rf $(VENV) dist playground/.data playground/.neo4j .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
