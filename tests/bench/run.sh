#!/bin/sh
# Measures the local server against a minimal hyper pass-through, and the figures that decide what it costs on Lambda.
# Prints a table and writes it to target/bench.md. Takes about ten minutes after the builds.
#
#   BENCH_ROUNDS=5    interleaved rounds for each load
#   BENCH_SECONDS=3   measured seconds in each round
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}

# `release` is what ships (small, for Lambda); `server` is the same code built for speed. The yardstick is always fast.
cargo build --locked --release --bin feathergate
cargo build --locked --profile server --bin feathergate \
    --example bench-passthrough --example bench-upstream --example bench-load

mkdir -p target
exec python3 tests/bench/measure.py \
    --programs "$target/server/examples" \
    --gateway "release=$target/release/feathergate" \
    --gateway "server=$target/server/feathergate" \
    --package target/lambda/feathergate \
    --rounds "${BENCH_ROUNDS:-5}" --seconds "${BENCH_SECONDS:-3}" \
    --out target/bench.md
