# make demo: install into .venv and predict ResNet-50; make test: the tests; make check: all that CI runs; make docs: the site.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint ruff mypy floors docs clean

demo: .venv/.installed
	@$(BIN)/python docs/demo.py

test: .venv/.installed-test
	$(BIN)/python -m pytest

check: test lint

lint: ruff mypy floors

ruff: .venv/.installed-dev
	$(BIN)/ruff check

mypy: .venv/.installed-dev
	$(BIN)/mypy

floors: .venv/.installed-dev
	$(BIN)/lint-imports

docs: .venv/.installed-docs
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv dist build site

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.installed-%: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@
