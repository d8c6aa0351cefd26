# For the scripts of this folder: names, places, Debian's index. Sourced, not run.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
AIMASS_CACHE=${AIMASS_CACHE:-$HOME/.cache/aimass}
cache=$AIMASS_CACHE/cross
suite=bookworm

die() { echo "error: $1" >&2; exit "${2:-69}"; }
say() { echo "[cross] $1" >&2; }
need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" > /dev/null || die "$tool is not installed: run cross/packages.sh cross"
    done
}

# Sets triplet, rust_target and cc for a Debian architecture.
names() {
    case "$1" in
        amd64) triplet=x86_64-linux-gnu rust_target=x86_64-unknown-linux-gnu ;;
        arm64) triplet=aarch64-linux-gnu rust_target=aarch64-unknown-linux-gnu ;;
        armhf) triplet=arm-linux-gnueabihf rust_target=armv7-unknown-linux-gnueabihf ;;
        *) die "unknown architecture '$1': amd64, arm64 or armhf" 64 ;;
    esac
    cc=$triplet-gcc
}

# apt-get and apt-cache with an index of their own below the cache: the machine's architectures and sources stay as
# they are, and nobody need be root. $1 is the architecture whose index is asked.
apt_for() {
    local tool=$1 arch=$2
    shift 2
    APT_CONFIG=$cache/apt/$arch/apt.conf "$tool" "$@"
}

# Makes and refreshes that index, at most once a day. The mirror is the one this machine uses.
apt_index() {
    local arch=$1 place=$cache/apt/$1 lines
    if [ -f "$place/stamp" ] && [ -z "$(find "$place/stamp" -mmin +1440)" ]; then return 0; fi
    need apt-get
    mkdir -p "$place"/{state/lists/partial,cache/archives/partial,etc/apt.conf.d,etc/preferences.d,etc/sources.list.d}
    : > "$place/status"
    lines=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | grep -E " $suite(-updates|-security)? main\$" | sort -u)
    # Debian's security index of armhf may be behind that of the other architectures, and takes the others down with it.
    [ "$arch" != armhf ] || lines=$(grep -v -- "-security main\$" <<< "$lines")
    [ -n "$lines" ] || die "this machine's apt knows no source of Debian $suite: these scripts run on Debian 12 or later with it (apt-get update?)"
    sed 's|^|deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] |' <<< "$lines" > "$place/etc/sources.list"
    cat > "$place/apt.conf" <<CONF
Dir::State "$place/state/";
Dir::State::status "$place/status";
Dir::Cache "$place/cache/";
Dir::Etc "$place/etc/";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "$(id -un)";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    if apt_for apt-get "$arch" update -qq; then
        touch "$place/stamp"
    elif compgen -G "$place/state/lists/*_Packages*" > /dev/null; then
        say "Debian's index for $arch cannot be refreshed now: going on with the one at hand"
    else
        die "Debian's index for $arch cannot be had: see above"
    fi
}

# The version that Debian offers of package $2 for architecture $1.
candidate() {
    local version
    version=$(apt_for apt-cache "$1" policy "$2" | awk '/Candidate:/ { print $2 }')
    case "$version" in ''|'(none)') die "Debian offers no package $2 for $1" ;; esac
    echo "$version"
}

# unpack <folder> <arch> <package>…: exactly these packages, without what they depend on.
unpack() {
    local into=$1 arch=$2 work deb
    shift 2
    work=$(mktemp -d "$cache/download.XXXXXX")
    (cd "$work" && apt_for apt-get "$arch" download -qq "$@") || die "not to be had from Debian for $arch: $*"
    for deb in "$work"/*.deb; do dpkg -x "$deb" "$into"; done
    rm -rf "$work"
}
