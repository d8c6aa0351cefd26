"""How far one file of a model answers like another: on the golden pictures, or on clips.

    python fidelity.py NAME FIRST.onnx SECOND.onnx [PICTURE_OR_CLIP...]

Instead of a second file, `engine-int8=PROGRAM` or `engine-f32=PROGRAM` has the first one answered by the example `engine`.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from decoders import iou
from peer import Engine
from reference import LIBRARY, Model

# A finding counts when its score is at least the model's default; the other file must have it at no
# less than this share of that score: near the threshold both files waver.
SLACK = 0.75
SAME_PLACE = 0.6
# One picture in so many of a clip.
CLIP_STEP = 5
# A finding at so much overlap is the same one.
ALIKE = 0.95


class ByEngine(Model):
    """A model that the product's engine runs."""

    def __init__(self, name, file, backend, program):
        super().__init__(name, file)
        self.engine = Engine(program)
        self.engine.load(backend, self.path)

    def answers(self, values):
        return self.engine.run(values)


def pictures(paths):
    """BGR pictures of stills and clips."""
    for path in paths:
        if Path(path).suffix in (".jpg", ".png"):
            yield cv2.imread(str(path))
            continue
        clip = cv2.VideoCapture(str(path))
        number, (more, picture) = 0, clip.read()
        while more:
            if number % CLIP_STEP == 0:
                yield picture
            number, (more, picture) = number + 1, clip.read()


def corners(finding):
    """The region as x1 y1 x2 y2."""
    region = finding["region"]
    return np.array([region["x"], region["y"], region["x"] + region["w"], region["y"] + region["h"]])


def kept(wanted, others):
    """Of some findings, the overlap and score difference of those the others have too."""
    pairs = []
    for finding in wanted:
        rivals = [other for other in others if other["label"] == finding["label"]]
        if not rivals:
            continue
        overlaps = iou(corners(finding), np.array([corners(rival) for rival in rivals]))
        best = int(overlaps.argmax())
        if overlaps[best] > SAME_PLACE:
            pairs.append((float(overlaps[best]), abs(rivals[best]["score"] - finding["score"])))
    return pairs


def compare(name, first, second, paths=None):
    """A sentence: how many findings of each file the other one has, and how close they are."""
    paths = paths or sorted((LIBRARY / "golden").glob("*.jpg"))
    backend, _, program = second.partition("=")
    models = Model(name, first), ByEngine(name, first, backend, program) if program else Model(name, second)
    sure = models[0].toml["default_min_score"]
    counts, pairs = [0, 0, 0, 0], []
    for picture in pictures(paths):
        found = [model.find(model.look(picture), sure * SLACK) for model in models]
        for side in (0, 1):
            wanted = [finding for finding in found[side] if finding["score"] >= sure]
            same = kept(wanted, found[1 - side])
            counts[2 * side] += len(wanted)
            counts[2 * side + 1] += len(same)
            pairs += same
    text = f"{counts[1]} of {counts[0]} findings of the first kept, {counts[3]} of {counts[2]} of the second known"
    if pairs:
        overlaps, scores = np.array(pairs).T
        text += f"; {(overlaps >= ALIKE).mean():.2%} of these at an overlap of {ALIKE} or more"
        text += (f"; overlap median {np.median(overlaps):.3f} least {overlaps.min():.3f}, "
                 f"score difference median {np.median(scores):.3f} most {scores.max():.3f}")
    return text


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    print(compare(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
