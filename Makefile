# make demo | make test | make test-long | make test-fast | make test-package |
# make test-notebooks | make test-colab | make test-commands | make stacks | make data |
# make lint | make notebooks | make docs | make dist. Each makes the environment it needs.
# Another Python: make test PYTHON=python3.12 VENV=.venv-3.12

PYTHON ?= python3
VENV ?= .venv
# All packages with their versions; a file whose hash is not listed there is refused.
REQUIREMENTS ?= --require-hashes --requirement constraints.txt
BIN = $(VENV)/bin
# uv installs in seconds what takes pip a minute. But it reads none of pip's settings:
# where only these say where the packages are, pip installs them.
UV = .venv-uv/bin/python -m uv
PIP_INSTALL = -m pip install --disable-pip-version-check --no-compile
install = $(UV) pip install --python $(1)/bin/python $(2) \
  || $(1)/bin/python $(PIP_INSTALL) $(2)
# Neither compiles what it installs: Python does so when a module is first imported. So
# Python must keep it, or each of the hundreds of processes would compile all again.
unexport PYTHONDONTWRITEBYTECODE
INSTALLED = $(VENV)/.installed

.PHONY: demo test test-long test-fast test-package test-notebooks test-floors test-colab
.PHONY: test-commands data lint notebooks docs dist environment floors address stacks
.PHONY: traffic-tpu test-tpu traffic-gpu step-time-gpu test-hosts lock clean

demo: $(INSTALLED)
	$(BIN)/python -m benchmarks demo $(ARGS)

# Five minutes on two cores, and less when programs are in .jax_cache: all tests but
# those that take long by themselves.
test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

# What takes long: trainings of examples and benchmarks, derivatives, many steps.
test-long: $(INSTALLED)
	$(BIN)/python -m pytest -m long $(ARGS)

# Under a minute on two cores: the quick tests of the package, some of every file.
test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -m "quick or not (slow or long)" tests/package $(ARGS)

# The tests of the package, and none of the benchmarks and the documents.
test-package: $(INSTALLED)
	$(BIN)/python -m pytest tests/package adabelief_optax $(ARGS)

# The notebooks from their start to their end, with fewer steps.
test-notebooks: $(INSTALLED)
	$(BIN)/python -m pytest -m notebook tests/documents $(ARGS)

# The tests of the package on the lowest versions that pyproject.toml allows.
test-floors: floors
	$(MAKE) test-package VENV=.venv-floors

floors:
	mkdir -p .venv-floors
	$(PYTHON) .ci/floors.py > .venv-floors/requirements.txt
	$(MAKE) environment VENV=.venv-floors \
	  REQUIREMENTS="--requirement .venv-floors/requirements.txt"

# The notebooks beside the kernel that Colab has, with the extra that their first cell
# installs, on Python 3.12 or 3.13.
COLAB = "ipython==7.34.0" "ipykernel==6.17.1" "jax==0.7.2" "jaxlib==0.7.2"
test-colab: .venv-colab/.installed
	.venv-colab/bin/python -m pytest -m "not drill" \
	  tests/documents/test_notebooks.py $(ARGS)

# What README.md and benchmarks/README.md say to type, in new environments.
test-commands:
	$(PYTHON) tests/documents/commands.py $(ARGS)

# What problems and tests read and no package brings; without it those tests are skipped.
data: $(INSTALLED)
	$(BIN)/python -m benchmarks data

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/zizmor --offline --quiet .github/workflows
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# Runs them again, and keeps what they show.
notebooks: $(INSTALLED)
	$(BIN)/python notebooks/execute.py $(ARGS)

# Writes the address that pyproject.toml has for the repository to where it must stand.
address:
	$(PYTHON) .ci/address.py

# The site, from README.md, the docstrings, the notebooks and the benchmarks.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The wheel and the sdist of a release, in dist/.
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

# The recipes of docs/stacks.md, with all libraries that they are for, in .venv-stacks.
stacks: .venv-stacks/.installed
	.venv-stacks/bin/python -m pytest tests/documents/test_stacks.py \
	  tests/package/test_annotated.py $(ARGS)

