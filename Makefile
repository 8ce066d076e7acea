# make help            says what there is
# PYTHON=python3.12    chooses the Python that .venv is made from
PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -c constraints.txt

# A stamp for each set of extras: newer than both files, or made again.
APP := $(VENV)/.cflows-app
NOTEBOOKS := $(VENV)/.cflows-notebooks
DEV := $(VENV)/.cflows-dev

# In a container one is root, which Jupyter wants to be told.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help env app notebooks test test-slow test-notebooks lint bench bench-gpu bench-stay bench-load audit clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | awk -F'|' '{ printf "%-21s %s\n", $$1, $$2 }'

env: $(DEV)  ## Make .venv with everything: the dashboard and the developers' tools
	@echo "Ready: $(BIN)/cflows --help"

app: $(APP)  ## Open the dashboard (makes .venv the first time)
	$(BIN)/cflows app --show

notebooks: $(NOTEBOOKS)  ## Open the notebooks in JupyterLab (makes .venv the first time)
	$(BIN)/jupyter lab --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(AS_ROOT) notebooks

test: $(DEV)  ## The tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: $(DEV)  ## The slow tests: the wheel in an empty environment, the long runs
	$(BIN)/python -m pytest -m slow -n auto --dist worksteal $(PYTEST_ARGS)

test-notebooks: $(DEV)  ## Execute every notebook (a cell may take 60 seconds)
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=60 -n auto --dist worksteal --durations=0 $(PYTEST_ARGS) notebooks

lint: $(DEV)  ## ruff and pyright
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m pyright

bench: $(DEV)  ## Run the benchmarks (each prints a table)
	@set -e; for name in cost shares memory speed live; do echo "benchmarks/$$name.py"; $(BIN)/python "benchmarks/$$name.py"; done
	@! $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || $(BIN)/python benchmarks/gpu.py

bench-gpu: $(DEV)  ## The benchmarks of a machine with a CUDA GPU
	$(BIN)/python benchmarks/gpu.py

bench-stay: $(DEV)  ## A visitor who stays for 20 minutes, and one with 200,000 stored steps (40 minutes; needs Chromium)
	$(BIN)/python benchmarks/stay.py --minutes 20
	$(BIN)/python benchmarks/stay.py --minutes 20 --stored 200000

bench-load: $(DEV)  ## Fifty viewers at once, and two hundred visits (a quarter of an hour; needs Chromium)
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/visits.py

audit: $(DEV)  ## Compare the installed packages with the known holes (needs the network, and an environment of its own)
	@$(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/python -m pip install --quiet pip-audit
	@$(BIN)/python -m pip freeze --exclude-editable > $(VENV)-audit/installed.txt
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)-audit/installed.txt

clean:  ## Remove .venv and what the tools leave behind (never your runs)
	rm -rf $(VENV) $(VENV)-audit build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found="$$( ( $(PYTHON) --version ) 2>/dev/null || echo not installed )"; \
	  echo "cflows needs Python 3.11 or newer, and $(PYTHON) is $$found: install one and name it, as in make PYTHON=python3.12." >&2; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(APP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cflows and its dashboard into $(VENV) (a few minutes the first time)"
	@$(PIP) -e '.[app]'
	@touch $@

$(NOTEBOOKS): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cflows and JupyterLab into $(VENV) (a few minutes the first time)"
	@$(PIP) -e '.[notebooks]'
	@touch $(APP) $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing cflows, its dashboard and the developers' tools into $(VENV) (a few minutes the first time)"
	@$(PIP) -e '.[dev,notebooks]'
	@mkdir -p $(VENV)/typings && ln -sfn ../../app $(VENV)/typings/cflows_app
	@touch $(APP) $(NOTEBOOKS) $@
