# make demo   install if needed, run the default experiment, say where the figures are
# make test   install if needed, run the checks and the tests, including real-mini on 64 samples (make test-all: every test)
# make env    install only: .venv from the pinned requirements
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin
STAMP := .venv/.installed
UV := uv==0.13.9
SOURCES := workflow_scripts forkserver tests benchmarks envs hatch_build.py
RULES := Snakefile rules/*.smk
# One thread each: there is already a worker for every core.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile

.PHONY: demo test test-all test-slurm test-kill unit lint env lock schema clean

demo: $(STAMP)
	$(BIN)/snakemake --cores $(CORES)
	@echo && $(BIN)/python workflow_scripts/convergence.py

test: $(STAMP) lint
	$(PYTEST) -m "not whole"

# Adds whole experiments: the default one, one killed again and again, one fetched from a hub, on SLURM and in S3.
test-all: $(STAMP) lint
	$(PYTEST)

# Whole experiments through a real one-node SLURM. Needs root; installs slurm-wlm and munge if they are missing.
test-slurm: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/workflow/test_slurm.py

# The default experiment, shrunk and killed three times (30 times: python -m tests.workflow.kill).
test-kill: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/workflow/test_resume.py -m whole

unit: $(STAMP)
	$(PYTEST) -m "not slow" tests/unit

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/snakefmt --check $(RULES)
	$(BIN)/snakemake --lint

env: $(STAMP)

# Rebuilt when the pins or this recipe change. uv is fast; pip is the fallback. Compile to bytecode now: where Python writes
# none (PYTHONDONTWRITEBYTECODE), every job would have to. Importing umap once triggers its own compilation.
$(STAMP): envs/requirements.txt pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "prh needs Python 3.11 or newer; name one: make PYTHON=python3.12 env"; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { echo "Python cannot make environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet $(UV) && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r envs/requirements.txt \
	  || $(BIN)/python -m pip install --quiet -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	$(BIN)/python -c "import umap"
	@touch $@

# Resolve envs/requirements.in again, for every platform with every transitive pin, and write the same pins for conda.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make lock" \
	  envs/requirements.in -o envs/requirements.txt
	$(BIN)/python envs/conda_file.py > envs/prh.yaml

schema: $(STAMP)
	$(BIN)/python -m prh.experiment.schema.json_schema > config.schema.yaml
	$(BIN)/python -m prh.experiment.specs

clean:
	rm -rf .venv .snakemake results/*
