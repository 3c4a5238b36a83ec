# Everything starts here: `make sim` and `make test` each install what they need, then run. `make help` lists the rest.
# Variables: PYTHON=python3.11  VENV=.venv  TASK=reach_cued  EPISODES=5  SEED=0  CLOCK=lockstep|real  SIM_ARGS='...'
# Variables: ROBOT=172.16.0.2  BUNDLE=bundles/reach_cued  CAMERAS=config/cameras.yaml  ROBOT_ARGS='require_realtime=false'

PYTHON ?= python3
VENV ?= .venv
TEST_JOBS ?= 2
PYTEST_ARGS ?=
BENCH_DIR ?= runs/bench
BENCHES ?= tick graph context lockstep candidates adapters guard muon training backends gpu
ROBOT ?=
BUNDLE ?= bundles/$(or $(TASK),reach_cued)
CAMERAS ?= config/cameras.yaml

BIN := $(VENV)/bin
SETUP := PYTHON='$(PYTHON)' VENV='$(VENV)' scripts/setup.sh
SIM_FLAGS := $(if $(TASK),--task '$(TASK)') $(if $(EPISODES),--episodes '$(EPISODES)') $(if $(SEED),--seed '$(SEED)') \
	$(if $(CLOCK),--clock '$(CLOCK)')

.DEFAULT_GOAL := help
.PHONY: help sim doctor robot robot-sim test check bench clean setup-sim setup-robot setup-all setup-loopback

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@sed -n 's/^# Variables: /  variables     /p' $(MAKEFILE_LIST)

sim: setup-sim ## run the ROS 2 graph against MuJoCo with the trained policy
	@$(BIN)/python -m sim_bridge.sim $(strip $(SIM_FLAGS) $(SIM_ARGS))

doctor: setup-robot ## look at this machine, the graph and the arm before the first motion: make doctor ROBOT=172.16.0.2
	@$(BIN)/python -m ros_nodes.doctor bundle='$(BUNDLE)' cameras_file='$(CAMERAS)' \
		$(if $(ROBOT),backend=franky --robot '$(ROBOT)') $(DOCTOR_ARGS)

robot: setup-robot ## run the graph on an arm through libfranka, from pip alone: make robot ROBOT=172.16.0.2
	@test -n '$(ROBOT)' || { echo "error: name the robot's address: make robot ROBOT=172.16.0.2" >&2; exit 2; }
	@$(BIN)/python -m ros_nodes.start robot bundle='$(BUNDLE)' cameras_file='$(CAMERAS)' backend=franky \
		robot_address='$(ROBOT)' $(ROBOT_ARGS)

robot-sim: setup-robot setup-loopback ## the same graph against a simulated arm that speaks libfranka's protocol on loopback
	@$(BIN)/python -m sim_bridge.robot_sim $(strip $(if $(TASK),--task '$(TASK)') $(if $(EPISODES),--episodes '$(EPISODES)') \
		$(if $(SEED),--seed '$(SEED)') $(SIM_ARGS))

test: setup-all setup-loopback ## run all tests: the quick ones, those that take long, those that start the graph
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not ros and not slow' -n $(TEST_JOBS) $(PYTEST_ARGS)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not ros' -n $(TEST_JOBS) $(PYTEST_ARGS)
	@$(BIN)/python -m pytest -m 'ros' $(PYTEST_ARGS)

check: setup-all ## check style (ruff) and types (mypy)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy

bench: setup-all ## run the benchmarks that need no training run, about an hour; some: make bench BENCHES='tick graph'
	@mkdir -p $(BENCH_DIR)
	@for name in $(BENCHES); do echo "== $$name"; \
		$(BIN)/python benchmarks/bench_$$name.py --json $(BENCH_DIR)/$$name.json || exit 1; done
	@echo "results are in $(BENCH_DIR)"

clean: ## remove the virtual environment, build folders and caches; runs/ and data/ stay
	rm -rf '$(VENV)' .venv-franka-sim build install log dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

setup-sim:
	@$(SETUP) sim ros

setup-robot:
	@$(SETUP) sim ros robot

setup-all:
	@$(SETUP) sim ros robot train dev

setup-loopback:
	@PYTHON='$(PYTHON)' scripts/setup_loopback.sh
