"""What one would write instead of aimass-agent: OpenCV, onnxruntime, a small tracker, paho-mqtt.

    python peer.py --source clip.mp4 --model model.onnx --labels labels.txt [--fps 5] [--out FILE.jsonl]
                   [--broker HOST:PORT]

Reads a clip, detects with the same model file as ours (SSD, one thread), tracks, publishes one message
for each new object, and prints what it cost as one JSON object. The findings of each analysed frame go
to --out, one JSON line a frame, in the shape that `aimass-agent analyze` writes.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402

# One decoding thread, so that the processor time of a stage is that stage's.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

SIZE = 300
NMS_IOU = 0.5


class Stages:
    """Processor seconds by stage, of all threads of the process."""

    def __init__(self):
        self.seconds = dict.fromkeys(["decode", "prepare", "infer", "post", "track", "publish"], 0.0)
        self.last = time.process_time()

    def done(self, stage):
        """Charges the time since the last call to a stage."""
        now = time.process_time()
        self.seconds[stage] += now - self.last
        self.last = now


class Detector:
    """COCO-SSD lite in onnxruntime."""

    def __init__(self, model, labels, min_score):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.labels = open(labels, encoding="utf-8").read().split("\n")
        self.min_score = min_score

    @staticmethod
    def prepare(picture):
        """BGR picture to input tensor."""
        small = cv2.cvtColor(cv2.resize(picture, (SIZE, SIZE)), cv2.COLOR_BGR2RGB)
        values = small.astype(np.float32) / 127.5 - 1.0
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None])

    def infer(self, tensor):
        """Scores (boxes, classes) and boxes (y1, x1, y2, x2)."""
        scores, boxes = self.session.run(None, {self.input: tensor})
        return scores[0], boxes.reshape(-1, 4)

    def findings(self, scores, boxes):
        """Label, score and region of what is sure enough, after suppression in each class."""
        found = []
        for label in np.flatnonzero(scores.max(axis=0) >= self.min_score):
            sure = np.flatnonzero(scores[:, label] >= self.min_score)
            top, left, bottom, right = np.clip(boxes[sure], 0, 1).T
            regions = np.stack([left, top, right - left, bottom - top], axis=1)
            for k in cv2.dnn.NMSBoxes(regions.tolist(), scores[sure, label].tolist(), self.min_score, NMS_IOU):
                x, y, w, h = (round(float(v), 4) for v in regions[k])
                found.append({"label": self.labels[label], "score": round(float(scores[sure[k], label]), 4),
                              "region": {"x": x, "y": y, "w": w, "h": h}})
        return found


def iou(a, b):
    """Overlap of two regions."""
    w = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    h = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    common = max(w, 0) * max(h, 0)
    return common / max(a["w"] * a["h"] + b["w"] * b["h"] - common, 1e-9)


class Tracker:
    """Pairs findings with tracks greedily by overlap, with a constant-velocity guess of where each went."""

    MATCH, CONFIRM, FORGET = 0.3, 3, 10

    def __init__(self):
        self.tracks, self.next_id = [], 1

    def update(self, findings):
        """Takes a frame's findings; gives the tracks that have just become certain."""
        for track in self.tracks:
            track["missed"] += 1
            for axis, speed in zip("xy", track["speed"]):
                track["region"][axis] += speed
        pairs = sorted(((iou(track["region"], found["region"]), t, f)
                        for t, track in enumerate(self.tracks) for f, found in enumerate(findings)
                        if track["label"] == found["label"]), reverse=True)
        used_tracks, used_findings = set(), set()
        for overlap, t, f in pairs:
            if overlap < self.MATCH or t in used_tracks or f in used_findings:
                continue
            used_tracks.add(t)
            used_findings.add(f)
            track, region = self.tracks[t], findings[f]["region"]
            track["speed"] = [0.5 * (v + region[a] - track["region"][a]) for a, v in zip("xy", track["speed"])]
            track.update(region=dict(region), hits=track["hits"] + 1, missed=0, score=findings[f]["score"])
        for f, found in enumerate(findings):
            if f not in used_findings:
                self.tracks.append({"id": self.next_id, "label": found["label"], "score": found["score"],
                                    "region": dict(found["region"]), "speed": [0.0, 0.0], "hits": 1,
                                    "missed": 0, "told": False})
                self.next_id += 1
        self.tracks = [track for track in self.tracks if track["missed"] <= self.FORGET]
        new = [track for track in self.tracks if track["hits"] >= self.CONFIRM and not track["told"]]
        for track in new:
            track["told"] = True
        return new


def connect(broker):
    """An MQTT 5 client with its network thread running."""
    import paho.mqtt.client as mqtt
    host, _, port = broker.removeprefix("mqtt://").partition(":")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="peer", protocol=mqtt.MQTTv5)
    client.connect(host, int(port or 1883))
    client.loop_start()
    return client


def main():
    """Runs a clip to its end and prints the costs."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--source", required=True)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--labels", required=True)
    arguments.add_argument("--fps", type=float, help="analyse at most so many frames of each second; default all")
    arguments.add_argument("--min-score", type=float, default=0.5)
    arguments.add_argument("--out")
    arguments.add_argument("--broker")
    options = arguments.parse_args()

    cv2.setNumThreads(1)
    began = time.monotonic()
    detector = Detector(options.model, options.labels, options.min_score)
    load_ms = 1000 * (time.monotonic() - began)
    ready_ms = 1000 * (time.monotonic() - STARTED)
    client = connect(options.broker) if options.broker else None
    out = open(options.out, "w", encoding="utf-8") if options.out else None
    clip = cv2.VideoCapture(options.source)
    if not clip.isOpened():
        raise SystemExit(f"error: cannot open {options.source}")
    source_fps = clip.get(cv2.CAP_PROP_FPS)
    tracker, stages, began = Tracker(), Stages(), time.monotonic()
    read = analysed = published = found = 0
    due, last = 0.0, None

    while clip.grab():
        time_s, number = read / source_fps, read
        read += 1
        if options.fps and time_s + 1e-6 < due:
            stages.done("decode")
            continue
        due = time_s + 1 / options.fps if options.fps else 0.0
        picture = clip.retrieve()[1]
        stages.done("decode")
        tensor = detector.prepare(picture)
        stages.done("prepare")
        scores, boxes = detector.infer(tensor)
        stages.done("infer")
        findings = detector.findings(scores, boxes)
        stages.done("post")
        new = tracker.update(findings)
        stages.done("track")
        for track in new:
            event = {"source": "peer", "time_s": round(time_s, 3), "track": track["id"], "label": track["label"],
                     "score": track["score"], "region": track["region"]}
            if client:
                last = client.publish("peer/events", json.dumps(event), qos=1)
            published += 1
        if out:
            out.write(json.dumps({"frame": number, "time_s": round(time_s, 4), "findings": findings}) + "\n")
        stages.done("publish")
        analysed += 1
        found += len(findings)

    if last:
        last.wait_for_publish(10)
    if client:
        client.loop_stop()
        client.disconnect()
    stages.done("publish")
    if out:
        out.close()
    print(json.dumps({
        "frames_read": read, "frames_analysed": analysed, "findings": found, "events": published,
        "wall_s": round(time.monotonic() - began, 3),
        "cpu_s": {stage: round(seconds, 4) for stage, seconds in stages.seconds.items()},
        "cpu_s_total": round(sum(stages.seconds.values()), 3),
        "cpu_s_process": round(time.process_time(), 3),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "load_ms": round(load_ms, 1), "ready_ms": round(ready_ms, 1),
    }))


if __name__ == "__main__":
    main()
