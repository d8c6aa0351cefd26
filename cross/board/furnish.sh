#!/usr/bin/env bash
# Makes a bare Debian root into the board's: our files, its package repository, its kernel modules. Called by image.sh,
# as root.
#   furnish.sh <root> <repository> <kernel's modules>    names of module files on stdin
set -euo pipefail
to=$1 repository=$2 modules=$3
here=$(cd "$(dirname "$0")" && pwd)

cp -r --no-preserve=ownership "$here/guest/etc/." "$to/etc/"
echo board > "$to/etc/hostname"
printf '127.0.0.1 localhost board\n' > "$to/etc/hosts"
# A board that was set up once: otherwise each boot of the fresh image were a first boot, with all that systemd does then.
echo 00000000000000000000000000000b0a > "$to/etc/machine-id"
sed -i 's/^root:[^:]*:/root::/' "$to/etc/shadow"

# No mirror is within the guest's reach, and none shall be named in the image. Documents are installed as on a board.
rm -rf "$to"/etc/apt/sources.list "$to"/etc/apt/apt.conf.d/99mmdebstrap "$to"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
    "$to"/var/lib/apt/lists/* "$to"/var/cache/apt/*.bin "$to"/etc/resolv.conf
mkdir -p "$to/srv/packages" "$to/host"
cp "$repository"/* "$to/srv/packages/"
echo 'deb [trusted=yes] file:/srv/packages ./' > "$to/etc/apt/sources.list.d/board.list"

release=$(basename "$modules")
while read -r file; do
    install -D -m 644 "$file" "$to/lib/modules/$release/${file#"$modules"/}"
done
cp "$modules"/modules.{order,builtin,builtin.modinfo} "$to/lib/modules/$release/"
depmod -b "$to" "$release"

enable() { ln -sf "$1" "$to/etc/systemd/system/$2/"; }
mkdir -p "$to"/etc/systemd/system/{multi-user,network-online}.target.wants
enable /lib/systemd/system/systemd-networkd.service multi-user.target.wants
enable /lib/systemd/system/systemd-networkd-wait-online.service network-online.target.wants
# What costs time at each boot, or begins by itself in the middle of a test.
for unit in serial-getty@ttyAMA0.service getty@tty1.service systemd-logind.service apt-daily.timer \
    apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-firstboot.service systemd-pstore.service alsa-restore.service alsa-state.service; do
    ln -sf /dev/null "$to/etc/systemd/system/$unit"
done
