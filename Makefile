# Every command of the project. Each sets up what it needs; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := bash
PY := .venv/bin/python
CHECKED := api phases shared local benchmarks/guard_simulation $(wildcard function_app.py)
PYTEST := $(PY) -m pytest -n 2 --dist loadfile
export PYTHONDONTWRITEBYTECODE :=

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
	  || grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

setup: ## Python 3.13, the pinned packages and PostgreSQL; seconds when nothing changed (all others call it)
	@scripts/bootstrap.sh

rehearse: setup ## the whole migration on this machine, without Azure; ARGS="--replicas 3 …" (see: python -m local rehearse --help)
	@$(PY) -m local rehearse $(ARGS)

rehearse-full: setup ## all phases, on a store of 20,000 chunks with the defects that do not stop a migration, every row read back
	@scripts/prometheus.sh
	@$(PY) -m local.sample generate .rehearsal/large --chunks 20000 --files 60 --collections 5 \
	  --defect nul-text --defect deleted --defect throw-away --defect empty-collection
	@$(PY) -m local rehearse --data .rehearsal/large/data --app-sql .rehearsal/large/openwebui-app.sql \
	  --full --option full_verification=true $(ARGS)

serve: setup ## the app on port 7071 with everything that it talks to
	@$(PY) -m local serve $(ARGS)

check: setup ## format, lint, strict types, import contracts, generated documents; no tests
	@$(PY) -m ruff format --check --quiet . || { echo "error: not formatted: run make format"; exit 1; }
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy --strict $(CHECKED)
	@$(PY) -c 'import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())' --no-logo
	@$(PY) docs/architecture.py --check
	@$(PY) -m cogapp --check --diff -I . -p 'import sys; sys.path.insert(0, ".")' $(wildcard README.md docs/*.md) \
	  || { echo "error: generated documents are stale: run make docs"; exit 1; }

test: check ## the checks and the tests, two at a time (a file's tests stay together); under 10 minutes; what CI runs
	@scripts/prometheus.sh
	@$(PYTEST) -m "not slow and not extension" $(ARGS)

test-slow: setup ## the tests that take minutes
	@$(PYTEST) -m slow --timeout 1800 $(ARGS)

test-extension: setup ## the tests on the real durable extension; says why they do not run where none is named
	@$(PY) -m pytest -m extension -rs $(ARGS)

bench: setup ## the benchmark tables
	@$(PY) -m benchmarks $(ARGS)

docs: setup ## regenerate the generated parts of the documents
	@$(PY) -m cogapp -r -I . -p 'import sys; sys.path.insert(0, ".")' $(wildcard README.md docs/*.md)
	@$(PY) docs/architecture.py

format: setup ## format the code and mend what the linter can
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix --quiet .

lock: setup ## resolve requirements*.in into requirements*.txt; UPGRADE=1 takes the newest
	@scripts/lock.sh

audit: setup ## known vulnerabilities of what Azure deploys (asks the public database; says so where it cannot)
	@scripts/audit.sh

clean: ## remove everything that the other commands made
	rm -rf .venv .venv-* .rehearsal build .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup rehearse rehearse-full serve check test test-slow test-extension bench docs format lock audit clean
