#!/usr/bin/env python3
"""Compares two outputs of `aimass-agent analyze`: same findings, corners within a pixel in 500, scores within 0.01."""

import json
import sys


def findings(path):
    """Every finding of the file, as the document has it."""
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    if not lines:
        sys.exit(f"error: {path} is empty: the program wrote nothing")
    return [finding for line in lines for finding in line["findings"]]


def main():
    ours, theirs = findings(sys.argv[1]), findings(sys.argv[2])
    worst_score = worst_edge = 0.0
    if len(ours) != len(theirs):
        sys.exit(f"{sys.argv[3]}: {len(ours)} findings here, {len(theirs)} there")
    left = list(theirs)
    for one in ours:
        def distance(other):
            return max(abs(one["region"][k] - other["region"][k]) for k in "xywh")

        same = [f for f in left if f["label"] == one["label"]]
        if not same:
            sys.exit(f"{sys.argv[3]}: no {one['label']} is left over there")
        match = min(same, key=distance)
        left.remove(match)
        worst_edge = max(worst_edge, distance(match))
        worst_score = max(worst_score, abs(one["score"] - match["score"]))
    verdict = "same" if worst_edge <= 0.002 and worst_score <= 0.01 else "DIFFERENT"
    print(f"{sys.argv[3]}: {len(ours)} findings, {verdict}: scores within {worst_score:.2g}, regions within {worst_edge:.2g}")
    sys.exit(verdict != "same")


main()
