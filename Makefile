# make app: everything for a first look.  make test: everything for a first change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# How packages are chosen: the versions that all tests were green with. `make latest` chooses the newest allowed.
CHOICE ?= -c constraints.txt
LATEST := .venv-latest
# A process for each core, up to four; a file's tests stay together.
BESIDE ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# The tests start hundreds of processes; compiled modules are kept for the next, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: app test latest constraints check format screenshots benchmarks browser clean

app: $(VENV)/.app
	$(BIN)/streamlit run app/main.py

test: $(VENV)/.dev browser
	$(BIN)/python -m pytest $(BESIDE)

latest:
	rm -f $(LATEST)/.dev
	$(MAKE) VENV=$(LATEST) CHOICE="--upgrade --upgrade-strategy eager" test

constraints: latest
	$(LATEST)/bin/python tests/constraints.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

screenshots: $(VENV)/.dev browser
	$(BIN)/python tests/browser/screenshots.py

benchmarks: $(VENV)/.dev browser
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script; done

browser: $(VENV)/.dev
	$(BIN)/python tests/browser/install_browser.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 app"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app: requirements.txt constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install $(CHOICE) -r requirements.txt
	$(BIN)/python -m mlcore list losses > /dev/null  # imports torch once, so that the first page need not
	touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install $(CHOICE) -r requirements-dev.txt
	touch $@ $(VENV)/.app

clean:
	rm -rf $(VENV) $(LATEST) .pytest_cache .ruff_cache .mypy_cache build dist *.egg-info
