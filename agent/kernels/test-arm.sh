#!/usr/bin/env bash
# Runs the kernels' property tests on emulated ARM machines: with dot products, without, and 32 bits.
#   agent/kernels/test-arm.sh [cases for each property]
# Correctness only: an emulator says nothing about speed.
set -euo pipefail
cd "$(dirname "$0")/../.."

export AIMASS_KERNEL_CASES=${1:-24}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc

# Builds the tests for a target and prints where they are.
build() {
    local tools=$1 target=$2
    RUSTC=$tools/rustc "$tools/cargo" test --locked -p aimass-kernels --test paths --no-run --target "$target" \
        --target-dir target/kernels-arm --message-format json \
        | sed -n 's/.*"executable":"\([^"]*\/paths-[^"]*\)".*/\1/p'
}

arm64=$(cross/toolchain.sh arm64)
tests=$(build "$arm64" aarch64-unknown-linux-gnu)
for cpu in cortex-a72 cortex-a76 max; do
    echo "== aarch64, $cpu"
    qemu-aarch64-static -cpu "$cpu" -L /usr/aarch64-linux-gnu "$tests" --test-threads 2
done

armhf=$(cross/toolchain.sh armhf)
tests=$(build "$armhf" armv7-unknown-linux-gnueabihf)
echo "== armv7, cortex-a7"
qemu-arm-static -cpu cortex-a7 -L /usr/arm-linux-gnueabihf "$tests" --test-threads 2
