# hacoord: `make` shows what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test bench laggard observers confusion differential cover check check-distributed graphs spec-traces pictures clean python

help:
	@echo "make demo        three processes, one leader killed, the trace judged (under a minute, no Java)"
	@echo "make test        run the tests"
	@echo "make observers   5 voters and 20 observers, two voters killed, the trace judged (a minute or two)"
	@echo "make laggard     a node that was away for a million entries comes back through an image (some minutes)"
	@echo "make confusion   10,000 right traces and 10,000 doctored ones to the checker: its confusion matrix (an hour)"
	@echo "make cover       search for schedules that take every edge of the state graphs (ten minutes; docs/coverage.md)"
	@echo "make bench       how fast the checker judges a million events (some minutes)"
	@echo "make clean       remove the virtual environment and what the demo wrote"
	@echo
	@echo "With Java, for the specification (docs/specification.md):"
	@echo "make check              TLC on the quick models; SIZE=full or SIZE=deep for the larger ones"
	@echo "make differential       the checker's two engines on the same N traces from SEED on (N=60 SEED=1; docs/audit.md)"
	@echo "make check-distributed  one model by TLC's server and two workers; MODEL=... for another"
	@echo "make graphs             the state graphs that traces are replayed on, anew (TLC 1.8.0)"
	@echo "make spec-traces        behaviours of right and wrong protocols as traces, anew (TLC 1.8.0)"
	@echo "make pictures           the pictures of the book, from the graphs (needs Graphviz, not Java)"

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "hacoord needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }

# The stamps say what has been installed; a change of pyproject.toml makes them old.
$(VENV)/.demo: pyproject.toml | python
	@echo "Preparing $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: pyproject.toml | python
	@echo "Preparing $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@$(BIN)/python -m hacoord.commands.demo

test: $(VENV)/.test
	@$(BIN)/python -m pytest

observers: $(VENV)/.test
	@$(BIN)/python tests/observers.py

bench: $(VENV)/.demo
	@$(BIN)/python tests/bench.py

cover: $(VENV)/.demo
	@$(BIN)/python tests/cover.py
TRACES ?= 10000
confusion: $(VENV)/.demo
	@$(BIN)/python tests/confusion.py --traces $(TRACES)

N ?= 60
SEED ?= 1
differential: $(VENV)/.demo
	@$(BIN)/python tests/differential.py --traces $(N) --seed $(SEED)

ENTRIES ?= 1000000
laggard: $(VENV)/.demo
	@$(BIN)/python tests/laggard.py --entries $(ENTRIES)

SIZE ?= quick
check: python
	@$(PYTHON) spec/tlc.py check --size $(SIZE)

MODEL ?= HACoordination_2n2t3e1w_all
check-distributed: python
	@$(PYTHON) spec/distributed.py $(MODEL)

graphs: python
	@$(PYTHON) spec/tlc.py graphs

spec-traces: python
	@$(PYTHON) spec/traces.py

pictures: python
	@$(PYTHON) spec/draw.py

clean:
	rm -rf $(VENV) run *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
