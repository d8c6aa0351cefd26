"""Writes models/<name>/golden.json: what onnxruntime finds in the pictures of models/golden/.

    python golden.py [--check] NAME...

The least score of each case is chosen so that no finding lies within 0.1 of it, on either side, and so
that a slightly different suppression limit changes nothing: a runtime that computes a little
differently cannot flip such a case, one that computes wrongly fails it. Of an int8 model the same
must hold, within half of that, when the picture is blurred a little or gets some noise: they can be so nervous
that another way to resize flips a finding. A picture where no such score exists is refused rather than weakened. `--check`
compares with the file that is there.
"""

import argparse
import json
import sys

import cv2
import numpy as np
import onnxruntime

from reference import LIBRARY, Model, sha256

MARGIN = 0.1
TOLERANCE = {"score": 0.08, "iou": 0.9, "points": 0.1}
# Least scores to try; below 0.3 a detector's answers are noise.
SCORES = [hundredth / 100 for hundredth in range(30, 91)]


def disturbed(image):
    """The picture as slightly other ways to make and resize it would have it."""
    random = np.random.default_rng(1)
    noise = random.integers(-4, 5, image.shape)
    yield cv2.GaussianBlur(image, (0, 0), 0.6)
    yield cv2.GaussianBlur(image, (0, 0), 1.0)
    yield np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def case(model, picture):
    """One case, or None when no least score is clear of all findings.

    Of the clear ones, that with the most findings is taken, and of these the one nearest to the usual 0.5.
    """
    image = cv2.imread(str(picture))
    outputs = model.look(image)
    others = [model.look(other) for other in disturbed(image)] if model.toml["precision"] == "int8" else []
    usual = model.toml["decoder"]["nms_iou"]
    clear = []
    for min_score in SCORES:
        findings = model.find(outputs, min_score - MARGIN)
        if any(finding["score"] < min_score + MARGIN for finding in findings):
            continue
        counts = [len(model.find(outputs, min_score, usual + step)) for step in (-0.1, 0.1)]
        counts += [len(model.find(other, min_score + side)) for other in others for side in (-MARGIN / 2, MARGIN / 2)]
        if all(count == len(findings) for count in counts):
            clear.append((len(findings), -abs(min_score - 0.5), min_score, findings))
    if not clear:
        return None
    _, _, min_score, findings = max(clear, key=lambda choice: choice[:3])
    return {"picture": f"../golden/{picture.name}", "sha256": sha256(picture), "min_score": min_score,
            "findings": findings}


def golden(name):
    """The golden.json of a model, as text."""
    model = Model(name)
    cases = []
    for picture in sorted((LIBRARY / "golden").glob("*.jpg")):
        made = case(model, picture)
        if made is None:
            print(f"{name}: {picture.name} left out, no least score is clear of all findings", file=sys.stderr)
        else:
            cases.append(made)
    return json.dumps({
        "model_sha256": sha256(model.path),
        "made_by": f"onnxruntime {onnxruntime.__version__}",
        "tolerance": TOLERANCE,
        "cases": cases,
    }, indent=1) + "\n"


def main():
    """Writes or checks each named model."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("names", nargs="+")
    options = arguments.parse_args()
    stale = []
    for name in options.names:
        path, text = LIBRARY / name / "golden.json", golden(name)
        if not options.check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        sys.exit(f"golden.json is not what onnxruntime finds now: {', '.join(stale)}")


if __name__ == "__main__":
    main()
