"""Random small quantised graphs, with the answers that onnxruntime gives to them.

    python fuzz_engine.py fixtures FOLDER [COUNT]     writes COUNT=50 graphs of pictures, and some of words, with their answers
    python fuzz_engine.py fuzz PROGRAM [COUNT]        runs COUNT=2000 graphs through the example `engine` and compares

A graph of pictures is a chain of layers with side branches, each followed by a quantiser whose steps fit what comes; one
of words (fuzz_words.py) is made of what transformers are made of, one of sound (fuzz_sound.py) of convolutions along one
axis. The answers are those of onnxruntime without graph optimisation: each operator as its specification says, so that
they are the same on every machine.
"""

import json
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from peer import Engine

onnxruntime.set_default_logger_severity(3)


TYPES = {numpy.dtype("float32"): TensorProto.FLOAT, numpy.dtype("uint8"): TensorProto.UINT8,
         numpy.dtype("int8"): TensorProto.INT8, numpy.dtype("int32"): TensorProto.INT32,
         numpy.dtype("int64"): TensorProto.INT64, numpy.dtype("bool"): TensorProto.BOOL}


class Graph:
    """A graph that knows the values of what it has so far."""

    opset = 13
    # Nodes that are tract's.
    left = 0

    def __init__(self, seed):
        self.random = numpy.random.default_rng(seed)
        self.nodes, self.constants, self.values, self.operators, self.steps = [], [], {}, [], {}
        self.signed = self.random.random() < 0.25

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numpy.asarray(array), name))
        return name

    def add(self, operator, inputs, **attributes):
        """A node, run at once to know its value."""
        node = helper.make_node(operator, inputs, [f"v{len(self.nodes)}"], **attributes)
        known = {i: v for i, v in self.values.items() if i in inputs}
        entries = [helper.make_tensor_value_info(i, TYPES[v.dtype], v.shape) for i, v in known.items()]
        graph = helper.make_graph([node], "one", entries,
                                  [helper.make_empty_tensor_value_info(node.output[0])],
                                  [c for c in self.constants if c.name in inputs])
        session = session_of(self.finished(graph))
        self.nodes.append(node)
        self.values[node.output[0]] = session.run(None, known)[0]
        self.operators.append(operator)
        return node.output[0]

    def finished(self, graph):
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def pick(self, *choices):
        return choices[self.random.integers(len(choices))]

    def quantise(self, name, spread=None):
        """A Quantize/Dequantize pair whose range is roughly that of the value, sometimes too small."""
        value = self.values[name]
        low, high = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
        scale = numpy.float32(max(high - low, 1e-3) / 255 * (spread or self.random.uniform(0.5, 1.3)))
        zero = int(numpy.clip(round(-low / scale), 0, 255))
        zero = numpy.int8(zero - 128) if self.signed else numpy.uint8(zero)
        parameters = [self.constant(scale), self.constant(zero)]
        made = self.add("DequantizeLinear", [self.add("QuantizeLinear", [name, *parameters]), *parameters])
        self.steps[made] = float(scale)
        return made

    def step(self, name):
        return self.steps.get(name, 1e-4 * float(numpy.abs(self.values[name]).max()) + 1e-5)

    def conv(self, name):
        channels, height, width = self.values[name].shape[1:]
        kernel = self.pick(1, 1, 3, 3, 5)
        dilation = self.pick(1, 1, 1, 2) if kernel == 3 else 1
        reach = (kernel - 1) * dilation + 1
        stride = self.pick(1, 1, 2, 3)
        depthwise = self.random.random() < 0.35
        groups = channels if depthwise else self.pick(1, 1, 1, 2)
        groups = groups if channels % groups == 0 else 1
        outputs = channels if depthwise else groups * int(self.random.integers(1, 24))
        pads = [int(p) for p in self.random.integers(0, reach, 4)] if kernel > 1 else [0] * 4
        if height + pads[0] + pads[2] < reach or width + pads[1] + pads[3] < reach:
            return name
        shape = (outputs, channels // groups, kernel, kernel)
        weights = self.random.integers(-127, 128, shape).astype(numpy.int8)
        scales = (self.random.uniform(0.5, 2, outputs) / 73 / numpy.sqrt(numpy.prod(shape[1:]))).astype(numpy.float32)
        weight = self.add("DequantizeLinear", [self.constant(weights), self.constant(scales),
                                               self.constant(numpy.zeros(outputs, numpy.int8))], axis=0)
        inputs = [name, weight]
        step = self.steps.get(name)
        if step and self.random.random() < 0.8:
            bias = self.random.integers(-3000, 3000, outputs).astype(numpy.int32)
            inputs.append(self.add("DequantizeLinear", [
                self.constant(bias), self.constant((scales * numpy.float32(step)).astype(numpy.float32)),
                self.constant(numpy.zeros(outputs, numpy.int32))], axis=0))
        made = self.add("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, dilations=[dilation] * 2,
                        group=groups, pads=pads)
        if self.random.random() < 0.15:
            made = self.quantise(made)
        return self.activation(made)

    def activation(self, name):
        kind = self.pick("none", "none", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh")
        if kind == "none":
            return name
        if kind in ("LeakyRelu", "Sigmoid", "Tanh"):
            # Of bytes: as a table.
            name = name if name in self.steps else self.quantise(name)
            return self.add(kind, [name], **({"alpha": 0.1} if kind == "LeakyRelu" else {}))
        if kind == "Clip":
            top = numpy.float32(self.random.uniform(0.3, 6))
            return self.add("Clip", [name, self.constant(numpy.float32(0)), self.constant(top)])
        return self.add(kind, [name])

    def pool(self, name):
        height, width = self.values[name].shape[2:]
        kernel = self.pick(2, 3)
        if min(height, width) < kernel:
            return name
        pads = [int(p) for p in self.random.integers(0, kernel, 4)] if self.random.random() < 0.5 else [0] * 4
        attributes = {"kernel_shape": [kernel] * 2, "strides": [self.pick(1, 2)] * 2, "pads": pads}
        if self.random.random() < 0.5:
            return self.add("MaxPool", [name], **attributes)
        return self.add("AveragePool", [name], count_include_pad=int(self.random.integers(2)), **attributes)

    def resize(self, name):
        scale = self.pick(2.0, 2.0, 1.5)
        scales = self.constant(numpy.array([1, 1, scale, scale], numpy.float32))
        if self.random.random() < 0.5:
            return self.add("Resize", [name, "", scales], mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric")
        return self.add("Resize", [name, "", scales], mode="linear",
                        coordinate_transformation_mode=self.pick("half_pixel", "align_corners", "asymmetric"))

    def transposed(self, name):
        channels, outputs = self.values[name].shape[1], int(self.random.integers(1, 9))
        weights = self.random.normal(0, 1 / numpy.sqrt(channels), (channels, outputs, 2, 2)).astype(numpy.float32)
        return self.add("ConvTranspose", [name, self.constant(weights)], kernel_shape=[2, 2], strides=[2, 2])

    def gate(self, name):
        mean = self.quantise(self.add("GlobalAveragePool", [name]))
        return self.add("Mul", [name, self.quantise(self.add("Sigmoid", [mean]))])

    def padded(self, name):
        pads = [0, 0, *self.random.integers(0, 3, 2), 0, 0, *self.random.integers(0, 3, 2)]
        return self.add("Pad", [name, self.constant(numpy.array(pads, numpy.int64))])

    def build(self):
        size = self.random.integers(6, 30, 2)
        shape = (1, 3, int(size[0]), int(size[1]))
        self.values["input"] = self.random.uniform(-1, 1, shape).astype(numpy.float32)
        last, sides = self.quantise("input", 1.0), []
        for _ in range(self.random.integers(2, 7)):
            kind = self.pick("conv", "conv", "conv", "conv", "pool", "resize", "add", "concat", "gate", "transposed",
                             "pad")
            value = self.values[last]
            if kind in ("resize", "transposed") and value.shape[2] * value.shape[3] > 600:
                kind = "conv"
            same = [s for s in sides if self.values[s].shape == value.shape and s != last]
            near = [s for s in sides if self.values[s].shape[2:] == value.shape[2:] and s != last]
            if kind == "add" and same:
                made = self.add("Add", [last, self.pick(*same)])
            elif kind == "concat" and near:
                made = self.add("Concat", [last, self.pick(*near)], axis=1)
            else:
                made = {"pool": self.pool, "resize": self.resize, "gate": self.gate, "transposed": self.transposed,
                        "pad": self.padded}.get(kind, self.conv)(last)
            if made == last:
                continue
            sides.append(last)
            last = self.quantise(made)
        outputs = [last]
        if self.random.random() < 0.5:
            flat = self.add("Reshape", [self.add("Transpose", [last], perm=[0, 2, 3, 1]),
                                        self.constant(numpy.array([1, -1, self.values[last].shape[1]], numpy.int64))])
            self.steps[flat] = self.step(last)
            outputs = [flat]
        return self.model(outputs)

    def model(self, outputs):
        """The model, its outputs' steps, and their values by the whole graph."""
        used = {i for n in self.nodes for i in n.input}
        graph = helper.make_graph(
            self.nodes, "random", [helper.make_tensor_value_info("input", TensorProto.FLOAT,
                                                                 self.values["input"].shape)],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, self.values[o].shape) for o in outputs],
            [c for c in self.constants if c.name in used])
        model = self.finished(graph)
        answers = session_of(model).run(None, {"input": self.values["input"]})
        return model, [self.step(o) for o in outputs], answers


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Faces(Graph):
    """Graphs of pictures with what face models have: slopes for each channel, bytes with and without a sign."""

    def __init__(self, seed):
        super().__init__(seed)
        self.signed = seed % 2 == 0

    def activation(self, name):
        name = name if name in self.steps else self.quantise(name)
        channels = self.values[name].shape[1]
        slopes = self.random.uniform(-0.2, 1.2, (channels, 1, 1)).astype(numpy.float32)
        return self.add("PRelu", [name, self.constant(slopes)])


class Swish(Graph):
    """`x * clip(x + 3, 0, 6) / 6` node by node, between factors and terms that were learnt, as text models have it;
    sometimes something else wants x too."""

    def activation(self, name):
        if name not in self.steps and self.random.random() < 0.6:
            name = self.quantise(name)

        def number(low, high):
            return self.constant(numpy.float32(self.random.uniform(low, high)))

        def line(name):
            return self.add("Add", [self.add("Mul", [number(0.5, 3), name]), number(-1, 1)])

        value = line(name)
        clip = self.add("Clip", [self.add("Add", [value, number(3, 3)]), number(0, 0), number(6, 6)])
        made = line(self.add("Div", [self.add("Mul", [value, clip]), number(6, 6)]))
        return self.add("Add", [made, value]) if self.random.random() < 0.25 else made


class Padded(Graph):
    """A Pad that its consumer cannot read from a halo, because no rule knows the consumer."""

    left = 1

    def build(self):
        self.values["input"] = self.random.uniform(-1, 1, (1, 3, 12, 14)).astype(numpy.float32)
        value = self.conv(self.quantise("input", 1.0))
        value = value if value in self.steps else self.quantise(value)
        pads = self.constant(numpy.array([0, 0, 1, 1, 0, 0, 1, 1], numpy.int64))
        padded = self.add("Pad", [value, pads, self.constant(numpy.float32("-inf"))])
        pool = self.add("MaxPool", [padded], kernel_shape=[2, 2], dilations=[2, 2], strides=[1, 1])
        return self.model([self.quantise(pool)])


class Counted(Graph):
    """Quantised constants that are cast to integers."""

    def build(self):
        self.values["input"] = self.random.uniform(-1, 1, (1, 1, 9, 5)).astype(numpy.float32)
        rows = self.random.integers(0, 17, 6).astype(numpy.int8)
        halves = self.add("DequantizeLinear", [self.constant(rows), self.constant(numpy.float32(0.5)),
                                               self.constant(numpy.int8(0))])
        places = self.add("Cast", [halves], to=TensorProto.INT64)
        return self.model([self.add("Gather", ["input", places], axis=2)])


def kinds():
    """Kinds of graphs: the first seed, how many fixtures, how many of 1000 random ones."""
    from fuzz_sound import Sound
    from fuzz_words import Turned, Words
    return [(Graph, 0, 50, 700), (Faces, 10_000, 4, 100), (Words, 20_000, 14, 200),
            (Padded, 30_000, 2, 0), (Counted, 40_000, 1, 0), (Turned, 50_000, 1, 10),
            (Swish, 60_000, 8, 100), (Sound, 70_000, 8, 100)]


def fixtures(folder, count):
    """Graphs that are small enough to lie in git."""
    folder, index = pathlib.Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9]*"):
        old.unlink()
    for kind, seed, wanted, _ in kinds():
        wanted = count if kind is Graph else wanted
        while wanted:
            seed += 1
            graph = kind(seed)
            model, steps, answers = graph.build()
            data = model.SerializeToString()
            values = numpy.concatenate([graph.values["input"].ravel(), *[a.ravel() for a in answers]]).astype("<f4")
            if len(data) + values.nbytes > 60_000:
                continue
            wanted -= 1
            (folder / f"{seed:04}.onnx").write_bytes(data)
            values.tofile(folder / f"{seed:04}.bin")
            operators = sorted(set(graph.operators) - {"QuantizeLinear", "DequantizeLinear"})
            index.append({"seed": seed, "input": list(graph.values["input"].shape), "steps": steps, "operators": operators}
                         | ({"left": graph.left} if graph.left else {}) | ({"signed": True} if graph.signed else {}))
    (folder / "index.json").write_text(json.dumps(index, indent=0) + "\n")


