# make demo and make test do all their set-up, on a bare Debian 12 or 13 with git and make.
# PYTHON names an interpreter (3.11 or newer), VMNET_CACHE the folder for what is built once,
# ARGS further arguments, for example: make test ARGS="-k policy -x"

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint matrix bench clean

help:
	@echo 'make demo   play the incident in a lab of real parts'
	@echo 'make test   run every test'
	@echo 'make setup  install and build what the others need (they do it themselves)'
	@echo 'make lint   style, types and the direction of imports'
	@echo 'make matrix loss planted at each segment, at every rate, on every path (make test: a sample)'
	@echo 'make bench  measure'
	@echo 'make clean  remove .venv and leftovers from this folder (the cache stays)'

setup:
	@bash tools/setup.sh

demo: setup
	@.venv/bin/vmnet demo $(ARGS)

test: setup
	@.venv/bin/pytest $(ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

matrix: setup
	@VMNET_MATRIX=full .venv/bin/pytest tests/lab/test_ledger_matrix.py $(ARGS)

bench: setup
	@.venv/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
