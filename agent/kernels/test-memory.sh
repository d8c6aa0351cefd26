#!/usr/bin/env bash
# Runs the kernels' property tests where every access to memory is watched, and says what was wrong.
#   agent/kernels/test-memory.sh [valgrind|address|all] [cases for each property]
#
# valgrind   Valgrind's memcheck: reads of what was never written, and of what lies outside. Valgrind 3.19 knows no
#            AVX-512, and shows the program a processor without: the paths avx2 and scalar run.
# address    AddressSanitizer, with the compiler's switch for it that is not stable yet: all paths of this machine run.
#            It sees compiled code, not what is written in assembly (the tests' closed pages see that).
#
# One case more or less is a matter of minutes under valgrind; the ordinary tests take many more.
set -euo pipefail
cd "$(dirname "$0")/../.."

how=${1:-all}
export AIMASS_KERNEL_CASES=${2:-8}
host=$(rustc -vV | sed -n 's/^host: //p')

# Builds the tests with the given options and prints where they are.
build() {
    cargo test --locked -p aimass-kernels --test paths --no-run --message-format json "$@" \
        | sed -n 's/.*"executable":"\([^"]*\/paths-[^"]*\)".*/\1/p'
}

with_valgrind() {
    command -v valgrind > /dev/null || { echo "error: valgrind is not installed" >&2; exit 69; }
    local tests
    tests=$(build)
    echo "== valgrind: $tests"
    valgrind --quiet --error-exitcode=1 --leak-check=no "$tests" --test-threads 1
}

with_address() {
    local tests
    # A target is named so that build scripts and macros are built without.
    tests=$(RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" build --target "$host" \
        --target-dir "${CARGO_TARGET_DIR:-target}/kernels-address")
    echo "== AddressSanitizer: $tests"
    "$tests" --test-threads 1
}

case $how in
    valgrind) with_valgrind ;;
    address) with_address ;;
    all)
        with_valgrind
        with_address
        ;;
    *)
        echo "usage: $0 [valgrind|address|all] [cases]" >&2
        exit 64
        ;;
esac
