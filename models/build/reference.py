"""A model of the library run by onnxruntime on one picture: the yardstick for golden.json and for rebuilds.

Pictures are decoded by OpenCV and resized by cv2.INTER_LINEAR (two by two neighbours, no smoothing
before shrinking), which is what a one-pass pre-processor does too.
"""

import hashlib
import tomllib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from decoders import DECODERS

LIBRARY = Path(__file__).resolve().parent.parent


def sha256(path):
    """Hex digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def manifest(name):
    """The parsed model.toml of a model."""
    return tomllib.loads((LIBRARY / name / "model.toml").read_text())


def session(path):
    """An onnxruntime session with one thread, as quiet as possible."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def tensor(picture, spec):
    """A BGR picture as the input tensor; also the scale (x, y) and shift (x, y) from picture to tensor."""
    shape = spec["shape"]
    height, width = shape[2:] if spec["layout"] == "nchw" else shape[1:3]
    if spec["resize"] == "stretch":
        canvas = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        scale, shift = (width / picture.shape[1], height / picture.shape[0]), (0, 0)
    else:
        ratio = min(width / picture.shape[1], height / picture.shape[0])
        inside = cv2.resize(picture, (round(picture.shape[1] * ratio), round(picture.shape[0] * ratio)),
                            interpolation=cv2.INTER_LINEAR)
        shift = (0, 0)
        if spec["resize"] == "letterbox-centred":
            shift = ((width - inside.shape[1]) // 2, (height - inside.shape[0]) // 2)
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[shift[1]:shift[1] + inside.shape[0], shift[0]:shift[0] + inside.shape[1]] = inside
        scale = (inside.shape[1] / picture.shape[1], inside.shape[0] / picture.shape[0])
    if spec["colour"] == "rgb":
        canvas = canvas[:, :, ::-1]
    values = (canvas.astype(np.float32) - np.float32(spec["mean"])) / np.float32(spec["std"])
    if spec["layout"] == "nchw":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None]), scale, shift


class Model:
    """A model of the library, with its own file or another one of the same shape."""

    def __init__(self, name, file=None):
        self.toml = manifest(name)
        self.path = Path(file) if file else LIBRARY / name / self.toml["file"]
        self.session = session(self.path)
        self.names = [output.name for output in self.session.get_outputs()]
        labels = self.toml.get("labels")
        self.labels = (LIBRARY / name / labels).read_text().split("\n") if labels else ["face"]

    def look(self, picture):
        """What the graph answers to a BGR picture, and how to map it back; `find` takes it."""
        spec = self.toml["input"]
        values, scale, shift = tensor(picture, spec)
        return dict(zip(self.names, self.answers(values))), np.array([scale[0] * picture.shape[1], scale[1] * picture.shape[0]]), shift

    def answers(self, values):
        """The graph's outputs to one input."""
        return self.session.run(None, {self.toml["input"]["name"]: values})

    def find(self, looked, min_score, nms_iou=None):
        """Findings: label, score, region and points in 0..1 of the picture."""
        outputs, to_unit, shift = looked
        spec, decoder = self.toml["input"], dict(self.toml["decoder"])
        if nms_iou is not None:
            decoder["nms_iou"] = nms_iou
        size = tuple(reversed(spec["shape"][2:] if spec["layout"] == "nchw" else spec["shape"][1:3]))
        findings = []
        for found in DECODERS[decoder["kind"]](outputs, decoder, size, min_score):
            corners = np.clip((found.box.reshape(2, 2) - shift) / to_unit, 0, 1)
            left, top, right, bottom = corners.reshape(4).round(5).tolist()
            findings.append({
                "label": self.labels[found.label],
                "score": round(found.score, 4),
                "region": {"x": left, "y": top, "w": round(right - left, 5), "h": round(bottom - top, 5)},
                "points": ((found.points - shift) / to_unit).round(5).tolist(),
            })
        return findings
