#!/usr/bin/env bash
# Installs what building and running need on Debian 12 or later, by name; skips what is there.
#   cross/packages.sh build     what `make demo` and `cargo build` need
#   cross/packages.sh test      that, and what `make test` needs
#   cross/packages.sh fuzz      what `make fuzz` needs
#   cross/packages.sh cross     what `make deb` and the other scripts of this folder need
#   cross/packages.sh board     what `make board-test` needs besides
set -euo pipefail

build=(
    ca-certificates gcc libc6-dev make pkg-config
    libclang1-14 libclang-common-14-dev
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav gstreamer1.0-alsa glib-networking
    python3 python3-pip python3-venv
)
tests=(
    mosquitto mosquitto-clients nats-server gstreamer1.0-rtsp gstreamer1.0-tools libgstrtspserver-1.0-dev openssl
    libfaketime e2fsprogs mount systemd pulseaudio gstreamer1.0-pulseaudio
)
# The compiler for the target comes by cross/toolchain.sh, the target's libraries by cross/sysroot.sh.
cross=(
    ca-certificates debian-archive-keyring git make pkg-config python3 xz-utils
    gcc libc6-dev gcc-aarch64-linux-gnu gcc-arm-linux-gnueabihf binutils
    libgit2-1.5 libclang1-14 libclang-common-14-dev
    mmdebstrap qemu-user qemu-user-static faketime lld-19 lintian systemd
)

# QEMU boots the board; mmdebstrap and emulated programs make its root (cross/board/image.sh).
board=(
    debian-archive-keyring dpkg e2fsprogs kmod cpio python3
    mmdebstrap arch-test qemu-user-static qemu-system-arm
    mosquitto mosquitto-clients
)

case "${1:-}" in
    build) wanted=("${build[@]}") ;;
    test) wanted=("${build[@]}" "${tests[@]}") ;;
    fuzz) wanted=("${build[@]}" g++) ;;
    cross) wanted=("${cross[@]}") ;;
    board) wanted=("${board[@]}") ;;
    *) echo "usage: $0 build|test|fuzz|cross|board" >&2; exit 64 ;;
esac

# A toolchain that is too old is as good as none. Keep in step with rust-version in Cargo.toml.
need=1.95
have=$(cargo --version 2>/dev/null | awk '{print $2}' || true)
if [ "$1" = cross ] || [ "$1" = board ]; then
    :
elif [ -z "$have" ] || [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n 1)" != "$need" ]; then
    # Debian carries a current compiler for its browsers under these names.
    wanted+=(rustc-web cargo-web)
    need_rust=yes
fi

missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing from Debian: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "error: run as root or install sudo, then again: ${missing[*]}" >&2; exit 69; }
    as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq || true
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; then
    echo "error: Debian's packages could not be installed: ${missing[*]}" >&2
    [ "${need_rust:-}" ] && echo "error: Rust $need or later is needed (found: ${have:-none}); rustup brings it too" >&2
    exit 69
fi
