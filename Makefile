.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin

# Prefect keeps its state with the rest of ours, on this machine only, and reports to nobody
export FLYWHEEL_ROOT := $(CURDIR)
export FLYWHEEL_HOME ?= $(CURDIR)/data
export PREFECT_HOME ?= $(FLYWHEEL_HOME)/prefect
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_SERVER_UI_API_URL := /api
export PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT := false
export PREFECT_SERVER_UI_STATIC_DIRECTORY := $(PREFECT_HOME)/ui
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false
export MLFLOW_MODEL_CATALOG_URI :=
export MLFLOW_TRACKING_URI ?= sqlite:///$(FLYWHEEL_HOME)/mlflow.db
export HF_HUB_OFFLINE := 1
# the project's own log lines stand on a run's page
export PREFECT_LOGGING_EXTRA_LOGGERS := flywheel,tasks,flows
PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000
SERVE_PORT ?= 8077
MLFLOW_SERVE_PORT ?= 5077
USE_CASE ?= product-reviews
# what Prefect's server and its clients know each other by is made once, and lies in the home
export PREFECT_SERVER_API_PORT := $(PREFECT_PORT)
AS_OURS := $(BIN)/python -m flows.servers.prefect_server
SERVED := PREFECT_API_URL=http://127.0.0.1:$(PREFECT_PORT)/api $(AS_OURS)

.PHONY: help install turn test test-slow test-thorough test-gpu journeys journeys-data prove docs lint lock clean server \
  up down ps deploy worker retrain mlflow serve mlflow-serve

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv .venv
	@echo "installing into .venv from requirements.lock (about two minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==$$(sed -n 's/^torch==//p' requirements.lock)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch .venv/installed

install: .venv/installed ## make .venv from the lock file

turn: install ## one full turn of the default use case on real data
	@$(BIN)/flywheel turn

# what both processes and all that they start import is compiled once
test test-slow test-thorough journeys journeys-data: export PYTHONDONTWRITEBYTECODE :=

test: lint ## lint, and the default tests: what .ci/run runs
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder

test-slow: install ## the tests that take minutes: kills, chaos, lives, journeys in full
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder -m slow

journeys: install ## a fortnight with a user, for each kind of use case, and cold starts, on data made for it
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m slow tests/journeys/test_fortnight.py tests/journeys/test_cold_start.py

# where public data sets lie: banking77/, twitter-vs-reddit/, cats-dogs/, dialogsum/
JOURNEY_DATA ?=
journeys-data: install ## the same on the data sets in JOURNEY_DATA
	@test -d "$(JOURNEY_DATA)" || { echo "make journeys-data JOURNEY_DATA=FOLDER"; exit 2; }
	@JOURNEY_DATA="$(abspath $(JOURNEY_DATA))" $(BIN)/python -m pytest -q -rs -m slow tests/journeys/test_public_data.py

test-thorough: install ## the default tests with many times the random examples
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder --hypothesis-profile thorough

test-gpu: install ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -q -m gpu

prove: install ## every architecture with every method, into flywheel/catalog/proven.json
	@$(BIN)/python -m tests.prove

# the processes find each other's ports by these
up down ps: export MLFLOW_PORT := $(MLFLOW_PORT)
up down ps: export SERVE_PORT := $(SERVE_PORT)
up: install ## everything in the background: both servers, two workers, the service for USE_CASE
	@$(BIN)/python -m flows.servers.installation up $(USE_CASE)

down: install ## stop what make up started
	@$(BIN)/python -m flows.servers.installation down

ps: install ## what runs, where it answers, and where its log is
	@$(BIN)/python -m flows.servers.installation ps

server: install ## the Prefect server and its UI, in the foreground
	@$(AS_OURS) $(BIN)/prefect server start --host 127.0.0.1 --port $(PREFECT_PORT)

deploy: install ## work pools cpu and gpu, the deployments, the watchdog for dead machines
	@$(SERVED) $(BIN)/prefect work-pool create cpu --type process --overwrite
	@$(SERVED) $(BIN)/prefect work-pool create gpu --type process --overwrite
	@$(SERVED) $(BIN)/prefect --no-prompt deploy --all
	@$(SERVED) $(BIN)/python -m flows.watchdog

POOL ?= cpu
worker: install ## a worker for POOL (cpu, or gpu), in the foreground
	@PREFECT_WORKER_QUERY_SECONDS=2 $(SERVED) $(BIN)/prefect worker start --pool $(POOL) --name $(POOL)-1 $(if $(filter gpu,$(POOL)),--limit 1)

retrain: install ## one deployed night, watched to its end
	@$(SERVED) $(BIN)/prefect deployment run flywheel/retrain --watch

# with what it takes to call a webhook on this machine; a lost key would lose the webhooks' secrets
WEBHOOK_URLS ?= http://127.0.0.1:$(SERVE_PORT)/hooks/mlflow
MLFLOW_KEY := $(FLYWHEEL_HOME)/mlflow-webhooks.key
mlflow: install ## the MLflow UI, in the foreground; webhooks may call WEBHOOK_URLS (with commas between)
	@$(BIN)/python -m flows.servers.relocate
	@test -s $(MLFLOW_KEY) || (umask 077; head -c 32 /dev/urandom | base64 | tr '+/' '-_' > $(MLFLOW_KEY))
	@MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=$$(cat $(MLFLOW_KEY)) FLYWHEEL_MLFLOW_WEBHOOK_URLS=$(WEBHOOK_URLS) \
	  $(BIN)/python -m flows.servers.mlflow_server --backend-store-uri $(MLFLOW_TRACKING_URI) \
	  --artifacts-destination $(FLYWHEEL_HOME)/mlflow-artifacts --host 127.0.0.1 --port $(MLFLOW_PORT) --workers 1

serve: install ## the prediction service for the champion of USE_CASE, in the foreground
	@$(BIN)/flywheel serve -u $(USE_CASE) --port $(SERVE_PORT)

mlflow-serve: install ## MLflow's own server for the champion of USE_CASE, in the foreground
	@$(BIN)/python -m flows.servers.relocate
	@copy=$$($(BIN)/python -m flows.servers.check_champion $(USE_CASE)) || exit 1; trap 'rm -rf "$$copy"' EXIT; trap 'exit 130' INT TERM; \
	  PYTHONDONTWRITEBYTECODE=1 PATH="$(CURDIR)/$(BIN):$$PATH" mlflow models serve -m "$$copy" \
	  --env-manager local --host 127.0.0.1 --port $(MLFLOW_SERVE_PORT)

.venv/installed-docs: .venv/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[docs]'
	@touch .venv/installed-docs

docs: .venv/installed-docs ## the documentation as a site, into site/; its reference is written from the code
	@$(BIN)/python -m docs._generator
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: install ## ruff, the rooms' rule of imports, and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy

lock: ## write requirements.lock anew from what .venv holds
	@$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > requirements.lock

clean: ## remove .venv and caches; data/ stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
