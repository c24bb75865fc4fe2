# make app: everything for a first look.  make test: everything for a first change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: app test check format screenshots benchmarks browser clean

app: $(VENV)/.app
	$(BIN)/streamlit run app/main.py

test: $(VENV)/.dev browser
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: $(VENV)/.dev browser
	$(BIN)/python tests/browser/screenshots.py

benchmarks: $(VENV)/.dev browser
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script; done

browser: $(VENV)/.dev
	$(BIN)/python tests/browser/provide.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 app"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m mlcore list losses > /dev/null  # imports torch once, so that the first page need not
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -r requirements-dev.txt
	touch $@ $(VENV)/.app

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist *.egg-info
