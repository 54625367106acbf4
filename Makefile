# Everything a person types. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
RECIPE ?= guardreasoner_vl
MODEL ?= tiny
RUN ?= runs/$(RECIPE)_$(MODEL)
DEMO := $(if $(filter guardreasoner_vl,$(RECIPE)),runs/demo,runs/demo_$(RECIPE))
SEED ?= 1
GRID ?= paper
ARGS ?=
export OMP_NUM_THREADS ?= 2

BIN := .venv/bin
READY := .venv/ready
STAGES := data base subset sft mine pairs dpo concat rl eval
GR_VL := $(BIN)/gr-vl
# With a cluster's dashboard in RAY_ADDRESS, stages run there as Ray jobs.
SUBMIT := $(if $(RAY_ADDRESS),submit)
COMMON = $(RECIPE) model=$(MODEL) run=$(RUN) seed=$(SEED) $(ARGS)

.PHONY: help setup demo seeds ablate check test test-fast lock lint format types clean $(STAGES) rl_eco report

help: ## List the targets
	@grep -hE '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z_-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo "  make STAGE                    one stage: $(STAGES) rl_eco"
	@echo "Variables: RECIPE=$(RECIPE) MODEL=tiny|1b|3b|7b|8b RUN=DIR SEED=N ARGS='key=value ...'"
	@echo "With RAY_ADDRESS=http://HOST:8265 a stage runs there as a Ray job (docs/cluster.md)."

setup: $(READY) ## Make .venv with everything pinned, for CPU (README.md says how for GPUs)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: PYTHON=$(PYTHON) not found; install Python 3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[dev]'
	@touch $@

LOCK = $(BIN)/uv pip compile --quiet --python $(BIN)/python --python-version 3.11 --no-header --no-annotate pyproject.toml
LOCKED := data train serve wandb mlflow swanlab dev

lock: $(READY) ## Mend both locks after a change of pyproject.toml; versions stay where they can
	$(LOCK) $(LOCKED:%=--extra %) -o constraints.txt
	$(LOCK) --all-extras -c <(echo 'setuptools<81') -o constraints-gpu.txt # vLLM's bound on Python 3.12

demo: $(READY) ## The whole pipeline on CPU with its report: RECIPE=guardreasoner_vl|guardreasoner|rsafe
	$(GR_VL) pipeline $(RECIPE) model=tiny run=$(DEMO) seed=$(SEED) $(ARGS)

seeds: $(READY) ## The demo for three seeds, and a table of them
	for seed in 1 2 3; do $(GR_VL) pipeline $(RECIPE) model=tiny run=$(DEMO)_seed$$seed seed=$$seed $(ARGS) || exit $$?; done
	$(GR_VL) compare $(DEMO)_seed1 $(DEMO)_seed2 $(DEMO)_seed3

ablate: $(READY) ## A grid of variants times seeds, compared: GRID=paper|clip|length|preference|policy_shift or a file
	$(GR_VL) ablate $(GRID) $(ARGS)

$(STAGES): $(READY)
	$(GR_VL) $(SUBMIT) $@ $(COMMON)

rl_eco: $(READY)
	$(GR_VL) $(SUBMIT) rl $(RECIPE) config=rl_eco model=$(MODEL) run=$(RUN) seed=$(SEED) $(ARGS)

report: $(READY) ## report.html and summary.json of RUN
	$(GR_VL) report $(RUN)

check: $(READY) ## Compose and validate every stage of RECIPE
	$(GR_VL) check $(RECIPE)

test: $(READY) ## The whole suite that needs no GPU: fast and slow tiers, then real Ray and verl
	$(BIN)/pytest -q -n 2 -m 'not verl and not gpu'
	$(BIN)/pytest -q -n 2 --dist loadfile -m verl

test-fast: $(READY) ## The fast tier: offline, without verl
	$(BIN)/pytest -q -n 2

lint: $(READY) ## What CI would refuse in style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(READY) ## Mend style
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean: ## Remove the environment and caches; runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
