# The first two commands: `make demo` and `make test`. Both install what is missing on a Debian machine.
#
#   make build         the static release binary, at most 6 MB
#   make demo          build it, run a busybox bundle, look at it from all sides
#   make test          every test (as root: others say aloud what they skip)
#   make test-vm       those that run containers, on Debian's own kernel with nothing but cgroup v2 (qemu); TESTS=all for more, or TESTS="kernel::mounts life"
#   make test-vm-systemd  the same tests of cgroup v2 where Debian's systemd is pid 1 and makes the scopes
#   make lint          rustfmt, clippy and rustdoc: no broken link, no layer with an item that nobody has described
#   make deny          licences, sources, versions and, where they can be had, advisories of the dependencies
#   make conformance   runc's own integration tests, beside Debian's runc; ONLY=exec.bats, or ONLY='exec.bats:--user'
#   make conformance-podman  podman's own system tests, beside Debian's runc; ONLY="030-run.bats 075-exec.bats"
#   make crash-matrix  SIGKILL of create, start, update and delete: 40 system calls and 80 moments each
#   make races         names swapped while the runtime looks at them: a thousand tries of each attack
#   make soak          two minutes of random commands by several processes, with random deaths
#   make fuzz          every fuzz target, a minute in all
#   make bench         beside crun and runc, in one run
#   make schema        write state-schema/ and the diagram anew after a wanted change of a stored shape
#   make install       PREFIX=/usr/local
#   make uninstall     with the same PREFIX; what sandboxes there were keep running, and their state stays below /run/sandkeep

PREFIX ?= /usr/local
MACHINE := $(shell uname -m)
TARGET := $(MACHINE)-unknown-linux-gnu
BINARY := target/$(TARGET)/release/sandkeep
MAX_BYTES := 6291456

# libseccomp is linked statically, from the machine's own folder for libraries.
export LIBSECCOMP_LINK_TYPE ?= static
export LIBSECCOMP_LIB_PATH ?= /usr/lib/$(MACHINE)-linux-gnu
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: all build demo test test-vm test-vm-systemd lint deny conformance conformance-podman crash-matrix races soak fuzz \
        fuzz-build bench schema install uninstall tools clean

all: build

tools:
	@tests/scripts/debian-packages
	@command -v cargo >/dev/null || { \
	  echo "cargo is missing: install Rust 1.88 or newer with rustup (https://rustup.rs), then try again" >&2; exit 1; }

# Packed, the relocations of a static PIE take 5 KB instead of 285.
build: tools
	RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" cargo build --locked --release --bin sandkeep --target $(TARGET)
	@bytes=$$(stat -c %s $(BINARY)); echo "$(BINARY): $$bytes bytes"; test $$bytes -le $(MAX_BYTES)
	@! readelf -lW $(BINARY) | grep -q INTERP || { echo "$(BINARY) is not static" >&2; exit 1; }

demo: build
	@tests/scripts/demo $(BINARY)

test: tools
	cargo test --locked --no-fail-fast

test-vm: build
	@tests/scripts/debian-packages cpio e2fsprogs qemu-system-x86
	tests/vm/run $(BINARY) $(TESTS)

test-vm-systemd: build
	@tests/scripts/debian-packages cpio debootstrap e2fsprogs qemu-system-x86
	SANDKEEP_VM_INIT=systemd tests/vm/run $(BINARY) $(or $(TESTS),kernel::cgroup_v2)

lint: tools
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Unoptimised, cargo-deny is built in about a minute on two cores; optimised, it would take several. The list of advisories is a
# repository elsewhere: where it cannot be reached, the rest is held all the same, and it is said.
CARGO_DENY := $(or $(shell command -v cargo-deny),target/tools/bin/cargo-deny)

target/tools/bin/cargo-deny:
	cargo install --locked --debug --no-default-features --version 0.20.2 --root target/tools cargo-deny

deny: tools $(CARGO_DENY)
	$(CARGO_DENY) check licenses bans sources
	@if $(CARGO_DENY) fetch db; then $(CARGO_DENY) check advisories; \
	  else echo "skipped: the list of advisories cannot be reached from here"; fi

# RUNTIME: another binary than the one just built.
conformance: $(if $(RUNTIME),,build)
	@tests/conformance/run $(or $(RUNTIME),$(BINARY)) '$(ONLY)'

conformance-podman: $(if $(RUNTIME),,build)
	@tests/conformance/podman $(or $(RUNTIME),$(BINARY)) $(ONLY)

crash-matrix: build
	SANDKEEP_BIN=$(abspath $(BINARY)) SANDKEEP_CRASH_POINTS=40 SANDKEEP_CRASH_MOMENTS=80 \
	  cargo test --locked --test death -- crash:: --nocapture --test-threads=1

races: build
	SANDKEEP_BIN=$(abspath $(BINARY)) SANDKEEP_RACE_TRIES=1000 cargo test --locked --test death -- races:: --nocapture --test-threads=1

soak: build
	SANDKEEP_BIN=$(abspath $(BINARY)) cargo test --locked --test death -- soak:: --ignored --nocapture

fuzz-build: tools
	fuzz/run build

fuzz: tools
	fuzz/run all 60

bench: build
	bench/compare $(BINARY)

schema: tools
	SANDKEEP_BLESS=1 cargo test --locked --test inside -- state_schema::

install: build
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/sandkeep

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/sandkeep

clean:
	cargo clean
	rm -rf fuzz/target
