"""How far two programs found the same in the same clip.

    python compare.py OURS.jsonl PEERS.jsonl [--threshold 0.55] [--iou 0.5] [--json]

A finding of one side that is surer than threshold + 0.05 counts; the other side must have one of the same
label, overlapping at least --iou, in the same frame, with any score it kept. Frames are paired by time,
within half of the shortest step between two frames of either file. Exit code 65 when no frame pairs.
"""

import argparse
import bisect
import json
import sys
from pathlib import Path

CLEAR = 0.05


def frames(path):
    """(time, findings) of each line, in order of time."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]
    return sorted(((row["time_s"], row["findings"]) for row in rows), key=lambda row: row[0])


def iou(a, b):
    """Overlap of two regions."""
    w = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    h = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    common = max(w, 0) * max(h, 0)
    return common / max(a["w"] * a["h"] + b["w"] * b["h"] - common, 1e-9)


def pairs(first, second):
    """Findings of the frames that both have."""
    times = [time for time, _ in second]
    steps = [b - a for rows in (first, second) for (a, _), (b, _) in zip(rows, rows[1:]) if b > a]
    near = min(steps, default=0.04) / 2
    for time, findings in first:
        at = bisect.bisect(times, time)
        best = min((k for k in (at - 1, at) if 0 <= k < len(times)),
                   key=lambda k: abs(times[k] - time), default=None)
        if best is not None and abs(times[best] - time) <= near:
            yield findings, second[best][1]


def kept(wanted, others, least, overlap):
    """How many findings count, and how many of these the others have; a rival answers only once."""
    counted = matched = 0
    free = list(others)
    for finding in sorted(wanted, key=lambda finding: -finding["score"]):
        if finding["score"] <= least:
            continue
        counted += 1
        rivals = [other for other in free if other["label"] == finding["label"]]
        best = max(rivals, key=lambda other: iou(finding["region"], other["region"]), default=None)
        if best is not None and iou(finding["region"], best["region"]) >= overlap:
            matched += 1
            free.remove(best)
    return counted, matched


def compare(ours, peers, threshold, overlap):
    """The fractions both ways, with their counts."""
    common = list(pairs(frames(ours), frames(peers)))
    sums = [0, 0, 0, 0]
    for our, peer in common:
        row = kept(peer, our, threshold + CLEAR, overlap) + kept(our, peer, threshold + CLEAR, overlap)
        sums = [a + b for a, b in zip(sums, row)]
    share = lambda part, whole: round(part / whole, 4) if whole else None  # noqa: E731
    return {
        "frames": len(common),
        "peer_findings": sums[0], "found_by_us": sums[1], "share_found_by_us": share(sums[1], sums[0]),
        "our_findings": sums[2], "found_by_peer": sums[3], "share_found_by_peer": share(sums[3], sums[2]),
    }


def main():
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("ours")
    arguments.add_argument("peers")
    arguments.add_argument("--threshold", type=float, default=0.55)
    arguments.add_argument("--iou", type=float, default=0.5)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    result = compare(options.ours, options.peers, options.threshold, options.iou)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{result['frames']} frames in both\n"
              f"peer's findings we have: {result['found_by_us']} of {result['peer_findings']}\n"
              f"our findings the peer has: {result['found_by_peer']} of {result['our_findings']}")
    if not result["frames"]:
        sys.exit(65)


if __name__ == "__main__":
    main()
