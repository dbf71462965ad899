# make up     build Weir and run it here: agent and collector in one process, page on http://127.0.0.1:9347
# make demo   the same, with five demo services that call each other and a fault that comes and goes
# make test   install what the tests need, run them all
# make check  formatting, lints, documentation, tidiness, generated files
# make bench  print our figures beside a peer's
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
BIN := $(CARGO_TARGET_DIR)/release
WEB := dashboards/web
WEB_SOURCES := $(shell find $(WEB) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)

.PHONY: up demo build test check bench fuzz clean

up: build
	$(BIN)/weir up

demo: build
	$(BIN)/weir up --demo

build: $(WEB)/dist/index.html
	cargo build --release --workspace --bins

$(WEB)/node_modules/.installed: $(WEB)/package-lock.json
	cd $(WEB) && npm ci --no-audit --no-fund
	touch $@

$(WEB)/dist/index.html: $(WEB)/node_modules/.installed $(WEB_SOURCES)
	cd $(WEB) && npm run build

test: $(WEB)/dist/index.html
	bash tests/run.sh

check: $(WEB)/dist/index.html
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --document-private-items
	cargo test --release --workspace --test tidy --test generated --test committed

bench:
	cargo build --release --workspace --bins
	bash benches/run.sh

fuzz:
	WEIR_FUZZ_CASES=1000000 cargo test --release --workspace --test promql fuzz -- --nocapture

clean:
	cargo clean
	rm -rf $(WEB)/dist $(WEB)/node_modules
