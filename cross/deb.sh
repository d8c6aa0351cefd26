#!/usr/bin/env bash
# Packages: aimass-agent_<version>_<arch>.deb and aimass-models_<version>_all.deb, in <cache>/deb. Prints their paths.
#   cross/deb.sh <amd64|arm64|armhf>     builds what is not built
#   cross/deb.sh models                  the models alone
. "$(dirname "$0")/common.sh"

out=${AIMASS_DEB_OUT:-$AIMASS_CACHE/deb}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C.UTF-8
version=$(awk -F'"' '/^version = / { print $2; exit }' "$root/Cargo.toml")
maintainer=$(awk -F'"' '/^maintainer = / { print $2; exit }' "$root/agent/daemon/Cargo.toml")
[ -n "$version" ] && [ -n "$maintainer" ] || die "no version in Cargo.toml, or no maintainer in agent/daemon/Cargo.toml"
mkdir -p "$out"

# changelog_of <package>: what Debian wants beside the changes that we tell.
changelog_of() {
    printf '%s (%s) unstable; urgency=medium\n\n  * %s\n\n -- %s  %s\n' "$1" "$version" \
        "What changed is told in CHANGELOG.md of the project." "$maintainer" "$(date -R -d "@$SOURCE_DATE_EPOCH")"
}

models() {
    local tree name names files toml spdx deb=$out/aimass-models_${version}_all.deb
    tree=$(mktemp -d "$cache/models.XXXXXX")
    local place=$tree/usr/share/aimass/models doc=$tree/usr/share/doc/aimass-models
    mkdir -p "$place" "$doc" "$tree/usr/share/lintian/overrides" "$tree/DEBIAN"
    # What git holds is what is packaged: a model that was only built here may be another one elsewhere.
    names=$(cd "$root" && git ls-files 'models/*/model.onnx' | cut -d/ -f2)
    for name in $names golden; do
        mkdir "$place/$name"
        files=$(cd "$root" && git ls-files "models/$name")
        [ -n "$files" ] || die "models/$name is not in git"
        (cd "$root" && cp $files "$place/$name/")
    done
    {
        printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
        printf 'Upstream-Name: AI Mass Edge, models\n\nFiles: *\nCopyright: 2026 the AI Mass Edge developers\nLicense: Apache-2.0\n'
        for name in $names; do
            toml=$root/models/$name/model.toml
            spdx=$(sed -n 's/^spdx = "\(.*\)"/\1/p' "$toml")
            printf '\nFiles: usr/share/aimass/models/%s/*\nCopyright:\n' "$name"
            grep -E '^Copyright (\([cC]\) )?[0-9]' "$root/models/$name/LICENSE" | sed -E 's/^Copyright (\([cC]\) )?/ /'
            printf 'License: %s\nComment: %s\n' "$spdx" "$(sed -n 's/^note = "\(.*\)"/\1/p' "$toml" | head -n 1)"
        done
        printf '\nLicense: Apache-2.0\n On Debian systems, the full text is in /usr/share/common-licenses/Apache-2.0.\n'
        printf '\nLicense: MIT\n The full text is in the LICENSE beside the model.\n'
    } > "$doc/copyright"
    # The library looks for a model's licence beside the model.
    printf '%s\n' '# The library of models has each licence beside its model, and tells it.' \
        'aimass-models: extra-license-file' > "$tree/usr/share/lintian/overrides/aimass-models"
    changelog_of aimass-models | gzip -9n > "$doc/changelog.gz"
    find "$tree" -type d -exec chmod 755 {} +
    find "$tree" -type f -exec chmod 644 {} +
    cat > "$tree/DEBIAN/control" <<CONTROL
Package: aimass-models
Version: $version
Architecture: all
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$tree/usr" | cut -f1)
Section: science
Priority: optional
Enhances: aimass-agent
Description: models for AI Mass Edge nodes
 Object and face detectors in ONNX with their licences, sources and recorded
 answers, for aimass-agent: COCO-SSD lite, CenterFace, BlazeFace.
CONTROL
    (cd "$tree" && find usr -type f -print0 | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
    chmod 644 "$tree"/DEBIAN/*
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$deb" > /dev/null
    rm -rf "$tree"
    echo "$deb"
}

need dpkg-deb git gzip python3
if [ "${1:-}" = models ]; then
    mkdir -p "$cache"
    models
    exit
fi

arch=${1:-}
names "$arch"
program=$("$root/cross/build.sh" "$arch")
bin=$("$root/cross/toolchain.sh" "$arch")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$AIMASS_CACHE/target-cross} RUSTC=$bin/rustc

# cargo-deb, pinned like the other tools of the checks.
tools=$AIMASS_CACHE/tools
deb_version=3.8.0
if [ "$("$tools/bin/cargo-deb" --version 2> /dev/null)" != "cargo-deb $deb_version" ]; then
    say "building cargo-deb $deb_version"
    CARGO_TARGET_DIR=$AIMASS_CACHE/target-tools "$bin/cargo" install --locked --quiet --root "$tools" cargo-deb --version "$deb_version" >&2 ||
        die "cargo-deb $deb_version could not be built"
fi

# What is made here lies beside the program, where the manifest names it.
made=$(dirname "$program")/package
rm -rf "$made"
mkdir -p "$made/man"
(
    cd "$root"
    "$bin/cargo" tree --locked -q -p aimass-agent -e normal --target "$rust_target" --prefix none > "$made/linked"
    "$bin/cargo" metadata --locked --format-version 1 --filter-platform "$rust_target" |
        python3 cross/libraries.py "$made/linked" | gzip -9n > "$made/LIBRARIES.md.gz"
    changelog_of aimass-agent | gzip -9n > "$made/changelog.gz"
    gzip -9n < CHANGELOG.md > "$made/CHANGELOG.md.gz"
    for page in agent/daemon/reference/man/*.1; do gzip -9n < "$page" > "$made/man/$(basename "$page").gz"; done
)

deb=$out/aimass-agent_${version}_$arch.deb
(cd "$root" && CARGO=$bin/cargo PATH=$bin:$PATH "$tools/bin/cargo-deb" --locked --quiet --no-build --no-strip --target "$rust_target" \
    --profile dist -p aimass-agent --output "$deb" >&2) || die "cargo-deb failed"

# A cross build cannot find out what the program depends on, and says nothing: so it is written down, and looked at here.
depends=$(dpkg-deb -f "$deb" Depends)
for package in libc6 libgcc-s1 libglib2.0-0 libgstreamer1.0-0 libgstreamer-plugins-base1.0-0 gstreamer1.0-plugins-good; do
    grep -q -w -- "$package" <<< "$depends" || die "$deb does not depend on $package: it says '$depends'" 70
done
[ "$(dpkg-deb -f "$deb" Architecture)" = "$arch" ] || die "$deb is not for $arch" 70
for path in usr/bin/aimass-agent lib/systemd/system/aimass-agent.service usr/lib/sysusers.d/aimass-agent.conf \
    usr/lib/tmpfiles.d/aimass-agent.conf usr/share/man/man1/aimass-agent.1.gz; do
    dpkg-deb --fsys-tarfile "$deb" | tar -t "./$path" > /dev/null 2>&1 || die "$deb lacks /$path" 70
done
say "$(basename "$deb"): $(stat -c %s "$deb") bytes, $(dpkg-deb -f "$deb" Installed-Size) KiB installed"
echo "$deb"
models
