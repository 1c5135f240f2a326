PYTHON ?= python3
VENV ?= .venv
STAMP := $(VENV)/.core
STAMP_TEST := $(VENV)/.test
STAMP_TRAIN := $(VENV)/.train
INPUT ?=
TESTERS ?= 2
DATA ?= ../shared/data
OUTPUT ?= models-run
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo models data test lint smoke-wheel clean

help:
	@echo "make demo             install, draw a few synthetic smears, run on them, show counts beside the truth"
	@echo "make demo INPUT=DIR   the same on your own slides"
	@echo "make models           train the shipped models again from the data sets in DATA=DIR [$(DATA)], into OUTPUT=DIR"
	@echo "make test             install everything the tests need and run the whole suite"
	@echo "make lint             ruff, mypy --strict, the layering contracts"
	@echo "make clean            remove what the above made"

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("pbsbatch needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(STAMP_TEST): $(STAMP) pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	@touch $@

$(STAMP_TRAIN): $(STAMP) pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable ".[train]"
	@touch $@

data:  # before anything large is installed
	@test -d "$(DATA)/txl" -a -d "$(DATA)/pbc" || { echo "no data sets in $(DATA): give their folder with DATA=DIR; it must hold txl/ and pbc/" >&2; exit 2; }

models: data $(STAMP_TRAIN)
	$(VENV)/bin/python -m pbsbatch models train detector --data "$(DATA)" --output "$(OUTPUT)/first" --resume
	$(VENV)/bin/python -m pbsbatch models train detector --data "$(DATA)" --output "$(OUTPUT)/second" --resume \
		--weights "$(OUTPUT)/first/model"
	$(VENV)/bin/python -m pbsbatch models train detector --data "$(DATA)" --output "$(OUTPUT)" --resume \
		--weights "$(OUTPUT)/second/model" --config pbsbatch/train/configs/whole.toml
	$(VENV)/bin/python -m pbsbatch models train classifier --data "$(DATA)" --output "$(OUTPUT)/differential" \
		$(if $(wildcard $(OUTPUT)/differential/checkpoint.safetensors),--resume)

demo: $(STAMP)
	@$(VENV)/bin/python -m benchmarks.demo $(if $(INPUT),--input "$(INPUT)")

lint: $(STAMP_TEST)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=kernels $(VENV)/bin/lint-imports

smoke-wheel: $(STAMP_TEST)
	VENV=$(VENV) bash .ci/smoke-wheel

test: lint smoke-wheel
	$(VENV)/bin/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder  # in files' order: the longest is first
	NUMBA_DISABLE_JIT=1 $(VENV)/bin/python -m pytest tests/kernels  # the same loops as plain Python, which checks bounds

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo-slides demo-results
