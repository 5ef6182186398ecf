# make site   build the demo site into site/, from nothing
# make serve  look at it on http://127.0.0.1:8000
# make test   everything that continuous integration runs, from nothing
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN ?=
export NO_MKDOCS_2_WARNING = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: site serve test lint types pytest js browser clean

site: $(VENV)/.installed
	$(BIN)/python -m generator build $(RUN)
	$(BIN)/mkdocs build --strict --quiet
	@echo "The site is in site/. Look at it with: make serve"

serve: $(VENV)/.installed
	$(BIN)/mkdocs serve

test: lint types pytest js browser

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

pytest: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not browser and not gpu" -n 2

js: node_modules/.installed
	npm run --silent check

browser: $(VENV)/.installed-dev node_modules/.installed
	tests/browser/find-chromium
	$(BIN)/python -m pytest -m browser -n 2 --dist loadfile tests/browser

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Featurebook needs Python 3.11 or newer; make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev,oracles,export]'
	$(BIN)/pip install --quiet --no-deps dictionary-learning==0.1.0
	touch $@

node_modules/.installed: package.json package-lock.json
	npm ci --no-audit --no-fund --loglevel=error
	touch $@

clean:
	rm -rf build site docs/atlas
