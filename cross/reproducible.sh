#!/usr/bin/env bash
# Shows that the same commit gives the same packages, byte for byte.
#   cross/reproducible.sh <amd64|arm64|armhf>            packages the present build twice: seconds
#   cross/reproducible.sh <amd64|arm64|armhf> --build    builds it anew too, in another folder: as long as a first build
. "$(dirname "$0")/common.sh"

arch=${1:-}
names "$arch"
[ -z "$(git -C "$root" status --porcelain)" ] || say "the checkout holds changes that are not committed; they are part of both builds"
target=${CARGO_TARGET_DIR:-$AIMASS_CACHE/target-cross}
one=$(mktemp -d "$cache/reproducible.XXXXXX")
two=$(mktemp -d "$cache/reproducible.XXXXXX")
trap 'rm -rf "$one" "$two"' EXIT

CARGO_TARGET_DIR=$target AIMASS_DEB_OUT=$one "$root/cross/deb.sh" "$arch" > /dev/null
again=$target
if [ "${2:-}" = --build ]; then
    again=$AIMASS_CACHE/target-cross-again
    rm -rf "$again"
fi
CARGO_TARGET_DIR=$again AIMASS_DEB_OUT=$two "$root/cross/deb.sh" "$arch" > /dev/null
failed=
for deb in "$one"/*.deb; do
    name=$(basename "$deb")
    if cmp -s "$deb" "$two/$name"; then
        echo "same   $(sha256sum "$deb" | cut -c1-64)  $name"
    else
        echo "DIFFER $name"
        mkdir -p "$one/x/$name" "$two/x/$name"
        dpkg-deb -R "$deb" "$one/x/$name"
        dpkg-deb -R "$two/$name" "$two/x/$name"
        diff -rq "$one/x/$name" "$two/x/$name" || true
        failed=yes
    fi
done
[ -z "$failed" ] || exit 1