def fuzz(program, count):
    """Random graphs through the engine; tells the seeds that differ."""
    engine, bad, left, done = Engine(program), [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/graph.onnx"
        for kind, first, _, share in kinds():
            for seed in range(first + 1, first + 1 + count * share // 1000):
                graph = kind(seed)
                model, steps, answers = graph.build()
                onnx.save(model, path)
                done += 1
                if done % 200 == 0:
                    print(f"{done} graphs, {len(bad)} differ, {left} with nodes left to tract", flush=True)
                try:
                    left += engine.load("engine-int8", path)["fallbacks"] > 0
                    own = engine.run(graph.values["input"])
                except RuntimeError as error:
                    bad.append((seed, str(error)[:200]))
                    continue
                for answer, mine, step in zip(answers, own, steps):
                    off = numpy.abs(answer - mine) / step
                    if not (off > 1.01).sum() <= 0.002 * off.size + 1 or not off.max() <= 8:
                        bad.append((seed, f"{(off > 1.01).sum()} of {off.size} off, at most {off.max():.2f} steps",
                                    graph.operators))
    for line in bad:
        print(*line)
    print(f"{done} graphs, {len(bad)} differ, {left} with nodes left to tract", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    command, place, *rest = sys.argv[1:]
    if command == "fixtures":
        fixtures(place, int(rest[0]) if rest else 50)
    else:
        fuzz(place, int(rest[0]) if rest else 2000)
