# `make` lists the targets.

CARGO ?= cargo
# Seconds for each target of `make fuzz`.
FUZZ_SECONDS ?= 60
# Options of `make bench` and `make run`, such as BENCH="--quick" or RUN="--port 9443".
BENCH ?=
RUN ?=

.DEFAULT_GOAL := help
.PHONY: help run build test bench conformance lint fmt deps fuzz clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Makes a working gateway in ./quickstart and runs it on https://localhost:8443
	@scripts/needs build
	$(CARGO) run --release --package portcullis -- quickstart $(RUN)

build: ## Builds target/release/portcullis
	@scripts/needs build
	$(CARGO) build --release --package portcullis

test: ## Runs every test, with real clients and servers
	@scripts/needs build test
	$(CARGO) test --workspace

bench: ## Measures the gateway beside nginx, HAProxy and Envoy
	@scripts/needs build
	bench/run $(BENCH)

conformance: ## Looks at a gateway with sslscan, testssl.sh and sslyze
	@scripts/conformance

lint: ## Checks formatting, lints and dependencies
	@scripts/needs build
	$(CARGO) fmt --all -- --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	scripts/deps

fmt: ## Formats the code
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

deps: ## Checks licences, banned crates, duplicates and advisories of dependencies
	scripts/deps

fuzz: ## Runs every fuzz target for FUZZ_SECONDS (60)
	@scripts/needs build
	fuzz/run $(FUZZ_SECONDS)

clean: ## Removes everything that was built
	$(CARGO) clean
	rm -rf fuzz/target
