"""From a graph's outputs to findings: the reference decoders, in NumPy.

Each decoder takes the outputs by name, the model's `[decoder]` table, the size of the input tensor in
pixels and the least score, and gives a list of `Candidate`, in pixels of the input tensor, best first,
after non-maximum suppression. They say what the library's own decoders must answer (golden.json).
"""

from typing import NamedTuple

import numpy as np


class Candidate(NamedTuple):
    """One object: class index, score 0..1, box (x1, y1, x2, y2) and points (n, 2) in tensor pixels."""

    label: int
    score: float
    box: np.ndarray
    points: np.ndarray


NO_POINTS = np.zeros((0, 2))


def iou(box, others):
    """Intersection over union of one box with many, (x1, y1, x2, y2)."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    common = np.clip(width, 0, None) * np.clip(height, 0, None)
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return common / np.maximum(area + areas - common, 1e-9)


def suppress(boxes, scores, limit):
    """Indices of the boxes that no better box overlaps by more than `limit`, best first."""
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[iou(boxes[best], boxes[rest]) <= limit]
    return kept


def by_class(boxes, scores, min_score, limit):
    """Candidates of a (n boxes, n classes) score table; classes do not suppress each other."""
    found = []
    for label in np.flatnonzero(scores.max(axis=0) >= min_score):
        sure = np.flatnonzero(scores[:, label] >= min_score)
        for kept in suppress(boxes[sure], scores[sure, label], limit):
            index = sure[kept]
            found.append(Candidate(int(label), float(scores[index, label]), boxes[index], NO_POINTS))
    return sorted(found, key=lambda candidate: -candidate.score)


def one_class(boxes, scores, points, limit):
    """Candidates of a face detector: one class, with points."""
    return [Candidate(0, float(scores[k]), boxes[k], points[k]) for k in suppress(boxes, scores, limit)]


def ssd(outputs, params, size, min_score):
    """Boxes come decoded, y1 x1 y2 x2 in 0..1; scores are probabilities, one column a class."""
    width, height = size
    boxes = outputs[params["boxes"]].reshape(-1, 4)[:, [1, 0, 3, 2]] * [width, height, width, height]
    scores = outputs[params["scores"]].reshape(len(boxes), -1)
    return by_class(boxes, scores, min_score, params["nms_iou"])


def cells(size, stride):
    """Centres of the cells of one level, row by row, in tensor pixels."""
    columns, rows = size[0] // stride, size[1] // stride
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([(x + 0.5) * stride, (y + 0.5) * stride], axis=1)


def nanodet(outputs, params, size, min_score):
    """Each side of a box is a distribution over `bins` distances; its expectation times stride counts."""
    boxes, scores = [], []
    for stride, score_name, box_name in zip(params["strides"], params["scores"], params["boxes"]):
        centre = cells(size, stride)
        sides = outputs[box_name].reshape(len(centre), 4, params["bins"]).astype(np.float64)
        weights = np.exp(sides - sides.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        far = weights @ np.arange(params["bins"]) * stride
        boxes.append(np.concatenate([centre - far[:, :2], centre + far[:, 2:]], axis=1))
        scores.append(outputs[score_name].reshape(len(centre), -1))
    return by_class(np.concatenate(boxes), np.concatenate(scores), min_score, params["nms_iou"])


def centerface(outputs, params, size, min_score):
    """A heat map of face centres; size is logarithmic, height first; offset and points have y first."""
    stride = params["stride"]
    heat = outputs[params["heatmap"]][0, 0]
    rows, columns = np.nonzero(heat >= min_score)
    height, width = (np.exp(outputs[params["size"]][0][:, rows, columns]) * stride).astype(np.float64)
    shift_y, shift_x = outputs[params["offset"]][0][:, rows, columns]
    left = (columns + shift_x + 0.5) * stride - width / 2
    top = (rows + shift_y + 0.5) * stride - height / 2
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    marks = outputs[params["landmarks"]][0][:, rows, columns]
    marks = marks.reshape(len(marks) // 2, 2, len(rows))
    points = np.stack([marks[:, 1] * width + left, marks[:, 0] * height + top], axis=2).transpose(1, 0, 2)
    return one_class(boxes, heat[rows, columns], points, params["nms_iou"])


def blazeface(outputs, params, size, min_score):
    """Anchors are cell centres; scores are logits; a box is centre shift, size, then shifts of points."""
    boxes, points, scores = [], [], []
    for (stride, number), score_name, box_name in zip(params["anchors"], params["scores"], params["boxes"]):
        anchor = np.repeat(cells(size, stride), number, axis=0)
        values = outputs[box_name].reshape(len(anchor), -1).astype(np.float64)
        centre, half = anchor + values[:, :2], values[:, 2:4] / 2
        boxes.append(np.concatenate([centre - half, centre + half], axis=1))
        points.append(values[:, 4:].reshape(len(anchor), -1, 2) + anchor[:, None])
        logits = np.clip(outputs[score_name].reshape(-1).astype(np.float64), -80, 80)
        scores.append(1 / (1 + np.exp(-logits)))
    boxes, points, scores = map(np.concatenate, (boxes, points, scores))
    sure = scores >= min_score
    return one_class(boxes[sure], scores[sure], points[sure], params["nms_iou"])


DECODERS = {"ssd": ssd, "nanodet": nanodet, "centerface": centerface, "blazeface": blazeface}
