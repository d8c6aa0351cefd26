"""The models that engines are compared on (bench_models.json), built from their packages into the cache.

    python bench_models.py [NAME...]        builds them, and prints name, form and file of each

Most are no part of the library: here they are only timed. What is done to a file is the same for all who run it: its
shapes are fixed, constants are folded, integers at its ends are cut off where they are f32 at once, and what takes
more than one picture gets one input that is cut into the others (`one_input`). An entry of the table has

- `kind`: which bar holds for it (bench_engine.py); `library`: it is built as build.py builds it
- the package and the file in it, as the library's model.toml
- `inputs`: name (if there are several), shape, and the range of the noise that is put in, or a constant
- `int8`: `own`, the file is quantised and its f32 form is made from it; `noise`, it is quantised as the library's are,
  with ranges of noise: good for times and for nothing else; `weights`, the file's weights are bytes, and onnxruntime
  gets a form of it that quantises activations as it runs
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnxruntime.quantization import QuantType, quantize_dynamic

import build
import graph
import ort_format
import packages

HERE = Path(__file__).resolve().parent
FLOAT = TensorProto.FLOAT


@dataclass
class Case:
    """A model to be timed; a file that there is not is None."""

    name: str
    kind: str
    f32: Path
    int8: Path
    # What onnxruntime runs as int8, where that is another file.
    peer: Path
    range: tuple


@functools.cache
def tfjs_python():
    """The environment of the converter, made when it is needed."""
    done = subprocess.run([HERE / "build.sh", "--environment", "tfjs"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise packages.Refused(done.returncode, "the converter's environment could not be made (see above)")
    return done.stdout.strip()


def float_ends(model):
    """The model without the casts and quantisers at its ends, whose nodes nothing needs any more."""
    outer = model.graph
    makers = {name: node for node in outer.node for name in node.output}
    for output in outer.output:
        maker = makers[output.name]
        if maker.op_type == "QuantizeLinear":
            output.CopyFrom(helper.make_tensor_value_info(maker.input[0], FLOAT, None))
    for entry in list(outer.input):
        users = [node for node in outer.node if entry.name in node.input]
        if entry.type.tensor_type.elem_type == FLOAT or len(users) != 1:
            continue
        to = [a.i for a in users[0].attribute if a.name == "to"]
        if users[0].op_type == "DequantizeLinear" or (users[0].op_type == "Cast" and to == [FLOAT]):
            (fed,) = users[0].output
            outer.node.remove(users[0])
            entry.CopyFrom(helper.make_tensor_value_info(fed, FLOAT, None))
    return model


def one_input(model, inputs):
    """The model with fixed shapes and one f32 input of four dimensions, out of which its own inputs are cut."""
    outer = model.graph
    weights = {tensor.name for tensor in outer.initializer}
    entries = [entry for entry in outer.input if entry.name not in weights]
    wanted = {given.get("name", entries[0].name): given for given in inputs}
    if {entry.name for entry in entries} != set(wanted):
        raise SystemExit(f"error: the graph's inputs are {[e.name for e in entries]}, the table says {list(wanted)}")
    del outer.value_info[:]
    for output in outer.output:
        output.type.tensor_type.ClearField("shape")
    if len(entries) == 1 and entries[0].type.tensor_type.elem_type == FLOAT and len(inputs[0]["shape"]) == 4:
        entries[0].CopyFrom(helper.make_tensor_value_info(entries[0].name, FLOAT, inputs[0]["shape"]))
        return model
    made, begin = [], 0
    del outer.input[:]
    for number, entry in enumerate(entries):
        given, kind = wanted[entry.name], entry.type.tensor_type.elem_type
        shape = numpy.array(given["shape"], numpy.int64)
        if "constant" in given:
            filled = numpy.full(shape, given["constant"], helper.tensor_dtype_to_np_dtype(kind))
            outer.initializer.append(numpy_helper.from_array(filled, entry.name))
            continue
        end = begin + int(shape.prod())
        names = {key: f"{key}.{number}" for key in ("begin", "end", "axis", "shape", "part", "shaped")}
        for key, value in [("begin", [begin]), ("end", [end]), ("axis", [3]), ("shape", shape)]:
            outer.initializer.append(numpy_helper.from_array(numpy.array(value, numpy.int64), names[key]))
        made += [
            helper.make_node("Slice", ["values", names["begin"], names["end"], names["axis"]], [names["part"]]),
            helper.make_node("Reshape", [names["part"], names["shape"]], [names["shaped"]]),
            helper.make_node("Cast", [names["shaped"]], [entry.name], to=kind),
        ]
        begin = end
    outer.input.append(helper.make_tensor_value_info("values", FLOAT, [1, 1, 1, begin]))
    nodes = [*made, *outer.node]
    del outer.node[:]
    outer.node.extend(nodes)
    return model


def prepared(model, inputs):
    """A file as it is timed."""
    model = one_input(float_ends(model), inputs)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < graph.OPSET:
        opset, model = graph.OPSET, version_converter.convert_version(model, graph.OPSET)
    return graph.plain(model, opset)


def with_known_indices(model):
    """The model without NonZero of constants, which onnxruntime does not fold and tract does not take."""
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "NonZero" and node.input[0] in known]:
        places = numpy.array(numpy_helper.to_array(known[node.input[0]]).nonzero(), numpy.int64)
        model.graph.initializer.append(numpy_helper.from_array(places, node.output[0]))
        model.graph.node.remove(node)
    return model


def noise(path, between):
    """The name of a file's input, and tensors for it that ranges are measured on."""
    outer = onnx.load(path).graph
    weights = {tensor.name for tensor in outer.initializer}
    (entry,) = [entry for entry in outer.input if entry.name not in weights]
    shape = [d.dim_value for d in entry.type.tensor_type.shape.dim]
    return entry.name, [numpy.random.default_rng(1).uniform(*between, shape).astype(numpy.float32)]


