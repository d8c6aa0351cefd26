#!/usr/bin/env python3
"""Lists the libraries in Rust that are linked into the agent, with their licences' texts, as the licences ask.

Reads `cargo metadata` on stdin and the lines `name version` of what is linked from the file that is named; writes
Markdown. A text that several libraries share stands there once. Same input, same output.
"""

import json
import pathlib
import sys

NAMES = ("licen", "copying", "notice", "unlicense", "copyright")


def texts(folder):
    """The licence files of a crate, by name."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lower().startswith(NAMES) and path.suffix not in (".rs", ".toml"):
            yield "\n".join(line.rstrip() for line in path.read_text(errors="replace").strip().splitlines())


def main():
    linked = {tuple(line.split()[:2]) for line in open(sys.argv[1], encoding="utf-8") if line.strip()}
    packages = json.load(sys.stdin)["packages"]
    rows, shared = [], {}
    for package in sorted(packages, key=lambda p: (p["name"], p["version"])):
        if package["source"] is None or (package["name"], "v" + package["version"]) not in linked:
            continue
        title = f"{package['name']} {package['version']}"
        licence = package["license"] or "see its texts below"
        rows.append(f"| {title} | {licence.replace('/', ' OR ')} | {package['repository'] or ''} |")
        for text in texts(pathlib.Path(package["manifest_path"]).parent):
            shared.setdefault(text, []).append(title)
    if not rows:
        sys.exit("error: no library is linked, which cannot be: does the list have lines `name vVERSION`?")
    print("# Libraries in this program\n\n| library | licence | source |\n|---|---|---|")
    print("\n".join(rows))
    for text, users in shared.items():
        print(f"\n## {', '.join(sorted(set(users)))}\n\n```\n{text}\n```")


main()
