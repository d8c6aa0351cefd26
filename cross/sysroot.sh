#!/usr/bin/env bash
# The headers and libraries of Debian that the agent is linked against, for one architecture. Prints the folder.
# Nothing in it is run or configured, so neither root nor emulation is needed.
#   cross/sysroot.sh <amd64|arm64|armhf>
. "$(dirname "$0")/common.sh"

arch=${1:-}
names "$arch"
need dpkg apt-get sha256sum
packages=(
    libc6-dev libgcc-12-dev libstdc++-12-dev linux-libc-dev
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
    # For tests under emulation: decoders and formats, and the RTSP server that the tests' helper crate links.
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good libgstrtspserver-1.0-dev
)
mkdir -p "$cache"
exec 9> "$cache/sysroot.$arch.lock"
flock 9
apt_index "$arch"

# The key is what apt would install: a new Debian point release makes a new sysroot.
wanted=$(apt_for apt-get "$arch" install -y -qq --print-uris "${packages[@]}" 2>/dev/null | awk '{ print $2 }' | sort) ||
    die "Debian cannot install these for $arch: ${packages[*]}"
key=$(sha256sum <<< "$wanted" | cut -c1-12)
place=$cache/sysroot/$arch-$key
if [ ! -f "$place/.done" ]; then
    say "fetching $(wc -l <<< "$wanted") packages for the $arch sysroot"
    rm -rf "$place"
    mkdir -p "$place/usr/lib"
    apt_for apt-get "$arch" install -y -qq --download-only "${packages[@]}" > /dev/null ||
        die "the packages for $arch could not be fetched"
    for name in $wanted; do
        # Only what lies below these folders is read by compilers, linkers and the emulator.
        dpkg-deb --fsys-tarfile "$cache/apt/$arch/cache/archives/$name" |
            tar -x -C "$place" --wildcards --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
                --exclude='./usr/share/locale/*' --keep-directory-symlink './usr/*' './lib/*' './lib64/*' './etc/*' 2> /dev/null || true
    done
    [ -f "$place/usr/lib/$triplet/crt1.o" ] && [ -f "$place/usr/lib/$triplet/pkgconfig/gstreamer-1.0.pc" ] ||
        die "the $arch sysroot is incomplete: $place"
    # Links that begin with / would lead out of the sysroot.
    find "$place" -type l -lname '/*' | while read -r link; do
        ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$place$(readlink "$link")")" "$link"
    done
    rm -rf "$cache/apt/$arch/cache/archives"/*.deb
    touch "$place/.done"
fi
echo "$place"
