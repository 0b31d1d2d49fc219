# What developers type and CI runs. `just` alone lists the recipes.

default:
    @just --list --unsorted

# formatting, lints, documentation, the fuzz targets
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- --deny warnings
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --locked --quiet
    cargo check --manifest-path fuzz/Cargo.toml --target-dir target --locked --quiet

# every test of the workspace
test:
    cargo test --workspace --locked --no-fail-fast

# the image of the quickstart comes up, judged by its console
boot:
    target/release/imager boot "target/quickstart/metal-$(dpkg --print-architecture).raw.zst" --timeout 600

# the formats against the tools that judge them
oracle:
    cargo test -p formats -p extensions -p imager --locked

# the running server against its own description
openapi:
    ci/openapi

# every parser of foreign bytes, e.g. `just fuzz 600 schematic`
fuzz *args:
    ci/fuzz {{args}}

# the two commands of the README, as a newcomer runs them
quickstart:
    ci/quickstart --no-serve

# ours against a pipeline of the standard tools, in one run
bench *args:
    ci/bench {{args}}

# the extent table of an asset, e.g. `just plan metal-amd64.raw --version v13.1.0`
plan *args:
    cargo run --quiet -p imager-cli -- plan {{args}}
