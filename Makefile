# Thin: each target calls cargo or a script that can be called by itself.
.PHONY: demo test test-faults build deb board-test models bench bench-engine reference fixtures fuzz fuzz-engine

CACHE := $(or $(AIMASS_CACHE),$(HOME)/.cache/aimass)
TARGET := $(or $(CARGO_TARGET_DIR),target)
SECONDS_TO_RUN ?=
export AIMASS_CACHE := $(CACHE)

## demo: sets up, builds and runs everything in one process; SECONDS_TO_RUN=20 ends by itself
demo: build
	@if tests/fixtures/fetch.sh --demo; then \
	    exec $(TARGET)/release/aimass-agent demo --source "file:$(CACHE)/media/bikes.mp4?loop=true" \
	        $(if $(SECONDS_TO_RUN),--seconds $(SECONDS_TO_RUN)); \
	else \
	    echo 'error: the demo clip could not be fetched (see above). With the built-in test picture instead:' >&2; \
	    echo '    $(TARGET)/release/aimass-agent demo --source test:' >&2; \
	    exit 69; \
	fi

## build: the program, as it is installed
build:
	@cross/packages.sh build
	cargo build --locked --release -p aimass-agent

## deb: packages for ARCH=arm64, armhf or amd64, in $(CACHE)/deb (cross/README.md)
deb:
	@cross/packages.sh cross
	@cross/deb.sh $(ARCH)

## test: sets up what the tests need and runs all of them
test:
	@cross/packages.sh test
	@tests/fixtures/fetch.sh
	@tests/home_assistant/setup.sh > /dev/null || [ $$? -eq 3 ]
	@tests/interop/environment.sh > /dev/null
	cargo build --locked --workspace
	AIMASS_AGENT=$(abspath $(TARGET))/debug/aimass-agent cargo test --locked --workspace
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -q -s tests/peer

## test-faults: the fault matrix (tests/README.md) in its long form
test-faults:
	@cross/packages.sh test
	@tests/fixtures/fetch.sh
	cargo build --locked --workspace
	AIMASS_FAULTS=all AIMASS_AGENT=$(abspath $(TARGET))/debug/aimass-agent cargo test --locked --workspace --test faults

## board-test: installs the arm64 package on an emulated ARM board and tries it there (cross/board/README.md)
board-test:
	@cross/packages.sh cross
	@cross/packages.sh board
	@tests/fixtures/fetch.sh --demo > /dev/null
	packages=$$(cross/deb.sh arm64) && cross/board/run test $$packages

## models: builds the models that are not committed, from their packages
models:
	models/fetch.sh

## bench: our costs beside those of the usual Python stack, on the same clips and model
bench: build fixtures
	tests/peer/run.sh

## bench-engine: the engine, tract and onnxruntime on the library's models, one thread, interleaved
bench-engine:
	models/build/engine.sh bench

## fuzz-engine: GRAPHS=2000 random quantised graphs through the engine and onnxruntime
fuzz-engine:
	models/build/engine.sh fuzz $(or $(GRAPHS),2000)

## reference: writes the configuration reference, manual pages and completions anew from the types
reference:
	@mkdir -p agent/daemon/reference
	cargo build -q --locked --workspace
	cargo build -q --locked --workspace --example documents
	$(TARGET)/debug/aimass-agent reference > $(CACHE)/reference.part
	mv $(CACHE)/reference.part agent/daemon/reference/configuration.md
	$(TARGET)/debug/aimass-agent reference --schema > $(CACHE)/reference.part
	mv $(CACHE)/reference.part agent/daemon/reference/configuration.schema.json
	$(TARGET)/debug/examples/documents agent/daemon/reference

## fuzz: every fuzz target for SECONDS_EACH=60 seconds; a crash leaves its input in tests/fuzz/artifacts/
fuzz:
	@cross/packages.sh fuzz
	tests/fuzz/run.sh $(SECONDS_EACH)

fixtures:
	@tests/fixtures/fetch.sh
