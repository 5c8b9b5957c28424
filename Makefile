# make demo   install if needed, run the default experiment, say where the figures are
# make test   install if needed, run the checks and the tests, real-mini on 64 samples among them (make test-all: every one)
# make env    install only: .venv from the pinned requirements
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin
STAMP := .venv/.installed
UV := uv==0.13.9
SOURCES := workflow_scripts tests benchmarks envs
RULES := Snakefile rules/*.smk
# one thread each: as many workers as cores are already busy
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile

.PHONY: demo test test-all test-slurm test-kill unit lint env lock schema clean

demo: $(STAMP)
	$(BIN)/snakemake --cores $(CORES)
	@echo && $(BIN)/python workflow_scripts/convergence.py

test: $(STAMP) lint
	$(PYTEST) -m "not whole"

# with whole experiments: the default one, one killed again and again, one fetched from a hub, on SLURM and in S3
test-all: $(STAMP) lint
	$(PYTEST)

# whole experiments through a real SLURM of one node: as root; installs slurm-wlm and munge where they are missing
test-slurm: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/workflow/test_slurm.py

# the default experiment, shrunk, killed three times (30 times: python -m tests.workflow.kill)
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

# Stale when the pins or this recipe change. uv is quick; where it cannot be had, pip does the same. Compiled now, or every
# job would do it where Python writes no bytecode (PYTHONDONTWRITEBYTECODE); umap compiles itself when it is first imported.
$(STAMP): envs/requirements.txt pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "prh needs Python 3.11 or newer; name one: make PYTHON=python3.12 env"; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { echo "Python cannot make environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet $(UV) && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r envs/requirements.txt \
	  || $(BIN)/python -m pip install --quiet -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	$(BIN)/python -c "import umap"
	@touch $@

# Resolve envs/requirements.in anew: every platform, every transitive pin, the same pins for conda.
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
