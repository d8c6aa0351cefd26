"""The comparison and the README table, on made-up findings. Run by `make test`."""

import json
import tempfile
import unittest
from pathlib import Path

from compare import compare
from readme_table import BEGIN, END, inserted


def finding(x, score=0.9, label="person"):
    """A box of fixed size at x."""
    return {"label": label, "score": score, "region": {"x": x, "y": 0.2, "w": 0.1, "h": 0.3}}


class Compare(unittest.TestCase):
    """compare()"""

    def answer(self, ours, peers):
        """Compares two lists of (time, findings)."""
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, rows in (("ours", ours), ("peers", peers)):
                path = Path(folder) / name
                lines = [json.dumps({"frame": n, "time_s": t, "findings": f}) for n, (t, f) in enumerate(rows)]
                path.write_text("\n".join(lines))
                paths.append(path)
            return compare(*paths, threshold=0.55, overlap=0.5)

    def test_a_missed_finding_lowers_only_our_share(self):
        result = self.answer([(0.0, [finding(0.1)])], [(0.0, [finding(0.1), finding(0.6)])])
        self.assertEqual((result["found_by_us"], result["peer_findings"]), (1, 2))
        self.assertEqual((result["found_by_peer"], result["our_findings"]), (1, 1))

    def test_another_label_in_the_same_place_does_not_count(self):
        result = self.answer([(0.0, [finding(0.1, label="dog")])], [(0.0, [finding(0.1)])])
        self.assertEqual(result["found_by_us"], 0)

    def test_one_finding_answers_only_once(self):
        result = self.answer([(0.0, [finding(0.1)])], [(0.0, [finding(0.1), finding(0.101)])])
        self.assertEqual(result["found_by_us"], 1)

    def test_unsure_findings_neither_count_nor_are_missing(self):
        result = self.answer([(0.0, [finding(0.1, score=0.51)])], [(0.0, [finding(0.1, score=0.7)])])
        self.assertEqual((result["found_by_us"], result["peer_findings"], result["our_findings"]), (1, 1, 0))

    def test_frames_pair_by_time_when_one_side_skips(self):
        peers = [(n / 25, [finding(n / 100)]) for n in range(20)]
        result = self.answer([(t + 0.004, f) for t, f in peers[::5]], peers)
        self.assertEqual((result["frames"], result["found_by_us"]), (4, 4))


class Table(unittest.TestCase):
    """readme_table.inserted()"""

    def test_only_what_lies_between_the_markers_changes(self):
        text = f"a\n{BEGIN}\nold\n{END}\nb\n"
        self.assertEqual(inserted(text, "|new|\n"), f"a\n{BEGIN}\n|new|\n{END}\nb\n")
        self.assertEqual(inserted(inserted(text, "|new|"), "|new|"), inserted(text, "|new|"))

    def test_a_file_without_both_markers_is_refused(self):
        for text in ("", BEGIN, f"{END} {BEGIN}", f"{BEGIN}{END}{END}"):
            self.assertIsNone(inserted(text, "|new|"))


if __name__ == "__main__":
    unittest.main()
