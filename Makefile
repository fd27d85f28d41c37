# The commands of this repository; `make help` lists them.

.DEFAULT_GOAL := help
CARGO ?= cargo
PYTHON ?= python3
VENV := .venv

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: build
build: ## Build `cog` and `coglet` (release) into dist/
	$(CARGO) build --release --locked -p cog -p coglet
	scripts/collect release

.PHONY: demo
demo: build ## Build everything, then run predictions from examples/ without Docker
	scripts/demo

.PHONY: wheel
wheel: build ## Write a wheel with both programs and the SDK into dist/
	scripts/wheel release

.PHONY: cross
cross: ## Build `coglet` for the other platform too, where there is what that takes: images for that get it
	CARGO="$(CARGO)" scripts/cross release

.PHONY: release
release: build cross man ## Write an archive of the programs for scripts/install.sh into dist/, and its checksum
	scripts/release release dist/man

.PHONY: site
site: setup ## Build the documentation's site into dist/site
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

.PHONY: test
test: test-rust test-python test-playground test-scenarios conformance test-faults ## Run every test

.PHONY: test-rust
test-rust: setup
	$(CARGO) build --locked -p cog -p coglet
	scripts/collect debug
	CARGO="$(CARGO)" scripts/test-rust

.PHONY: test-python
test-python: setup
	scripts/test-python

.PHONY: test-playground
test-playground: setup
	scripts/npm test

.PHONY: test-scenarios
test-scenarios: setup
	$(CARGO) build --locked -p cog -p coglet
	scripts/collect debug
	$(VENV)/bin/python -m pytest -q -rs tests/scenarios

.PHONY: test-faults
test-faults: setup
	$(CARGO) build --locked -p cog -p coglet
	scripts/collect debug
	COG=dist/debug/cog COGLET=dist/debug/coglet $(VENV)/bin/python tests/faults/run.py --quick

# Half of the tests wait for something: more processes than cores pay.
.PHONY: conformance
conformance: setup ## Check our server, or the one that SERVER="COMMAND" starts, against the HTTP specification
	$(CARGO) build --locked -p cog -p coglet
	scripts/collect debug
	$(VENV)/bin/python -m pytest -q -rfExs -n 4 --dist loadfile tests/conformance $(if $(SERVER),--server "$(SERVER)")

.PHONY: corpus
corpus: setup ## Resolve the packages of public projects, and compare with the table (ARGS=--write makes it anew)
	$(CARGO) build --locked -p cog -p coglet
	scripts/collect debug
	scripts/corpus-table $(ARGS)

.PHONY: corpus-builds
corpus-builds: setup ## Build five public projects with torch whole (some 10 GB of downloads)
	$(CARGO) build --locked -p cog -p coglet
	scripts/collect debug
	COG_CORPUS_BUILDS=1 $(VENV)/bin/python -m pytest -q -rP tests/scenarios/test_corpus_builds.py

.PHONY: setup
setup: ## Install what the tests need into .venv (and Debian packages, as root)
	scripts/setup

.PHONY: lint
lint: setup ## Check formatting, clippy, ruff, mypy, generated docs, the links of the docs, and the page of the playground
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(VENV)/bin/ruff check python tests examples benches playground
	$(VENV)/bin/ruff format --check python tests examples benches playground
	cd python/cog && ../../$(VENV)/bin/mypy --strict src
	$(CARGO) run -q --locked -p xtask -- docs --check
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	scripts/npm run -s check

.PHONY: playground
playground: setup ## Build the page of `cog playground` into playground/dist
	scripts/npm run -s build

.PHONY: docs
docs: ## Write the generated pages of docs/
	$(CARGO) run -q --locked -p xtask -- docs

.PHONY: man
man: ## Write the manual pages of all commands into dist/man
	rm -rf dist/man
	$(CARGO) run -q --locked -p xtask -- man dist/man

.PHONY: bench
bench: build setup ## Measure against docker, debootstrap and python, as ratios
	$(VENV)/bin/python benches/run.py

.PHONY: bench-build
bench-build: build setup ## Measure pushing, pulling and handing over beside docker (ARGS="--only push")
	$(VENV)/bin/python benches/run.py --distribution --rounds 5 $(ARGS)

.PHONY: bench-cli
bench-cli: build setup ## Measure what a user of the command line waits for (ARGS="--only watch")
	$(VENV)/bin/python benches/run.py --cli $(ARGS)

.PHONY: bench-runtime
bench-runtime: build setup ## Measure the server beside the published one
	$(CARGO) build --release --locked -p bare-hop
	scripts/collect release bare-hop
	$(VENV)/bin/python benches/runtime $(ARGS)

.PHONY: faults
faults: build setup ## Kill workers and builds, fill the disks, send nonsense: what becomes of it (ARGS=hooks)
	COG=dist/release/cog COGLET=dist/release/coglet $(VENV)/bin/python tests/faults/run.py $(ARGS)

.PHONY: soak
soak: build setup ## Run 500,000 predictions and see whether the server grows
	COGLET=dist/release/coglet $(VENV)/bin/python tests/faults/soak.py $(ARGS)

.PHONY: fuzz
fuzz: ## Feed mutated models to the schema reader for ten minutes (COG_FUZZ_SECONDS)
	$(CARGO) test --locked -p cog-schema --lib -- --ignored --nocapture mutated_models
