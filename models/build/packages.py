"""Brings pinned package archives, and single files out of them, through the registries' own clients.

    python3 packages.py FILES.json FOLDER [--only NAME...] [--drop-archives]

FILES.json names, for each archive, its registry, package, version, sha256 and the files wanted from it
with their sha256. A file that is there with the right hash is not touched; a file appears in FOLDER only
whole and checked (written beside, then renamed), so a broken run leaves nothing wrong behind. Archives
are kept by content in $AIMASS_CACHE/archives, or deleted after use with --drop-archives.

Needs Python 3.9 and no module outside the standard library, because it runs before anything is
installed. Exit codes: 65 wrong content, 69 registry or client not available.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WRONG_CONTENT, UNAVAILABLE = 65, 69
CACHE = Path(os.environ.get("AIMASS_CACHE") or Path.home() / ".cache" / "aimass")
# A wheel is only a zip with files in it here, so one platform is named: the archive's hash must not
# depend on the machine that fetches.
WHEEL = ["--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp",
         "--abi", "cp311", "--abi", "none",
         "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_17_x86_64",
         "--platform", "manylinux2014_x86_64", "--platform", "any"]
# pip asks a source package for its metadata before it hands the archive over; these answer, without
# the compilers and libraries that building it would need.
SDIST_TOOLS = ["setuptools==80.9.0", "scikit-build==0.18.1", "wheel==0.45.1"]


class Refused(Exception):
    """Something that cannot go on: the exit code and what to do."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def sha256(path):
    """Hex digest of a file, or None when it is not there."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def call(command, doing):
    """Runs a client; its failure is a Refused that ends with the client's last words."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError as error:
        raise Refused(UNAVAILABLE, f"{doing}: {command[0]} is not installed") from error
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-4:])
        raise Refused(UNAVAILABLE, f"{doing} failed, is the registry reachable?\n{last}")


def pip(tools):
    """A pip of our own in a small environment under the cache (the system's may be locked or absent)."""
    home = CACHE / "tools" / ("pip-sdist" if tools else "pip")
    python, ready = home / "bin" / "python", home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            call([sys.executable, "-m", "venv", str(home)], "making a Python environment")
        except Refused as error:
            shutil.rmtree(home, ignore_errors=True)
            raise Refused(UNAVAILABLE, "python3 cannot make an environment; on Debian and its kin: "
                                       "apt-get install python3-venv python3-pip") from error
        if tools:
            call([str(python), "-m", "pip", "install", "--quiet", *tools], "installing " + " ".join(tools))
        ready.touch()
    return [str(python), "-m", "pip", "--disable-pip-version-check", "--retries", "2", "--timeout", "20"]


def download(archive, folder):
    """Lets the registry's client put the archive into an empty folder."""
    name = f"{archive['package']}=={archive['version']}"
    print(f"fetching {name} from {archive['registry']}", file=sys.stderr)
    if archive["registry"] == "npm":
        spec = f"{archive['package']}@{archive['version']}"
        call(["npm", "pack", "--silent", "--pack-destination", str(folder), spec], f"npm pack {spec}")
        return
    how = WHEEL
    if archive.get("form") == "sdist":
        how = ["--no-build-isolation", "--no-binary", ":all:"]
    client = pip(SDIST_TOOLS if archive.get("form") == "sdist" else [])
    call([*client, "download", "--quiet", "--no-deps", "--dest", str(folder), *how, name], f"pip download {name}")


def fetch(archive):
    """The path of an archive in the cache, downloaded unless it is there, its sha256 checked."""
    store = CACHE / "archives"
    store.mkdir(parents=True, exist_ok=True)
    kept = store / archive["sha256"]
    if sha256(kept) == archive["sha256"]:
        return kept
    with tempfile.TemporaryDirectory(dir=store, prefix="part-") as part:
        download(archive, Path(part))
        got = list(Path(part).iterdir())
        if len(got) != 1:
            raise Refused(UNAVAILABLE, f"{archive['package']}: expected one archive, the client left {len(got)}")
        digest = sha256(got[0])
        if digest != archive["sha256"]:
            raise Refused(WRONG_CONTENT, f"{got[0].name}: sha256 is {digest}, pinned is {archive['sha256']}; "
                                         "the registry serves something else than what was checked")
        os.replace(got[0], kept)
    return kept


def members(path, names):
    """Yields (name, bytes) of the wanted members of a zip or tar; a tar's top folder is not part of a name."""
    wanted = set(names)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as bundle:
            for name in wanted & set(bundle.namelist()):
                wanted.discard(name)
                yield name, bundle.read(name)
    else:
        with tarfile.open(path) as bundle:
            for entry in bundle:
                name = entry.name.partition("/")[2]
                if entry.isfile() and name in wanted:
                    wanted.discard(name)
                    yield name, bundle.extractfile(entry).read()
                    if not wanted:
                        break
    if wanted:
        raise Refused(WRONG_CONTENT, f"{path}: no file {', '.join(sorted(wanted))} inside")


def write(path, content):
    """Puts a file in place whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
        part.write(content)
    os.chmod(part.name, 0o644)
    os.replace(part.name, path)


def bring(archives, folder, only=None, drop=False):
    """Makes the wanted files of all archives present and right in a folder."""
    folder = Path(folder)
    for archive in archives:
        missing = {
            wanted["path"]: wanted for wanted in archive["files"]
            if (not only or wanted["as"] in only) and sha256(folder / wanted["as"]) != wanted["sha256"]
        }
        if not missing:
            continue
        path = fetch(archive)
        for name, content in members(path, missing):
            wanted = missing[name]
            if hashlib.sha256(content).hexdigest() != wanted["sha256"]:
                raise Refused(WRONG_CONTENT, f"{name} of {archive['package']} is not the pinned one")
            write(folder / wanted["as"], content)
        if drop:
            path.unlink()


def main():
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("list", type=Path)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--only", nargs="+")
    arguments.add_argument("--drop-archives", action="store_true")
    options = arguments.parse_args()
    try:
        bring(json.loads(options.list.read_text()), options.folder, options.only, options.drop_archives)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
