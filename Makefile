# The verbs of this repository; `make` alone lists them. Only installing uses the network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2
FUZZ_MINUTES ?= 60
SOAK_MINUTES ?= 60

export PYTHON VENV
# The caller's shell must not decide what is imported, where pip installs to, or which configuration a test reads.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE PYTHONWARNINGS
unexport VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT IMAGESYNC_CONFIG

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo cloud test test-live test-boot fuzz soak lint fixtures docs bench clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)$$/make \1|\2/p' Makefile | while IFS='|' read -r verb what; \
	  do printf '  %-14s %s\n' "$$verb" "$$what"; done

demo: ## install what is missing, then show the main job on a loopback list server
	@.ci/system-packages demo
	@.ci/venv
	@$(BIN)/imagesync demo

cloud: ## run a real Keystone and Glance with a publisher of images in build/cloud, until Ctrl-C
	@.ci/system-packages demo
	@.ci/venv test
	@.ci/cloud
	@PYTHONPATH=tests/live $(BIN)/python -m cloud run build/cloud

test: ## install what is missing, then check and test everything
	@.ci/system-packages test
	@.ci/venv test
	@.ci/cloud
	@.ci/guest-parts >/dev/null
	@$(MAKE) --no-print-directory lint docs
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n $(PYTEST_WORKERS) --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-live: ## the whole matrices of faults against the real services, of which `make test` takes a part by commit
	@.ci/system-packages test
	@.ci/venv test
	@.ci/cloud
	IMAGESYNC_FULL=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -o timeout=3600 tests/live tests/backends/glance

test-boot: ## start every kind of small guest, good and bad, under QEMU (an hour without KVM); `make test` starts some
	@.ci/system-packages test
	@.ci/venv test
	@.ci/guest-parts >/dev/null
	IMAGESYNC_FULL=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal tests/boot

fuzz: ## change signed messages for FUZZ_MINUTES (60): none may pass for another, whatever fails is kept in build/fuzz
	@.ci/venv test
	$(BIN)/python tests/lists/fuzz.py $(FUZZ_MINUTES)

soak: ## let a daemon run for SOAK_MINUTES (60) while lists change and servers fail; it must stay flat
	@.ci/venv test
	$(BIN)/python tests/soak $(SOAK_MINUTES)

lint: ## ruff, formatting, mypy --strict, import contracts
	@.ci/system-packages base
	@.ci/venv test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fixtures: ## make the generated fixtures again (a second run changes nothing)
	@.ci/system-packages test
	@.ci/venv test
	@set -e; for script in fixtures/*/generate.py; do \
	  [ ! -e "$$script" ] || { echo "$$script"; $(BIN)/python "$$script"; }; done

docs: ## build the documentation into build/docs; a warning is an error
	@.ci/system-packages base
	@.ci/venv test
	$(BIN)/sphinx-build -W -n -E --keep-going -q -d build/doctrees docs build/docs

bench: ## measure ratios and limits; writes build/bench.json, fails beyond a limit
	@.ci/system-packages test
	@.ci/venv test
	@.ci/cloud
	$(BIN)/python tests/bench

clean: ## remove what the other verbs made, the virtual environment included
	rm -rf $(VENV) build dist demo-site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find imagesync backends tests fixtures docs -name __pycache__ -type d -prune -exec rm -rf {} +
