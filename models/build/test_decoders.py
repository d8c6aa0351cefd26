"""The reference decoders, on outputs made by hand. build.sh runs them before it builds."""

import unittest

import numpy as np

import decoders


class Decoders(unittest.TestCase):
    """Each decoder finds the one object that was put into its outputs, where it was put."""

    def only(self, found, label, score, box):
        self.assertEqual(len(found), 1)
        self.assertEqual(found[0].label, label)
        self.assertAlmostEqual(found[0].score, score, places=5)
        np.testing.assert_allclose(found[0].box, box, atol=1e-3)
        return found[0]

    def test_ssd_has_y_before_x_and_suppresses_within_a_class_only(self):
        boxes = np.array([[0.1, 0.2, 0.5, 0.6], [0.1, 0.21, 0.5, 0.61]], np.float32)
        scores = np.array([[0.9, 0.0], [0.8, 0.0]], np.float32)
        outputs, params = {"b": boxes[None, :, None], "s": scores[None]}, {"boxes": "b", "scores": "s", "nms_iou": 0.5}
        self.only(decoders.ssd(outputs, params, (300, 300), 0.5), 0, 0.9, [60, 30, 180, 150])
        outputs["s"] = np.array([[[0.9, 0.0], [0.0, 0.8]]], np.float32)
        self.assertEqual([found.label for found in decoders.ssd(outputs, params, (300, 300), 0.5)], [0, 1])

    def test_nanodet_takes_the_expected_distance_of_each_side(self):
        scores, sides = np.zeros((1, 4, 3), np.float32), np.full((1, 4, 4, 5), -50, np.float32)
        scores[0, 3, 2] = 0.7
        for side, distance in enumerate([1, 2, 1, 0]):
            sides[0, 3, side, distance] = 50
        params = {"scores": ["s"], "boxes": ["b"], "strides": [8], "bins": 5, "nms_iou": 0.5}
        found = decoders.nanodet({"s": scores, "b": sides.reshape(1, 4, 20)}, params, (16, 16), 0.5)
        self.only(found, 2, 0.7, [12 - 8, 12 - 16, 12 + 8, 12])

    def test_centerface_reads_logarithms_height_first_and_points_as_parts_of_the_box(self):
        heat, size = np.zeros((1, 1, 4, 6), np.float32), np.zeros((1, 2, 4, 6), np.float32)
        offset, marks = np.zeros((1, 2, 4, 6), np.float32), np.zeros((1, 10, 4, 6), np.float32)
        heat[0, 0, 2, 3] = 0.8
        size[0, :, 2, 3] = np.log([2, 3])
        marks[0, 0:2, 2, 3] = [0.25, 0.5]
        params = {"heatmap": "h", "size": "s", "offset": "o", "landmarks": "l", "stride": 4, "nms_iou": 0.3}
        outputs = {"h": heat, "s": size, "o": offset, "l": marks}
        face = self.only(decoders.centerface(outputs, params, (24, 16), 0.5), 0, 0.8, [8, 6, 20, 14])
        np.testing.assert_allclose(face.points[0], [8 + 0.5 * 12, 6 + 0.25 * 8], atol=1e-4)
        self.assertEqual(decoders.centerface(outputs, params, (24, 16), 0.9), [])

    def test_blazeface_shifts_from_the_cell_that_each_anchor_belongs_to(self):
        scores, boxes = np.full((1, 8, 1), -9, np.float32), np.zeros((1, 8, 16), np.float32)
        scores[0, 5, 0] = 0.0
        boxes[0, 5, :6] = [1, 2, 8, 6, -3, 4]
        params = {"scores": ["s"], "boxes": ["b"], "anchors": [[16, 2]], "nms_iou": 0.3}
        face = self.only(decoders.blazeface({"s": scores, "b": boxes}, params, (32, 32), 0.4), 0, 0.5,
                         [9 - 4, 26 - 3, 9 + 4, 26 + 3])
        np.testing.assert_allclose(face.points[0], [8 - 3, 24 + 4])


if __name__ == "__main__":
    unittest.main()
