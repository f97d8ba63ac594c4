# make quickstart: install into .venv, run a real small study, print where its report is.
# make test: the fast tests.   make lint: format, lint, types.
# PYTHON chooses the interpreter that makes .venv (3.11 to 3.13).

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
NEEDS_GB := 6
NEEDS := torch torchvision numpy pandas scipy statsmodels skimage sklearn cleanfid matplotlib PIL pydantic ruamel.yaml rich \
    jinja2 pydoe submitit
NEEDS_DEV := pytest pytest_cov xdist coverage ruff mypy playwright
has = $(BIN)/python -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))' $(1) 2>/dev/null

.PHONY: quickstart test lint schema rules install

quickstart: $(VENV)/.installed
	@$(BIN)/python -m bench.run quickstart

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

schema: $(VENV)/.installed
	@$(BIN)/python -m bench.run --schema > docs/study.schema.json

rules: $(VENV)/.installed
	@$(BIN)/python -m bench.run --rules --markdown > docs/rules.md

# A .venv that has all it needs is left as it is.  After a change of pyproject.toml or constraints.txt: make install.
$(VENV)/.installed:
	@$(call has,$(NEEDS)) || $(MAKE) --no-print-directory install
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(call has,$(NEEDS_DEV)) || $(MAKE) --no-print-directory install EXTRA='[dev]'
	@touch $@

install:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 to 3.13 is needed: make PYTHON=/path/to/python3.11"; exit 2; fi
	@if [ ! -x $(BIN)/python ]; then \
	    free=$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}'); \
	    echo "installing into $(VENV): about $(NEEDS_GB) GB with CUDA wheels, $$free GB free here"; \
	    if [ $$free -lt $(NEEDS_GB) ]; then echo "not enough: free some space, or bring a $(VENV) of your own"; exit 2; fi; \
	    $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	        || { echo "$(PYTHON) is no Python 3.11 to 3.13"; exit 2; }; \
	    $(PYTHON) -m venv $(VENV); \
	fi
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.$(EXTRA)'
