#!/bin/sh
# Measures the local server against a minimal hyper pass-through, and the figures that decide what it costs on Lambda.
# Prints tables and writes them to target/bench-wire.md and target/bench.md. Takes about twenty minutes after the builds.
#
#   BENCH_ROUNDS=5    interleaved rounds for each load
#   BENCH_SECONDS=3   measured seconds in each round
#   BENCH_ONLY=wire   only the library by itself, or only the `server`
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}

mkdir -p target
if [ "${BENCH_ONLY:-wire}" = wire ]; then
    for profile in release server; do
        cargo bench --locked --no-default-features --profile $profile --bench wire --bench route -- \
            --noplot --quiet --warm-up-time 0.5 --measurement-time 1.5 --save-baseline $profile
    done
    python3 tests/bench/wire_bars.py "$target/criterion" release server | tee target/bench-wire.md
    [ -z "${BENCH_ONLY:-}" ] || exit 0
fi

# `release` is what ships (small, for Lambda); `server` is the same code built for speed. The yardstick is always fast.
cargo build --locked --release --bin feathergate
cargo build --locked --profile server --bin feathergate
# Apart from the gateway, which would be built with what tests want of tokio: clocks that can be stopped.
cargo build --locked --profile server --example bench-passthrough --example bench-upstream --example bench-load

exec python3 tests/bench/measure.py \
    --programs "$target/server/examples" \
    --gateway "release=$target/release/feathergate" \
    --gateway "server=$target/server/feathergate" \
    --package target/lambda/feathergate \
    --rounds "${BENCH_ROUNDS:-5}" --seconds "${BENCH_SECONDS:-3}" \
    --out target/bench.md
