#!/usr/bin/env bash
# The emulated board's kernel, initrd and root file system: Debian's arm64 packages, made once and kept in the cache
# under a key of everything that goes into them. Prints the folder they are in.
#   cross/board/image.sh            what is there, or a new one
#   cross/board/image.sh --fresh    a new one, with today's packages of Debian
# Making one takes root (or sudo): packages' own scripts run in it, under emulation.
. "$(dirname "$0")/../common.sh"
board=$root/cross/board

# What the guest has from the start. No GStreamer plug-ins: apt shall fetch them when the agent is installed.
guest=(
    apt busybox-static dbus kmod systemd-sysv udev
    qemu-guest-agent alsa-utils v4l-utils gstreamer1.0-tools libgstreamer-plugins-base1.0-0
)
# What lies in the guest's own package repository. Everything that these depend on is installed beforehand: a hundred
# codec libraries say nothing about our package, and cost minutes under emulation.
repository=(gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav gstreamer1.0-alsa)
initrd_modules=(virtio_pci virtio_blk ext4 crc32c_generic)
guest_modules=(virtio_net virtio_console virtio_rng 9p 9pnet_virtio vivid snd-aloop)
size=2G

key=$( (cd "$root" && find cross/board/{image.sh,furnish.sh,guest} -type f | sort | xargs -d '\n' sha256sum) |
    sha256sum | cut -c1-16)
place=$AIMASS_CACHE/board
image=$place/$key
mkdir -p "$place"
exec 9> "$place/lock"
flock 9
[ "${1:-}" != --fresh ] || rm -rf "$image"
if [ -f "$image/made" ]; then
    echo "$image"
    exit 0
fi

need mmdebstrap mke2fs depmod modprobe cpio dpkg-deb
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    need sudo
    as_root=(sudo)
fi
# Scripts of arm64 packages run here as if they were native.
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || "${as_root[@]}" mount -t binfmt_misc binfmt_misc $binfmt ||
    die "the kernel of this machine has no binfmt_misc, which running arm64 programs needs"
if [ ! -e $binfmt/qemu-aarch64 ]; then
    [ -f /usr/lib/binfmt.d/qemu-aarch64.conf ] || die "qemu-user-static is not installed: run cross/packages.sh board"
    "${as_root[@]}" sh -c "cat /usr/lib/binfmt.d/qemu-aarch64.conf > $binfmt/register"
fi

work=$(mktemp -d "$place/making.XXXXXX")
trap '"${as_root[@]}" rm -rf "$work"' EXIT
apt_index arm64

say "fetching the kernel"
kernel=$(apt_for apt-cache arm64 depends linux-image-arm64 | awk '/Depends: linux-image-/ && !n++ { print $2 }')
unpack "$work/kernel" arm64 "$kernel"
release=$(basename "$work"/kernel/lib/modules/*)
depmod -b "$work/kernel" "$release"
# The files of modules and of what they need, in the order in which they are loaded.
files_of() {
    local module
    for module in "$@"; do
        modprobe -d "$work/kernel" -S "$release" --show-depends "$module" || die "the kernel has no module $module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

say "fetching the guest's repository of packages"
mkdir -p "$work/repository"
(cd "$work/repository" && apt_for apt-get arm64 download -qq "${repository[@]}")
for deb in "$work"/repository/*.deb; do
    dpkg-deb -f "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$(basename "$deb")" "$(stat -c %s "$deb")" \
        "$(sha256sum "$deb" | cut -d' ' -f1)"
done > "$work/repository/Packages"
needed=$(apt_for apt-get arm64 install -s "${repository[@]}" | awk '/^Inst / { print $2 }' |
    grep -vxF -f <(printf '%s\n' "${repository[@]}") | sort -u | paste -sd,)

say "making the root file system of Debian $suite (some minutes)"
# The files of the user's cache stay the user's: only the root's own tree is root's.
"${as_root[@]}" mmdebstrap --quiet --architectures=arm64 --variant=minbase --mode=root \
    --include="$(IFS=,; echo "${guest[*]}"),$needed" --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$work/root" - < "$cache/apt/arm64/etc/sources.list" >&2
"${as_root[@]}" "$board/furnish.sh" "$work/root" "$work/repository" "$work/kernel/lib/modules/$release" \
    <<< "$(files_of "${guest_modules[@]}")"

say "packing"
mkdir -p "$work/initrd"/{bin,dev,proc,sys,modules,root} "$work/out"
cp "$work/root/bin/busybox" "$work/initrd/bin/busybox"
cp "$board/guest/init" "$work/initrd/init"
n=10
files_of "${initrd_modules[@]}" | while read -r file; do
    cp "$file" "$work/initrd/modules/$n-$(basename "$file")"
    n=$((n + 1))
done
(cd "$work/initrd" && find . | cpio -o -H newc --quiet --owner=0:0) > "$work/out/initrd"
cp "$work/kernel/boot/vmlinuz-$release" "$work/out/kernel"
"${as_root[@]}" mke2fs -q -t ext4 -L board -d "$work/root" "$work/out/root.ext4" $size
"${as_root[@]}" chown "$(id -u):$(id -g)" "$work/out/root.ext4"
echo "$release" > "$work/out/made"
rm -rf "$image"
mv "$work/out" "$image"
# One image at a time: who changes a script does not come back to the old one.
for other in "$place"/*/made; do
    [ "$other" = "$image/made" ] || rm -rf "$(dirname "$other")"
done
echo "$image"
