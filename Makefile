# Two environments, never one: kfp and Airflow do not resolve together (docs/architecture.md).
# .venv          service, local backend, kfp, tests
# .venv-airflow  Apache Airflow with the provider, and its tests
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3.11
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
BIN := .venv/bin
AIRFLOW_BIN := .venv-airflow/bin
PYTEST := $(BIN)/python -m pytest
AIRFLOW_PYTEST := $(AIRFLOW_BIN)/python -m pytest
LOCK := pyproject.toml uv.lock
# The earlier Airflows that the provider is tested with, and until when their dependencies may have been released:
# later ones break them, and whoever runs such an Airflow installs it with the constraints of its time.
COMPAT := 3.1 3.2
COMPAT_3.1 := 3.1.8 2026-04-15
COMPAT_3.2 := 3.2.2 2026-06-30

.PHONY: help env dashboard demo test test-unit test-contract test-database test-integration test-provider test-main-job test-all \
	test-corpus test-containers test-airflow test-faults test-web test-compat test-compat-% lock-compat lock-bench \
	lint format bench clean manifests helm compose-check sbom audit

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

env: .venv/.made .venv-airflow/.made ## both environments, from nothing but Python 3.11 and PyPI, and the dashboard
	@$(BIN)/python -m deploy.dashboard build || echo "going on without its pages: all but they work, make dashboard builds them"

dashboard: .venv/.made ## the pages, built where they are missing or stale
	@$(BIN)/python -m deploy.dashboard build

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet "uv>=0.9"

.venv/.made: $(LOCK) | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --quiet --compile-bytecode --python $(PYTHON) --extra service --extra local --extra dev
	@touch $@

.venv-airflow/.made: $(LOCK) | $(filter .uv/bin/uv,$(UV))
	UV_PROJECT_ENVIRONMENT=.venv-airflow $(UV) sync --frozen --quiet --compile-bytecode --python $(PYTHON) \
		--extra airflow --group dags --group airflow-postgres --group airflow-s3
	@touch $@

.venv-airflow-%/.made: tests/compat/airflow-%.txt pyproject.toml | $(filter .uv/bin/uv,$(UV))
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-airflow-$*
	$(UV) pip sync --quiet --python .venv-airflow-$*/bin/python $<
	$(UV) pip install --quiet --python .venv-airflow-$*/bin/python --no-deps --editable .
	@touch $@

lock-compat: | $(filter .uv/bin/uv,$(UV)) ## what the environments of test-compat hold, resolved anew
	$(foreach one,$(COMPAT),echo "apache-airflow==$(word 1,$(COMPAT_$(one)))" | $(UV) pip compile --quiet pyproject.toml \
		--extra airflow --group dags --constraint - --python-version 3.11 --no-annotate --upgrade \
		--exclude-newer $(word 2,$(COMPAT_$(one))) --custom-compile-command "make lock-compat" \
		--output-file tests/compat/airflow-$(one).txt;)

lock-bench: | $(filter .uv/bin/uv,$(UV)) ## what the environment of MLflow in the bench holds, resolved anew
	printf '%s\n' 'mlflow>=3,<4' 'psycopg[binary]>=3.2,<4' | $(UV) pip compile --quiet - --python-version 3.11 \
		--no-annotate --upgrade --custom-compile-command "make lock-bench" --output-file tests/bench/mlflow.txt

demo: env ## everything from nothing: ETL and retraining on real data; ONCE=1 stops it at the end
	$(BIN)/python -m deploy.laptop $(if $(ONCE),--once)

test: env ## units, contracts, the database on PostgreSQL, and one main job through a real Airflow
	$(MAKE) --no-print-directory test-unit test-provider test-contract test-database test-main-job

test-unit: .venv/.made
	$(PYTEST) tests/unit -q -n 2

test-provider: .venv-airflow/.made
	$(AIRFLOW_PYTEST) tests/unit/provider tests/unit/airflow_dags -q -n 2

test-contract: .venv/.made
	$(PYTEST) tests/contract -q -m "not corpus and not slow" -n 2

test-database: .venv/.made
	$(PYTEST) tests/integration/lineage -q -n 2

test-integration: env ## packages together, as real processes; the operators with dag.test()
	$(PYTEST) tests/contract -q -m "slow and not corpus" -n 2
	$(PYTEST) tests/integration -q -m "not corpus" --ignore tests/integration/lineage -n 2 --dist loadfile
	$(AIRFLOW_PYTEST) tests/integration/provider -q -n 2

test-main-job: env
	$(PYTEST) tests/e2e/test_main_job.py -q

test-all: test test-integration test-corpus test-containers test-airflow test-faults test-web ## all of it, as CI runs it

test-corpus: .venv/.made ## KFP's own pipelines and ours on the local backend, compared with what their IR says
	$(PYTEST) tests/contract -q -m corpus

test-airflow: env ## scenarios in a real Airflow: retry, clear, kill, timeouts, the bridge away
	$(PYTEST) tests/e2e -q --ignore tests/e2e/test_main_job.py

test-faults: env ## the failure matrix; its scenarios wait more than they work, so three go on at once
	$(PYTEST) tests/faults -q -n 3

test-containers: .venv/.made ## components in their images, with a container engine of the tests' own
	tests/containers/install-engine
	$(PYTEST) tests/containers -q

test-web: env dashboard ## the pages, the bridge's and Airflow's, in a real Chromium
	tests/web/install-chromium
	$(BIN)/python -m deploy.dashboard check
	$(PYTEST) tests/web -q

test-compat: $(COMPAT:%=test-compat-%) ## the provider with earlier Airflows; not part of test-all

# Warnings are no errors here: these Airflows warn of themselves. The example DAGs are written for 3.2 and later.
test-compat-%: .venv-airflow-%/.made
	.venv-airflow-$*/bin/python -m pytest tests/unit/provider tests/integration/provider \
		$(if $(filter-out 3.1,$*),tests/unit/airflow_dags) -q -o filterwarnings=default

lint: env ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(AIRFLOW_BIN)/mypy bridge/provider/*.py

format: .venv/.made ## formats the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

compose-check: env ## images built, all of compose.yaml up, the main job through it, down; CELERY=1 with CeleryExecutor
	$(BIN)/python -m deploy.compose_check $(if $(CELERY),--celery)

manifests: .venv/.made ## deploy/kubernetes, rendered from the chart with Helm
	$(BIN)/python -m deploy.manifests render

HELM_VERSION := v3.22.0
helm: .cache/helm/helm ## Helm's program, by Go; it takes minutes
.cache/helm/helm:
	GOBIN=$(CURDIR)/.cache/helm CGO_ENABLED=0 GOFLAGS=-buildvcs=false \
		go install -ldflags "-s -w" helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)

sbom: .venv/.made ## what an installation consists of, as CycloneDX, in dist/
	$(BIN)/python -m deploy.supply sbom --uv $(UV)

audit: .venv/.made ## fails if something in the lock file has a known vulnerability; TELL=1 only tells it
	$(BIN)/python -m deploy.supply audit --uv $(UV) $(if $(TELL),--tell)

bench: env ## figures: submissions and rows per second, overhead, load, beside kfp.Client and MLflow
	$(BIN)/python -m tests.bench

clean: ## removes what was made here, environments included
	rm -rf .venv .venv-airflow .venv-airflow-* .uv .demo bridge/service/web bridge/dashboard/node_modules .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
