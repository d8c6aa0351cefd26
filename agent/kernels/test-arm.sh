#!/usr/bin/env bash
# Runs the kernels' property tests on emulated ARM machines: 64 bits without and with dot products, 32 bits.
#   agent/kernels/test-arm.sh [cases for each property]
# Correctness only: an emulator says nothing about speed. Takes Debian's Rust (cross/toolchain.sh), the cross compilers and
# qemu-user-static; the 32-bit standard library is built here from that toolchain's source.
set -euo pipefail
cd "$(dirname "$0")/../.."

export AIMASS_KERNEL_CASES=${1:-24}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
tools=${AIMASS_ARM_TOOLS:-$(cross/toolchain.sh arm64)}

# Builds the tests for a target and prints where they are.
build() {
    local target=$1
    shift
    RUSTC=$tools/rustc "$tools/cargo" test --locked -p aimass-kernels --test paths --no-run --target "$target" \
        --target-dir target/kernels-arm --message-format json "$@" \
        | sed -n 's/.*"executable":"\([^"]*\/paths-[^"]*\)".*/\1/p'
}

# run <emulator> <its processor> <the path that this has> <libraries> <tests>
run() {
    echo "== $1, $2: $3"
    AIMASS_KERNEL_EXPECT=$3 "$1" -cpu "$2" -L "$4" "$5" --test-threads 2
}

tests=$(build aarch64-unknown-linux-gnu)
run qemu-aarch64-static cortex-a72 neon /usr/aarch64-linux-gnu "$tests"
run qemu-aarch64-static cortex-a76 neon-dotprod /usr/aarch64-linux-gnu "$tests"
run qemu-aarch64-static max neon-dotprod /usr/aarch64-linux-gnu "$tests"

tests=$(RUSTC_BOOTSTRAP=1 build armv7-unknown-linux-gnueabihf -Z build-std=std,panic_unwind,test)
run qemu-arm-static cortex-a7 neon-armv7 /usr/arm-linux-gnueabihf "$tests"
