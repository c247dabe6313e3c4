.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help install turn test test-slow lint lock clean

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

test: install ## the default tests
	@$(BIN)/python -m pytest -q

test-slow: install ## the slow tests: real model, kills at every step
	@$(BIN)/python -m pytest -q -m slow

lint: install ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock: ## write requirements.lock anew from what .venv holds
	@$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > requirements.lock

clean: ## remove .venv and caches; data/ stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
