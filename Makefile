# make demo | make test | make test-fast | make lint | make notebooks | make docs.
# Each makes the environment it needs.
# Another Python: make test PYTHON=python3.12 VENV=.venv-3.12

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

.PHONY: demo test test-fast lint notebooks docs traffic-tpu traffic-gpu lock clean

demo: $(INSTALLED)
	$(BIN)/python -m benchmarks demo $(ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

# Under a minute on two cores: the package alone, and of its tests the quick ones.
test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow" tests/package $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Runs them again, and keeps what they show.
notebooks: $(INSTALLED)
	$(BIN)/python notebooks/execute.py $(ARGS)

# The site, from README.md, the docstrings, the notebooks and the benchmarks.
docs: .venv-docs/.installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict
	.venv-docs/bin/python docs/check_links.py site

# What a step moves in a TPU's or a GPU's memory, on a Linux x86 machine with neither.
# Their compilers come as Python packages, of 4 GB for GPU, each in .venv-tpu or -gpu.
PLATFORM_tpu = tpu
PLATFORM_gpu = cuda
PACKAGES_tpu = . "jax[tpu]"
PACKAGES_gpu = . "jax[cuda13]"
PACKAGES_docs = ".[docs]"
OTHERS = .venv-tpu/.installed .venv-gpu/.installed .venv-docs/.installed

traffic-tpu traffic-gpu: traffic-%: .venv-%/.installed
	.venv-$*/bin/python -m benchmarks traffic --platform $(PLATFORM_$*) $(ARGS)

$(OTHERS): .venv-%/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable $(PACKAGES_$*) --constraint $(CONSTRAINTS)
	touch $@

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --editable ".[test,lint]" --constraint $(CONSTRAINTS)
	touch $@

# The newest versions for every Python that the package supports.
lock:
	uv pip compile --universal --python-version 3.11 pyproject.toml --upgrade \
	  --extra test --extra lint --extra docs --no-emit-index-url --no-header --no-annotate \
	  --output-file constraints.txt

clean:
	rm -rf .venv* demo-output smoke-output site