# Hosts that never come, die or hang: ten minutes, of which most are waiting.
test-hosts: $(INSTALLED)
	$(BIN)/python -m pytest -m drill tests/documents/test_many_hosts.py $(ARGS)

# The training steps of the examples and of notebook 6, compiled for eight TPU chips.
test-tpu: .venv-tpu/.installed
	JAX_PLATFORMS=cpu .venv-tpu/bin/python -m pytest tests/documents/test_tpu.py $(ARGS)

# What a step moves in a TPU's or a GPU's memory, on a Linux x86 machine with neither.
# Their compilers come as Python packages, of 4 GB for GPU, each in .venv-tpu or -gpu.
PLATFORM_tpu = tpu
PLATFORM_gpu = cuda
PACKAGES_tpu = ".[test]" "jax[tpu]"
PACKAGES_gpu = . "jax[cuda13]"
# Haliax's releases do not import beside a recent JAX.
PACKAGES_stacks = ".[test]" blackjax gpjax "haliax>=1.4.dev453" keras netket numpyro \
  optimistix
OTHERS = $(patsubst %,.venv-%/.installed,tpu gpu stacks colab)
UV_INSTALLED = .venv-uv/.installed

traffic-tpu traffic-gpu: traffic-%: .venv-%/.installed
	.venv-$*/bin/python -m benchmarks traffic --platform $(PLATFORM_$*) $(ARGS)

# What a step costs on the GPU of this machine: whole training steps, the update of the
# Transformer's 57 arrays, and that of 700 small ones.
TIMES = JAX_PLATFORMS=cuda .venv-gpu/bin/python -m benchmarks step-time $(ARGS) --json \
  benchmarks/results/step-time-gpu
step-time-gpu: .venv-gpu/.installed
	$(TIMES).json
	$(TIMES)-small-arrays.json --small-arrays 700

environment: $(INSTALLED)

# Two targets at once would install into one environment: each waits for the other, and
# then looks again whether there is anything left to do. (uv itself locks .lock there.)
$(INSTALLED) $(OTHERS): pyproject.toml constraints.txt | $(UV_INSTALLED)
ifndef ALONE
$(INSTALLED) $(OTHERS) $(UV_INSTALLED):
	@$(PYTHON) .ci/alone.py $(@D)/.alone $(MAKE) --no-print-directory ALONE=yes $@
else
$(UV_INSTALLED):
	$(PYTHON) -m venv .venv-uv
	sed -n '/^uv==/,/[^\\]$$/p' constraints.txt > .venv-uv/requirements.txt
	-.venv-uv/bin/python $(PIP_INSTALL) --requirement .venv-uv/requirements.txt
	touch $@

$(INSTALLED):
	$(PYTHON) -m venv $(VENV)
	$(call install,$(VENV),$(REQUIREMENTS))
	$(call install,$(VENV),--no-deps --no-build-isolation --editable .)
	touch $@

.venv-colab/.installed:
	$(PYTHON) -m venv .venv-colab
	$(call install,.venv-colab,--editable ".[notebooks]" $(COLAB) \
	  nbclient pytest pytest-xdist)
	touch $@

# The versions of constraints.txt without the hashes: XLA's compilers are not in it.
$(filter-out .venv-colab/%,$(OTHERS)): .venv-%/.installed:
	$(PYTHON) -m venv .venv-$*
	grep '^[a-z]' constraints.txt | tr -d '\\' > .venv-$*/constraints.txt
	$(call install,.venv-$*,--editable $(PACKAGES_$*) \
	  --constraint .venv-$*/constraints.txt)
	touch $@
endif

# The newest versions for every Python that the package supports.
lock: $(UV_INSTALLED)
	$(UV) pip compile --universal --python-version 3.11 pyproject.toml --upgrade \
	  --extra test --extra lint --extra docs --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --output-file constraints.txt

clean:
	rm -rf .venv* .*_cache .hypothesis demo-output dist smoke-output site
