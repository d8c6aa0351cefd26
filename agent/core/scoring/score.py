"""Scores the tracker next to SORT, on the sequences that the package motmetrics carries.

Ground-truth boxes without their ids serve as detections: the plain boxes, and harder variants with boxes
dropped and moved at random (seeded), and with fewer frames a second. Both trackers get the same detections.
Prints a Markdown table. See README.md.
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

import motmetrics
import numpy as np
from sort_tracker import Sort

ROOT = pathlib.Path(__file__).resolve().parents[3]
SEQUENCES = ["TUD-Campus", "TUD-Stadtmitte"]
FPS = 25
# name, part of the boxes dropped, standard deviation of their jitter (part of the box), every n-th frame
VARIANTS = [
    ("plain boxes", 0.0, 0.0, 1),
    ("10 % dropped, 3 % jitter", 0.1, 0.03, 1),
    ("20 % dropped, 6 % jitter", 0.2, 0.06, 1),
    ("5 fps", 0.0, 0.0, 5),
    ("5 fps, 10 % dropped, 3 % jitter", 0.1, 0.03, 5),
]


def truth(sequence):
    """Ground truth as an array of frame, id, x, y, w, h."""
    path = pathlib.Path(motmetrics.__file__).parent / "data" / sequence / "gt.txt"
    return np.loadtxt(path, delimiter=",")[:, :6]


def thinned(boxes, every):
    """Every n-th frame, counted from 1 again."""
    kept = boxes[(boxes[:, 0].astype(int) - 1) % every == 0].copy()
    kept[:, 0] = (kept[:, 0] - 1) // every + 1
    return kept


def worsened(boxes, dropped, jitter, seed):
    random = np.random.default_rng(seed)
    boxes = boxes[random.random(len(boxes)) >= dropped].copy()
    noise = random.normal(0.0, jitter, (len(boxes), 4)) if jitter else np.zeros((len(boxes), 4))
    sides = boxes[:, 4:6].copy()
    boxes[:, 2:4] += noise[:, :2] * sides
    boxes[:, 4:6] = sides * (1 + noise[:, 2:])
    return boxes


@functools.cache
def our_tracker():
    """Builds the example; the path of its program."""
    command = ["cargo", "build", "-q", "-p", "aimass-core", "--example", "mot", "--message-format=json"]
    built = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    messages = map(json.loads, built.splitlines())
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == "mot" and m.get("executable"))


def ours(detections, fps):
    with tempfile.TemporaryDirectory() as folder:
        source, result = os.path.join(folder, "det.txt"), os.path.join(folder, "tracks.txt")
        with open(source, "w") as out:
            for frame, _, x, y, w, h in detections:
                out.write(f"{int(frame)},-1,{x:.3f},{y:.3f},{w:.3f},{h:.3f},0.9,-1,-1,-1\n")
        subprocess.run([our_tracker(), source, str(fps), result], check=True)
        return np.loadtxt(result, delimiter=",", ndmin=2)[:, :6]


def sort(detections, max_age):
    tracker = Sort(max_age=max_age, min_hits=3, iou_threshold=0.3)
    rows = []
    for frame in range(1, int(detections[:, 0].max()) + 1):
        boxes = detections[detections[:, 0] == frame]
        corners = np.column_stack([boxes[:, 2], boxes[:, 3], boxes[:, 2] + boxes[:, 4], boxes[:, 3] + boxes[:, 5]])
        for row in tracker.update(np.hstack([corners, np.full((len(boxes), 1), 0.9)])):
            x0, y0, x1, y1 = row[:4]
            rows.append([frame, row[-1], x0, y0, x1 - x0, y1 - y0])
    return np.array(rows)


def score(boxes, tracks):
    accumulator = motmetrics.MOTAccumulator()
    for frame in range(1, int(boxes[:, 0].max()) + 1):
        real, told = boxes[boxes[:, 0] == frame], tracks[tracks[:, 0] == frame]
        distances = motmetrics.distances.iou_matrix(real[:, 2:6], told[:, 2:6], max_iou=0.5)
        accumulator.update(real[:, 1], told[:, 1], distances, frameid=frame)
    names = ["idf1", "mota", "num_switches", "num_misses", "num_false_positives"]
    return motmetrics.metrics.create().compute(accumulator, metrics=names, name="x").loc["x"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=5, help="runs of each random variant, averaged")
    seeds = arguments.parse_args().seeds
    print("| sequence | detections | tracker | IDF1 | MOTA | id switches | misses | false |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for sequence in SEQUENCES:
        for name, dropped, jitter, every in VARIANTS:
            boxes = thinned(truth(sequence), every)
            runs = range(seeds if dropped or jitter else 1)
            inputs = [worsened(boxes, dropped, jitter, [n, zlib.crc32(name.encode())]) for n in runs]
            fps = FPS / every
            patient = int(2 * fps)  # as long as ours waits for what is lost
            trackers = [
                ("aimass", lambda detections: ours(detections, fps)),
                ("SORT, its defaults", lambda detections: sort(detections, 1)),
                (f"SORT, max_age {patient}", lambda detections: sort(detections, patient)),
            ]
            for tracker, track in trackers:
                scores = [score(boxes, track(detections)) for detections in inputs]
                mean = {key: np.mean([s[key] for s in scores]) for key in scores[0].index}
                print(f"| {sequence} | {name} | {tracker} | {mean['idf1']:.3f} | {mean['mota']:.3f} "
                      f"| {mean['num_switches']:.1f} | {mean['num_misses']:.1f} | {mean['num_false_positives']:.1f} |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
