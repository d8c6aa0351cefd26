#!/usr/bin/env bash
# Builds the agent for an architecture and checks what came out. Prints the path of the program.
#   cross/build.sh <amd64|arm64|armhf>               the program, profile `dist`
#   cross/build.sh <amd64|arm64|armhf> <cargo …>     another cargo command with the same environment
. "$(dirname "$0")/common.sh"

arch=${1:-}
names "$arch"
shift
need "$cc" pkg-config readelf ld.lld-19
bin=$("$root/cross/toolchain.sh" "$arch")
sysroot=$("$root/cross/sysroot.sh" "$arch")
version=$("$bin/rustc" --version)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$AIMASS_CACHE/target-cross}
export RUSTC=$bin/rustc RUSTDOC=$bin/rustdoc

under() { printf '%s' "$1" | tr 'a-z-' 'A-Z_'; }
lower=${rust_target//-/_}
upper=$(under "$rust_target")
# A rustup proxy of this name would otherwise choose another compiler, and flags of these names replace those given below.
unset RUSTUP_TOOLCHAIN CARGO RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTFLAGS CARGO_ENCODED_RUSTFLAGS "CARGO_TARGET_${upper}_LINKER" || true

# One compiler for C and assembly, that sees the sysroot only, and the same for linking by LLVM's linker: it keeps one of
# functions that are the same (generic code has thousands; nothing here tells functions by their addresses), and packs the
# addresses that the loader has to correct.
mkdir -p "$cache/bin/lld"
ln -sf "$(command -v ld.lld-19)" "$cache/bin/lld/ld.lld"
wrap() {
    local wrapper=$cache/bin/$triplet-$1
    shift
    { printf '#!/bin/sh\nexec'; printf ' %q' "$(command -v "$cc")" --sysroot="$sysroot" "$@"; printf ' "$@"\n'; } > "$wrapper.$$"
    chmod +x "$wrapper.$$"
    mv "$wrapper.$$" "$wrapper"
    echo "$wrapper"
}
compiler=$(wrap in-sysroot)
linker=$(wrap link -B "$cache/bin/lld" -fuse-ld=lld -Wl,--icf=all -Wl,-z,pack-relative-relocs)
export "CC_$lower=$compiler" "AR_$lower=$(command -v "$triplet-ar")"
export PKG_CONFIG_ALLOW_CROSS=1
export "PKG_CONFIG_SYSROOT_DIR_$lower=$sysroot"
export "PKG_CONFIG_LIBDIR_$lower=$sysroot/usr/lib/$triplet/pkgconfig:$sysroot/usr/share/pkgconfig"
export "BINDGEN_EXTRA_CLANG_ARGS_$lower=--sysroot=$sysroot -I$sysroot/usr/include/$triplet"
export LIBCLANG_PATH=${LIBCLANG_PATH:-$(find /usr/lib/llvm-*/lib -maxdepth 1 -name 'libclang*.so*' -printf '%h\n' 2> /dev/null | sort -V | tail -n 1)}
[ -n "$LIBCLANG_PATH" ] || die "libclang is not installed: run cross/packages.sh cross"

# The same commit gives the same bytes, wherever the cache and the crates lie. Paths of the checkout get into nothing, so
# they are not named here: another checkout can go on with the same target folder. For the same reason the time is a
# constant; the compiler of C would else begin anew with each commit.
export SOURCE_DATE_EPOCH=1000000000
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# The linker is named here, not to cargo: cargo's setting would hold for programs of the build too where they are of this
# architecture, and another architecture's build then make all of them anew. It is named without its folder, so that the
# flags do not tell where the cache lies.
PATH=${linker%/*}:$PATH
rustflags="-C linker=${linker##*/}"
# What unwinding needs to know of a function is a third less if a register keeps its frame (3 % of the program on amd64, in
# the same processor time), and profilers see the callers. arm64 does so in any case; the tables of armhf are of another kind.
[ "$arch" != amd64 ] || rustflags+=" -C force-frame-pointers=yes"
export "CARGO_TARGET_${upper}_RUSTFLAGS=$rustflags --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$CARGO_TARGET_DIR=/target --remap-path-prefix=${bin%/bin}/usr=/rust"
# Nothing unwinds through C.
export "CFLAGS_$lower=-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target -fno-asynchronous-unwind-tables"
# What the store does not use of SQLite: a fifth of its code. Nothing loads code into the program either.
export LIBSQLITE3_FLAGS="-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE -USQLITE_ENABLE_LOAD_EXTENSION -DSQLITE_OMIT_LOAD_EXTENSION"

cd "$root"
if [ $# -gt 0 ]; then
    command=$1
    shift
    exec "$bin/cargo" "$command" --target "$rust_target" "$@"
fi

say "building for $arch with $version"
# The level of the last crate is that at which loops of all crates become SIMD while linking: at the profile's "z" none
# would, and inference take a quarter longer. What a function was marked as (small, least) by its crate's level stays so.
# The variable tells the program that it will be installed, and not run from this checkout.
AIMASS_PACKAGED=1 "$bin/cargo" rustc --locked --target "$rust_target" --profile dist -p aimass-agent --bin aimass-agent -- \
    -C opt-level=2 >&2
program=$CARGO_TARGET_DIR/$rust_target/dist/aimass-agent

# What the package's Depends were written for, and nothing else.
needed=$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
for library in $needed; do
    case "$library" in
        libc.so.6|libm.so.6|libgcc_s.so.1|ld-linux*) ;;
        libglib-2.0.so.0|libgobject-2.0.so.0|libgio-2.0.so.0) ;;
        libgstreamer-1.0.so.0|libgstbase-1.0.so.0|libgstapp-1.0.so.0|libgstvideo-1.0.so.0|libgstaudio-1.0.so.0) ;;
        *) die "the program for $arch needs $library, which its package does not ask for" 70 ;;
    esac
done
# Debian 12 has glibc 2.36: a program that asks for more would not start there.
newest=$(readelf -V "$program" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -n 1)
[ "$(printf '%s\n' "$newest" GLIBC_2.36 | sort -V | tail -n 1)" = GLIBC_2.36 ] || die "the program for $arch needs $newest" 70
! readelf -SW "$program" | grep -q -F .symtab || die "the program for $arch is not stripped" 70
bytes=$(stat -c %s "$program")
# The aim; AIMASS_MAX_BYTES makes a limit of what is reached.
[ "$bytes" -le 20000000 ] || say "warning: the program has more than the 20 MB that it should have"
[ "$bytes" -le "${AIMASS_MAX_BYTES:-$bytes}" ] || die "the program for $arch has $bytes bytes, more than AIMASS_MAX_BYTES=$AIMASS_MAX_BYTES" 70
! grep -q -F -e "$root" -e "$cargo_home/registry" -e "$CARGO_TARGET_DIR" "$program" ||
    die "the program for $arch tells where it was built: see $(strings "$program" | grep -m 1 -F -e "$root" -e "$cargo_home/registry" -e "$CARGO_TARGET_DIR")" 70
say "$arch: $bytes bytes, $newest at most, $(wc -w <<< "$needed") libraries"
echo "$program"
