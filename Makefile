# make demo | make test | make lint. Each makes the environment it needs.
# Another Python: make test PYTHON=python3.12 VENV=.venv-3.12

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

.PHONY: demo test lint lock clean

demo: $(INSTALLED)
	$(BIN)/python -m benchmarks demo $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --editable ".[test,lint]" --constraint $(CONSTRAINTS)
	touch $@

# The newest versions for every Python that the package supports.
lock:
	uv pip compile --universal --python-version 3.11 pyproject.toml --upgrade \
	  --extra test --extra lint --no-emit-index-url --no-header --no-annotate \
	  --output-file constraints.txt

clean:
	rm -rf .venv* demo-output
