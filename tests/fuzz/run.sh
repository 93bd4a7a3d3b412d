#!/bin/sh
# Builds the fuzz targets with plain cargo and runs them: no nightly, no cargo-fuzz, only a C++ compiler for libFuzzer. With
# cargo-fuzz installed, `cargo fuzz run TARGET --fuzz-dir tests/fuzz` works as well.
#
#   run.sh SECONDS [TARGET …]    each target so long; without targets, all of them
#   FUZZ_SEED=1 run.sh …         the same inputs every time, as far as the time allows
#   run.sh keep [TARGET …]       adds to tests/fuzz/corpus what the runs found, as few files as reach the same code
#
# What is found is kept in target/fuzz/corpus, so the next run goes on from there. An input that breaks a promise is written to
# target/fuzz/broken, and the run fails.
set -eu
cd "$(dirname "$0")"
what=${1:?seconds or keep}
shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' Cargo.toml)

root=${CARGO_TARGET_DIR:-../../target}
mkdir -p "$root/fuzz"
root=$(cd "$root/fuzz" && pwd)
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes, without a sanitizer: the code is safe Rust. `--target` keeps the flags from build scripts.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
RUSTFLAGS=$(echo $flags) CARGO_TARGET_DIR="$root" cargo build --locked --release --target "$host"

for target; do
    found="$root/corpus/$target"
    mkdir -p "$found" "$root/broken" "corpus/$target"
    program="$root/$host/release/$target"
    if [ "$what" = keep ]; then
        # Edges only, and the fewest files that reach them all; those of the seeds stay in any case.
        "$program" -set_cover_merge=1 -use_value_profile=0 -use_counters=0 -max_len=2048 "corpus/$target" "$found" 2>&1 |
            tail -n 1
        continue
    fi
    "$program" -max_total_time="$what" ${FUZZ_SEED:+"-seed=$FUZZ_SEED"} -max_len=8192 -timeout=10 -rss_limit_mb=2048 -dict=words.dict -print_final_stats=1 \
        -verbosity=0 -artifact_prefix="$root/broken/$target-" "$found" "corpus/$target" >"$root/$target.log" 2>&1 ||
        { grep -v '# Uses:\|NEW_FUNC\|^stat::' "$root/$target.log" | tail -n 50; echo "fuzz: $target broke a promise"; exit 1; }
    echo "fuzz: $target, $what s, $(sed -n 's/^stat::number_of_executed_units: //p' "$root/$target.log") inputs," \
        "$(ls "$found" | wc -l) kept, nothing broken"
done
