# Needs Python >= 3.11 and nothing else; everything is installed into .venv.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# What is installed again when it changes: the packages' list, and the kernels in C that installing compiles.
INSTALLED := pyproject.toml hatch_build.py kjax/native/build.py $(wildcard kjax/native/*.[ch])

.PHONY: demo test test-loaders lint types fuzz kill full callbacks interrupt memory watch bench clean

demo: .venv/demo
	$(BIN)/python -m kjax demo $(ARGS)

test: .venv/test
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# The loaders of PyTorch, TensorFlow, Hugging Face and Grain, from the packages themselves.
test-loaders: .venv-loaders/ready
	JAX_PLATFORMS=cpu .venv-loaders/bin/python -m pytest -W ignore tests/loaders/check_loaders.py $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

# Damages saved models in all ways: ARGS="mutations seed".
fuzz: .venv/test
	JAX_PLATFORMS=cpu $(BIN)/python tests/reliability/fuzz_saving.py $(ARGS)

# Presses Ctrl-C at random moments: ARGS="interrupts seed".
interrupt: .venv/test
	JAX_PLATFORMS=cpu XLA_FLAGS=--xla_backend_optimization_level=0 $(BIN)/python tests/reliability/interrupts.py $(ARGS)

# What it costs to watch for NaN: ARGS="pairs".
watch: .venv/test
	JAX_PLATFORMS=cpu $(BIN)/python tests/reliability/fault_cost.py $(ARGS)

# Trains small models again and again, and prints what that leaves: ARGS="fits different_models".
memory: .venv/test
	JAX_PLATFORMS=cpu XLA_FLAGS=--xla_backend_optimization_level=0 $(BIN)/python tests/reliability/memory_growth.py $(ARGS)

# Kills trainings at random moments and has them go on: ARGS="kills seed".
kill: .venv/test
	JAX_PLATFORMS=cpu $(BIN)/python tests/reliability/kill_resume.py $(ARGS)

# Trains on a disk that is full; needs root, to mount a small one.
full: .venv/test
	JAX_PLATFORMS=cpu $(BIN)/python tests/reliability/full_disk.py

# What the callbacks cost.
callbacks: .venv/test
	JAX_PLATFORMS=cpu $(BIN)/python tests/reliability/callback_cost.py $(ARGS)

# The peers pin each other's versions, so they live in an environment of their own.
bench: .venv-bench/ready
	.venv-bench/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-bench .venv-loaders .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "kjax needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv .venv

# One stamp for each set of packages.
.venv/demo: .venv/bin/python $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[plot]'
	@touch $@

.venv/test: .venv/bin/python $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

.venv/dev: .venv/bin/python $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

.venv-bench/ready: benchmarks/requirements.txt $(INSTALLED)
	@test -n "$(PYTHON)" || { echo "kjax needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt -e '.[plot]'
	@touch $@

.venv-loaders/ready: tests/loaders/requirements.txt $(INSTALLED)
	@test -n "$(PYTHON)" || { echo "kjax needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	$(PYTHON) -m venv .venv-loaders
	.venv-loaders/bin/python -m pip install --quiet --disable-pip-version-check -r tests/loaders/requirements.txt -e .
	@touch $@
