#!/usr/bin/env bash
# A Rust compiler with standard libraries for amd64, arm64 and (built here) armhf, from Debian's packages, without
# rustup, without root, beside whatever Rust is installed. Prints the folder to call bin/cargo and bin/rustc in.
#   cross/toolchain.sh <amd64|arm64|armhf>
. "$(dirname "$0")/common.sh"

arch=${1:-}
names "$arch"
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || die "the toolchain runs on Debian amd64 only"
mkdir -p "$cache"
exec 9> "$cache/toolchain.lock"
flock 9

apt_index amd64
version=$(candidate amd64 rustc-web)
short=$(cut -d. -f1,2 <<< "$version")
place=$cache/toolchain/$version
rustlib=$place/usr/lib/rustlib

# Steps leave a mark behind them when they are done; what was broken off is made anew.
if [ ! -f "$place/.amd64" ]; then
    say "fetching Rust $version"
    rm -rf "$place"
    mkdir -p "$place"
    llvm=$(apt_for apt-cache amd64 depends "rustc-web=$version" "libstd-rust-web-$short" | awk '/Depends: libllvm/ { print $2; exit }')
    unpack "$place" amd64 "rustc-web=$version" "cargo-web=$version" "libstd-rust-web-$short=$version" \
        "libstd-rust-web-dev=$version" "rust-web-src=$version" "${llvm:-libllvm22}"
    # The programs look for their libraries where Debian's packages are installed, which is not here.
    mkdir "$place/bin"
    for tool in cargo rustc rustdoc; do
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$place/usr/lib/x86_64-linux-gnu" "$place/usr/bin/$tool" > "$place/bin/$tool"
    done
    chmod +x "$place"/bin/*
    "$place/bin/rustc" --version >&2 || die "Debian's rustc does not run here: run cross/packages.sh cross"
    touch "$place/.amd64"
fi

if [ "$arch" = arm64 ] && [ ! -f "$place/.arm64" ]; then
    apt_index arm64
    say "fetching Rust's standard library for arm64"
    unpack "$place" arm64 "libstd-rust-web-dev=$version"
    touch "$place/.arm64"
fi
# With bitcode, which links that optimise over all crates want.
if [ "$arch" = armhf ] && [ ! -f "$place/.armhf-bitcode" ]; then
    say "building Rust's standard library for $rust_target, once"
    work=$(mktemp -d "$cache/std.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/src"
    printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n[profile.release]\nstrip = "debuginfo"\n' > "$work/Cargo.toml"
    printf '#![no_std]\n' > "$work/src/lib.rs"
    # The source's own lock decides the versions; `test` is for test programs.
    (cd "$work" && RUSTC_BOOTSTRAP=1 RUSTC=$place/bin/rustc CARGO_TARGET_DIR=$work/target \
        RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$place/usr=/rust" \
        "$place/bin/cargo" build --quiet --release --target "$rust_target" -Z build-std=std,panic_unwind,test >&2) ||
        die "the standard library for $rust_target could not be built"
    rm -rf "${rustlib:?}/$rust_target"
    mkdir -p "$rustlib/$rust_target/lib"
    for library in "$work/target/$rust_target/release/deps"/lib*.rlib; do
        case "$(basename "$library")" in libempty-*) ;; *) cp "$library" "$rustlib/$rust_target/lib/" ;; esac
    done
    [ -n "$(find "$rustlib/$rust_target/lib" -name 'libstd-*.rlib')" ] || die "no standard library came out of the build"
    touch "$place/.armhf-bitcode"
fi
echo "$place/bin"
