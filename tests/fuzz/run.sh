#!/usr/bin/env bash
# Runs every fuzz target for so many seconds (60 if nothing is said). The corpus that grows lies in the cache; the
# seeds in corpus/ stay small and are replayed by the ordinary tests.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-60}"
cache="${AIMASS_CACHE:-$HOME/.cache/aimass}"
fuzz="$cache/tools/bin/cargo-fuzz"
if [ ! -x "$fuzz" ]; then
    cargo install --locked --quiet --root "$cache/tools" cargo-fuzz --version 0.13.2
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target-fuzz}"
# cargo-fuzz passes flags of nightly compilers; this lets the stable one take them.
export RUSTC_BOOTSTRAP=1

for target in envelope command config source_uri model_toml engine; do
    printf '\n=== %s for %s s\n' "$target" "$seconds"
    grown="$cache/fuzz/$target"
    mkdir -p "$grown"
    seeds=corpus/$target patience=10
    # The small graphs that the engine's tests replay. Tract may take ten seconds to find the shapes of a damaged one.
    [ "$target" != engine ] || { seeds=../../agent/inference/tests/engine patience=60; }
    # Without a sanitizer: the parsers have no unsafe code, and the kernels have agent/kernels/test-memory.sh. With debug assertions and checked arithmetic.
    "$fuzz" run --fuzz-dir . --dev --sanitizer none "$target" "$grown" "$seeds" -- \
        -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=1024 -timeout="$patience" -print_final_stats=1
done