def make(entry, folder):
    """Builds one model of the table into a folder: f32.onnx, and int8.onnx if the table says so."""
    f32, int8 = folder / "f32.onnx", folder / "int8.onnx"
    if entry.get("library"):
        made = build.build(entry["name"], tfjs_python(), False)
        for source, target in zip(made, (f32, int8)):
            target.write_bytes(source.read_bytes())
        if made[0] == made[1]:
            int8.unlink()
    else:
        start = build.fetch_source(entry, folder)
        read = {".ort": ort_format.load, ".onnx": onnx.load}.get(start.suffix)
        read = read or (lambda path: onnx.load(build.convert(path, tfjs_python())))
        onnx.save(prepared(read(start), entry["inputs"]), f32)
        if entry.get("int8") == "own":
            f32.rename(int8)
            plain = onnx.load(build.convert(start, tfjs_python(), "--dequantize"))
            onnx.save(prepared(plain, entry["inputs"]), f32)
        if entry["kind"] == "cnn":
            onnx.save(graph.folded(onnx.load(f32)), f32)
    if entry.get("int8") == "noise":
        ranges = folder / "ranges.json"
        ranges.unlink(missing_ok=True)
        graph.quantised_once(f32, int8, ranges, ["Conv"], graph.Tensors(*noise(f32, span(entry))))
    elif entry.get("int8") == "weights":
        model = with_known_indices(graph.folded(onnx.load(f32)))
        if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
            onnx.save(graph.folded(model), int8)
        else:
            # Weights in another form (Cast and Mul) are gone by now.
            f32.rename(int8)
        onnx.save(graph.folded(model, weights=True), f32)
        quantize_dynamic(f32, folder / "peer.onnx", ["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def span(entry):
    """The range of the noise that is put in."""
    return tuple(next((i["range"] for i in entry.get("inputs", []) if "range" in i), [-1, 1]))


def cases(names=()):
    """Yields the models of the table as a Case, or as its name and why it cannot be had."""
    table = json.loads((HERE / "bench_models.json").read_text())
    unknown = set(names) - {entry["name"] for entry in table}
    if unknown:
        raise SystemExit(f"error: no such model in bench_models.json: {', '.join(sorted(unknown))}")
    # What was built by other scripts, or from another line of the table, is built anew.
    scripts = b"".join((HERE / name).read_bytes()
                       for name in ("bench_models.py", "build.py", "graph.py", "ort_format.py"))
    for entry in table:
        if names and entry["name"] not in names:
            continue
        key = hashlib.sha256(scripts + json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
        folder = packages.CACHE / "bench-models" / f"{entry['name']}-{key}"
        if not (folder / "ready").exists():
            folder.mkdir(parents=True, exist_ok=True)
            print(f"building {entry['name']}", file=sys.stderr)
            try:
                make(entry, folder)
            except packages.Refused as error:
                yield entry["name"], str(error)
                continue
            (folder / "ready").touch()
        f32, int8, peer = (folder / f"{form}.onnx" for form in ("f32", "int8", "peer"))
        int8 = int8 if int8.exists() else None
        yield Case(entry["name"], entry["kind"], f32, int8, peer if peer.exists() else int8, span(entry))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for made in cases(sys.argv[1:]):
        if isinstance(made, tuple):
            sys.exit(f"error: {made[0]}: {made[1]}")
        for form, path in (("int8", made.int8), ("f32", made.f32)):
            if path:
                print(made.name, form, path)
