# The verbs of this repository; `make` alone lists them. Only installing uses the network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Twice what a small machine has processors: tests wait for servers and disks as often as for those.
PYTEST_WORKERS ?= 4
FUZZ_MINUTES ?= 60
SOAK_MINUTES ?= 60
# What depends on versions of libraries; the rest is about files of the repository, programs, or takes too long for that.
OTHER_TESTS := architecture bench boot docs live mutation packaging soak
CODE_TESTS := $(filter-out %/__pycache__ $(OTHER_TESTS:%=tests/%),$(patsubst %/,%,$(wildcard tests/*/)))

export PYTHON VENV
# The caller's shell must not decide what is imported, where pip installs to, or which configuration a test reads.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE PYTHONWARNINGS
unexport VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT IMAGESYNC_CONFIG

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo cloud test test-live test-boot test-packaging test-lowest test-newest fuzz mutation soak lint fixtures man docs bench
.PHONY: lock audit dist deb rpm wheels container clean

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
	@.ci/ansible
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
	@.ci/system-packages boot
	@.ci/guest-parts >/dev/null
	@.ci/guest-parts arm64 >/dev/null
	IMAGESYNC_FULL=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal tests/boot

test-packaging: ## what is installed on hosts, on hosts that are booted for it, as root
	@.ci/system-packages packaging
	@.ci/venv test
	@.ci/cloud
	@.ci/host
	@.ci/ansible
	@.ci/wheels
	@packaging/deb/build
	IMAGESYNC_FULL=1 $(BIN)/python -m pytest -rP -n $(PYTEST_WORKERS) --dist worksteal -o timeout=3600 tests/packaging

test-lowest: ## the tests of the code with the lowest versions of the dependencies that pyproject.toml allows
	@.ci/system-packages test
	@.ci/bounds lowest
	@VENV=build/lowest .ci/cloud
	build/lowest/bin/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(CODE_TESTS)

test-newest: ## the same with the newest ones, whatever is installed and locked, with PYTHON
	@.ci/system-packages test
	@.ci/bounds newest
	@VENV=build/newest .ci/cloud
	build/newest/bin/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(CODE_TESTS)

fuzz: ## change signed messages for FUZZ_MINUTES (60): none may pass for another, whatever fails is kept in build/fuzz
	@.ci/venv test
	$(BIN)/python tests/lists/fuzz.py $(FUZZ_MINUTES)

mutation: ## change the code that verifies lists (of MODULES, else of all) bit by bit: some test must see each change
	@.ci/venv test
	$(BIN)/python tests/mutation $(MODULES)

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

man: ## write the man pages and shell completions again (a second run changes nothing)
	@.ci/venv test
	$(BIN)/python packaging/man/generate.py
	$(BIN)/python packaging/completions/generate.py

docs: ## build the documentation into build/docs; a warning is an error
	@.ci/system-packages base
	@.ci/venv test
	$(BIN)/sphinx-build -W -n -E --keep-going -q -d build/doctrees docs build/docs

deb: ## build the Debian package into build/deb
	@.ci/system-packages packaging
	@.ci/venv test
	@packaging/deb/build

bench: ## measure ratios and limits; writes build/bench.json, fails beyond a limit
	@.ci/system-packages test
	@.ci/venv test
	@.ci/cloud
	$(BIN)/python tests/bench

lock: ## lock dependencies for what pyproject.toml asks; UPGRADE=--upgrade takes the newest of all
	@.ci/venv test
	@.ci/lock $(UPGRADE)

audit: ## ask the Python package index whether locked dependencies have known vulnerabilities
	@.ci/audit

dist: ## build wheel, source distribution, SBOM and checksums into dist/, the same bytes wherever it is done
	@.ci/system-packages base
	@.ci/dist

rpm: ## build an .rpm of this checkout into build/rpm
	@.ci/system-packages packaging
	@.ci/venv test
	@.ci/wheels
	@.ci/rpm

wheels: ## collect this checkout and its locked libraries in build/imagesync-wheels.tar, for hosts without a network
	@.ci/system-packages base
	@.ci/venv test
	@.ci/wheels
	@tar --create --file build/imagesync-wheels.tar --directory build/wheels --exclude ./complete .

container: ## build the container image localhost/imagesync; BASE names what it is built on
	@.ci/system-packages packaging
	@.ci/venv test
	@.ci/wheels
	@.ci/container

clean: ## remove what the other verbs made, the virtual environment included
	rm -rf $(VENV) build dist demo-site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find imagesync backends tests fixtures docs -name __pycache__ -type d -prune -exec rm -rf {} +
