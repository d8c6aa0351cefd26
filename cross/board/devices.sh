#!/usr/bin/env bash
# Runs the contract tests of cameras and microphones (agent/media/tests) on the emulated board, on real drivers:
# the kernel's `vivid` (YUYV, NV12, I420, gray; also unplugged and plugged in), `v4l2loopback` (MJPEG), and `snd-aloop`.
#   cross/board/devices.sh
# v4l2loopback is built here for the board's kernel, from Debian's packages of its source and of the kernel's headers.
. "$(dirname "$0")/../common.sh"
board=$root/cross/board

need aarch64-linux-gnu-gcc make python3
image=$("$board/image.sh")
release=$(cat "$image/made")

# Debian's headers for arm64 call tools for the machine that builds: those come from the amd64 package.
loopback() {
    local place version work
    apt_index arm64
    apt_index amd64
    version=$(candidate arm64 v4l2loopback-dkms)
    place=$cache/v4l2loopback-$version-$release
    if [ ! -f "$place/v4l2loopback.ko" ]; then
        say "building v4l2loopback $version for $release"
        work=$(mktemp -d "$cache/loopback.XXXXXX")
        unpack "$work" arm64 "linux-headers-$release" "linux-headers-${release%-arm64}-common" v4l2loopback-dkms
        unpack "$work" amd64 "linux-kbuild-$(cut -d. -f1,2 <<< "$release")"
        sed -i "s|/usr/src|$work/usr/src|; s|/usr/lib/linux-kbuild|$work/usr/lib/linux-kbuild|" \
            "$work/usr/src/linux-headers-$release/Makefile"
        make -C "$work/usr/src/linux-headers-$release" M="$(echo "$work"/usr/src/v4l2loopback-*)" ARCH=arm64 \
            CROSS_COMPILE=aarch64-linux-gnu- modules > "$work/log" 2>&1 ||
            { tail -n 20 "$work/log" >&2; rm -rf "$work"; die "v4l2loopback cannot be built for $release: see above"; }
        mkdir -p "$place"
        cp "$work"/usr/src/v4l2loopback-*/v4l2loopback.ko "$place/part"
        mv "$place/part" "$place/v4l2loopback.ko"
        rm -rf "$work"
    fi
    echo "$place/v4l2loopback.ko"
}

say "building the tests"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$AIMASS_CACHE/target-cross}
"$root/cross/build.sh" arm64 test --locked --profile dist-test --no-run --message-format=json-render-diagnostics \
    -p aimass-media --test devices --test microphones > "$cache/devices.json"
share=$(mktemp -d "$cache/devices.XXXXXX")
trap 'rm -rf "$share"' EXIT
python3 - "$cache/devices.json" "$share" <<'PY'
import json, shutil, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    if row.get("profile", {}).get("test") and row.get("executable"):
        shutil.copy(row["executable"], f"{sys.argv[2]}/{row['target']['name']}")
PY
for program in devices microphones; do [ -x "$share/$program" ] || die "the test program $program was not built"; done
cp "$(loopback)" "$share"
cp "$board/devices-guest.sh" "$share"
"$board/run" exec --timeout-s 1500 --share "$share" -- bash /host/devices-guest.sh
