#!/usr/bin/env bash
# Installs, upgrades, removes and purges the amd64 packages with apt in a Debian 12 of their own, and looks after each
# step. Services are not started there (nothing runs as process 1); the emulated board does that.
#   cross/check-deb.sh [<agent.deb> <models.deb>]     default: those of <cache>/deb
. "$(dirname "$0")/common.sh"

version=$(awk -F'"' '/^version = / { print $2; exit }' "$root/Cargo.toml")
agent=$(realpath -e "${1:-$AIMASS_CACHE/deb/aimass-agent_${version}_amd64.deb}") || die "no package for amd64: run make deb ARCH=amd64"
models=$(realpath -e "${2:-$AIMASS_CACHE/deb/aimass-models_${version}_all.deb}") || die "no package of models: run make deb ARCH=amd64"
need mmdebstrap lintian dpkg-deb unshare chroot
[ "$(id -u)" = 0 ] || die "run as root: packages are installed in a root folder"

step() { printf -- '--- %s\n' "$1"; }
ok() { printf '    %s\n' "$1"; }

step "lintian"
lintian --fail-on error --tag-display-limit 0 "$agent" "$models"

step "a bare Debian 12"
mkdir -p "$cache/archives"
apt_index amd64
base=$cache/check-$(candidate amd64 base-files)-$(candidate amd64 systemd).tar
if [ ! -f "$base" ]; then
    rm -f "$cache"/check-*.tar
    mmdebstrap --quiet --variant=apt --include=systemd \
        "$suite" "${base%.tar}.part.tar" "$cache/apt/amd64/etc/sources.list" > /dev/null
    mv "${base%.tar}.part.tar" "$base"
fi
place=$(mktemp -d "$cache/check.XXXXXX")
trap 'rm -rf --one-file-system "$place"' EXIT
tar -x -C "$place" -f "$base"
cp -L /etc/resolv.conf "$place/etc/resolv.conf"
cp "$agent" "$place/agent.deb"
cp "$models" "$place/models.deb"
cp "$cache/archives"/*.deb "$place/var/cache/apt/archives/" 2> /dev/null || true
inside() {
    unshare --mount --pid --fork -- sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -ec "$1"' "$place" \
        "export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin; $1"
}
expect() { inside "$2" > "$place.log" 2>&1 || { cat "$place.log" >&2; rm -f "$place.log"; die "not so: $1" 1; }; rm -f "$place.log"; ok "$1"; }

step "apt install ./agent.deb ./models.deb"
inside 'apt-get update -qq && apt-get install -y -qq -o APT::Keep-Downloaded-Packages=true /agent.deb /models.deb' > "$place/log" 2>&1 ||
    { cat "$place/log" >&2; die "apt cannot install the packages" 1; }
cp -n "$place"/var/cache/apt/archives/*.deb "$cache/archives/" 2> /dev/null || true
grep -q 'systemctl start aimass-agent' "$place/log" || die "nobody tells the next step" 1
ok "the next step is told"
expect "GStreamer and its plug-ins came along" 'dpkg -s libgstreamer1.0-0 gstreamer1.0-plugins-good gstreamer1.0-libav glib-networking'
expect "the user exists, in the groups of cameras and microphones" 'id -nG aimass | grep -qw video && id -nG aimass | grep -qw audio'
expect "the folder of the configuration is closed" '[ "$(stat -c %a-%U-%G /etc/aimass)" = 750-root-aimass ]'
expect "nothing is configured" '[ -z "$(ls /etc/aimass)" ]'
expect "the service is enabled, and is not started without a configuration" \
    '[ -L /etc/systemd/system/multi-user.target.wants/aimass-agent.service ] && grep -qx ConditionPathExists=/etc/aimass/agent.toml /lib/systemd/system/aimass-agent.service'
expect "systemd finds no fault with the unit" 'SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no aimass-agent.service 2>&1 | tee /dev/stderr | grep -v "modprobe@" | { ! grep -i aimass; }'
expect "the program runs" 'aimass-agent --version'
expect "the models answer as recorded" 'runuser -u aimass -- aimass-agent models verify'
expect "the probe finds decoders" 'runuser -u aimass -- aimass-agent probe --json | grep -q avdec_h264'
expect "page, completions, licences and an example are there" \
    'for f in /usr/share/man/man1/aimass-agent.1.gz /usr/share/bash-completion/completions/aimass-agent /usr/share/doc/aimass-agent/copyright /usr/share/doc/aimass-agent/LIBRARIES.md.gz /usr/share/doc/aimass-agent/examples/agent.example.toml; do [ -s $f ] || dpkg -L aimass-agent | grep -qx $f; done'

step "configure and run"
cat > "$place/etc/aimass/agent.toml" <<'TOML'
[node]
site = "check"
id = "deb"
[[camera]]
id = "picture"
source = "test:"
[store]
path = "/var/lib/aimass/agent.db"
TOML
inside 'chgrp aimass /etc/aimass/agent.toml && chmod 640 /etc/aimass/agent.toml'
expect "the configuration is valid" 'runuser -u aimass -- aimass-agent validate --config /etc/aimass/agent.toml'
inside 'runuser -u aimass -- timeout --preserve-status -s TERM 8 aimass-agent run --config /etc/aimass/agent.toml' > "$place/log" 2>&1 ||
    { cat "$place/log" >&2; die "the agent does not run" 1; }
[ -s "$place/var/lib/aimass/agent.db" ] || { cat "$place/log" >&2; die "the agent left no store" 1; }
ok "it ran as its user, left a store, and ended when told to"
before=$(cat "$place/etc/aimass/agent.toml" "$place/var/lib/aimass/agent.db" | sha256sum)

step "upgrade"
dpkg-deb -R "$agent" "$place/next"
sed -i "s/^Version: .*/Version: $version+next/" "$place/next/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip -z1 --build "$place/next" "$place/next.deb" > /dev/null
expect "apt takes the newer package" 'apt-get install -y -qq /next.deb && dpkg -s aimass-agent | grep -q "^Version: .*+next"'
[ "$before" = "$(cat "$place/etc/aimass/agent.toml" "$place/var/lib/aimass/agent.db" | sha256sum)" ] || die "the upgrade touched configuration or store" 1
ok "configuration and store are as they were"

step "remove"
expect "the program is gone" 'apt-get remove -y -qq aimass-agent && [ ! -e /usr/bin/aimass-agent ]'
[ "$before" = "$(cat "$place/etc/aimass/agent.toml" "$place/var/lib/aimass/agent.db" | sha256sum)" ] || die "removal touched configuration or store" 1
ok "configuration and store are as they were"

step "purge"
expect "apt purges" 'apt-get purge -y -qq aimass-agent aimass-models'
expect "configuration, store, cache, user and links are gone" \
    '[ ! -e /etc/aimass ] && [ ! -e /var/lib/aimass ] && [ ! -e /var/cache/aimass ] && ! getent passwd aimass && ! getent group aimass && ! find /etc/systemd /var/lib/systemd -name "*aimass*" | grep . && [ ! -e /usr/share/aimass ]'
echo "all is as it should be"
