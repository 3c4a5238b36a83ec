# Everything starts here: `make sim` and `make test` each install what they need, then run. `make help` lists the rest.
# Variables: PYTHON=python3.11  VENV=.venv  TASK=reach_cued  EPISODES=5  SEED=0  CLOCK=lockstep|real  SIM_ARGS='...'

PYTHON ?= python3
VENV ?= .venv
TEST_JOBS ?= 2
PYTEST_ARGS ?=
BENCH_DIR ?= runs/bench

BIN := $(VENV)/bin
SETUP := PYTHON='$(PYTHON)' VENV='$(VENV)' scripts/setup.sh
SIM_FLAGS := $(if $(TASK),--task '$(TASK)') $(if $(EPISODES),--episodes '$(EPISODES)') $(if $(SEED),--seed '$(SEED)') \
	$(if $(CLOCK),--clock '$(CLOCK)')

.DEFAULT_GOAL := help
.PHONY: help sim test check bench clean setup-sim setup-all

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@sed -n 's/^# Variables: /  variables     /p' $(MAKEFILE_LIST)

sim: setup-sim ## run the ROS 2 graph against MuJoCo with the trained policy
	@$(BIN)/python -m sim_bridge.sim $(strip $(SIM_FLAGS) $(SIM_ARGS))

test: setup-all ## run all tests: the quick ones, those that take long, those that start the graph
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not ros and not slow' -n $(TEST_JOBS) $(PYTEST_ARGS)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not ros' -n $(TEST_JOBS) $(PYTEST_ARGS)
	@$(BIN)/python -m pytest -m 'ros' $(PYTEST_ARGS)

check: setup-all ## check style (ruff) and types (mypy)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy

bench: setup-all ## measure the graph's overhead and the cost of a tick over the context's length
	@mkdir -p $(BENCH_DIR)
	@$(BIN)/python benchmarks/bench_graph.py --json $(BENCH_DIR)/graph.json
	@$(BIN)/python benchmarks/bench_context.py --json $(BENCH_DIR)/context.json

clean: ## remove the virtual environment, build folders and caches; runs/ and data/ stay
	rm -rf '$(VENV)' build install log dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

setup-sim:
	@$(SETUP) sim ros

setup-all:
	@$(SETUP) sim ros train dev
