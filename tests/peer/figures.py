"""Runs aimass-agent and the peer on the same clips, one after the other, and prints a Markdown table.

    python figures.py --binary target/release/aimass-agent --media FOLDER [--fps 5] [--repeat 3] [--json FILE]

Peak memory of both is the kernel's account of the ended process, and so is the peer's processor time. Our
bench decodes the clip once more for itself, so its own account of start and of the pass through everything counts
there.
Both include loading the model. Of several runs the one with the least processor time counts, since other
work on the machine only ever adds to it. Stages are what each program says of itself.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import compare

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CLIPS = ["bikes.mp4", "vtest.avi"]
MODEL = ROOT / "models" / "coco-ssd-lite"
STAGES = ["decode", "prepare", "infer", "post", "track", "publish"]


def run(command, errors):
    """Runs a program to its end: its stdout and what it cost. Its failure ends this program."""
    began = time.monotonic()
    with open(errors, "wb") as sink, tempfile.TemporaryFile() as text:
        process = subprocess.Popen([str(part) for part in command], stdout=text, stderr=sink)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        text.seek(0)
        output = text.read().decode()
    if process.returncode:
        tail = Path(errors).read_text(errors="replace")[-1500:]
        sys.exit(f"error: {' '.join(map(str, command))} ended with {process.returncode}\n{tail}")
    return output, {"cpu_s": usage.ru_utime + usage.ru_stime, "rss_bytes": usage.ru_maxrss * 1024,
                    "wall_s": time.monotonic() - began}


def cheapest(runs):
    """The run with the least processor time."""
    return min(runs, key=lambda figures: figures["cpu_s"])


def stage_ms(report, frames):
    """Milliseconds of processor time by stage for one analysed frame, where the program reports them."""
    seconds, means = report.get("cpu_s", {}), report.get("stage_ms", {})
    found = {stage: means[stage] for stage in STAGES if stage in means}
    found.update({stage: 1000 * seconds[stage] / frames for stage in STAGES if stage in seconds})
    return found


def ours(options, clip, folder):
    """Figures of one run of our bench."""
    report = folder / "bench.json"
    _, cost = run([options.binary, "bench", "--source", f"file:{clip}", "--chain", "detect", "--fps", options.fps,
                   "--gate", "off", "--models", ROOT / "models", "--json", report], folder / "ours.log")
    told = json.loads(report.read_text())
    frames = told["frames_analysed"]
    cost["cpu_s"] = told["cpu_s"]["total"]
    stages = told["stage_ms"]
    stages["prepare"], stages["post"] = stages.pop("preprocess", None), stages.pop("postprocess", None)
    return {**cost, "frames": frames, "load_ms": 1000 * told["cpu_s"]["load"], "stage_ms": stage_ms(told, frames),
            "clip_s": told["clip_s"]}


def peers(options, clip, folder):
    """Figures of one run of the peer."""
    output, cost = run([sys.executable, HERE / "peer.py", "--source", clip, "--model", MODEL / "model.onnx",
                        "--labels", MODEL / "labels.txt", "--fps", options.fps], folder / "peer.log")
    told = json.loads(output)
    frames = told["frames_analysed"]
    return {**cost, "frames": frames, "load_ms": told["load_ms"], "stage_ms": stage_ms(told, frames)}


def agreement(options, clip, folder):
    """How far both find the same in every frame of a clip."""
    mine, theirs = folder / "ours.jsonl", folder / "peer.jsonl"
    run([options.binary, "analyze", "--source", f"file:{clip}", "--chain", "detect", "--min-score", "0.5",
         "--models", ROOT / "models", "--out", mine], folder / "analyze.log")
    run([sys.executable, HERE / "peer.py", "--source", clip, "--model", MODEL / "model.onnx",
         "--labels", MODEL / "labels.txt", "--out", theirs], folder / "peer.log")
    return compare(mine, theirs, 0.5, 0.5)


def outside_s(side, clip_s):
    """Processor seconds of a clip's minute that are neither decoding, inference nor loading: start-up, scaling,
    conversion, tracking, storing, publishing."""
    known = side["stage_ms"].get("decode", 0) + side["stage_ms"].get("infer", 0)
    return 60 / clip_s * (side["cpu_s"] - (side["load_ms"] + known * side["frames"]) / 1000)


def number(value, unit=""):
    """A figure with three significant digits."""
    if value is None:
        return "not told"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}{unit}"


def share(part, whole):
    """A share in words."""
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "none"


def table(results, fps):
    """The Markdown table of all clips."""
    head = f"at most {fps:g} frames a second of the clip" if fps else "every frame"
    lines = [f"Measured on {platform.machine()}, {os.cpu_count()} processors; {head}; one inference thread each; "
             "the peer is `tests/peer/peer.py` (Python, OpenCV, onnxruntime, the same model file).", "",
             "| clip | | aimass-agent | peer |", "|---|---|---:|---:|"]
    for name, result in results.items():
        us, peer, same = result["ours"], result["peer"], result["agreement"]

        def row(title, value, first=""):
            lines.append(f"| {first} | {title} | {value(us)} | {value(peer)} |")

        row("frames analysed", lambda side: str(side["frames"]), f"`{name}`")
        row("processor time, loading included", lambda side: number(side["cpu_s"], " s"))
        row("processor time a frame", lambda side: number(1000 * side["cpu_s"] / side["frames"], " ms"))
        for stage in STAGES[:4]:
            row(f"… {stage}", lambda side, stage=stage: number(side["stage_ms"].get(stage), " ms"))
        clip_s = us["clip_s"]
        # In a short clip, start-up and the resolution of the processor's clock would drown it.
        if clip_s >= 60:
            row("the rest, for a minute of the clip", lambda side, s=clip_s: number(outside_s(side, s), " s"))
        row("peak memory", lambda side: number(side["rss_bytes"] / 1e6, " MB"))
        row("loading the model", lambda side: number(side["load_ms"], " ms"))
        lines.append(f"| | findings the other side confirms | {share(same['found_by_peer'], same['our_findings'])} "
                     f"| {share(same['found_by_us'], same['peer_findings'])} |")
    return "\n".join(lines)


def main():
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--binary", type=Path, required=True)
    arguments.add_argument("--media", type=Path, required=True)
    arguments.add_argument("--fps", type=float, default=5.0)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in CLIPS:
            clip = (options.media / name).resolve()
            results[name] = {
                "ours": cheapest([ours(options, clip, folder) for _ in range(options.repeat)]),
                "peer": cheapest([peers(options, clip, folder) for _ in range(options.repeat)]),
                "agreement": agreement(options, clip, folder),
            }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results, options.fps))


if __name__ == "__main__":
    main()
