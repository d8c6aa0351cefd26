#!/usr/bin/env bash
# Runs the kernels' property tests on emulated ARM machines: 64 bits without and with dot products, 32 bits.
#   agent/kernels/test-arm.sh [cases for each property]
# Correctness only: an emulator says nothing about speed. Built as boards' programs are (cross/build.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."

export AIMASS_KERNEL_CASES=${1:-24}

# Builds the tests for an architecture and prints where they are.
build() {
    cross/build.sh "$1" test --locked -p aimass-kernels --test paths --no-run --message-format json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\/paths-[^"]*\)".*/\1/p'
}

# run <emulator> <its processor> <the path that this has> <libraries> <tests>
run() {
    echo "== $1, $2: $3"
    AIMASS_KERNEL_EXPECT=$3 "$1" -cpu "$2" -L "$4" "$5" --test-threads 2
}

tests=$(build arm64)
libraries=$(cross/sysroot.sh arm64)
run qemu-aarch64-static cortex-a72 neon "$libraries" "$tests"
run qemu-aarch64-static cortex-a76 neon-dotprod "$libraries" "$tests"
run qemu-aarch64-static max neon-dotprod "$libraries" "$tests"

tests=$(build armhf)
libraries=$(cross/sysroot.sh armhf)
run qemu-arm-static cortex-a7 neon-armv7 "$libraries" "$tests"
