"""Random small graphs of what transformers are made of: embeddings, products, attention, normalisation, masks.

Used by fuzz_engine.py.
"""

import numpy
from onnx import TensorProto

from fuzz_engine import Graph


class Words(Graph):
    """A chain of layers over a few words."""

    opset = 17

    def __init__(self, seed):
        super().__init__(seed)
        self.signed, self.by_range = False, False

    def floats(self, *shape, reach=1.0):
        return self.constant((self.random.normal(0, reach, shape)).astype(numpy.float32))

    def number(self, value):
        return self.constant(numpy.float32(value))

    def integers(self, *values):
        return self.constant(numpy.array(values, numpy.int64))

    def shape(self, name):
        return self.values[name].shape

    def reshape(self, name, *shape):
        return self.add("Reshape", [name, self.integers(*shape)])

    def weights(self, rows, columns):
        """A matrix of 8 bits as files have it, as f32."""
        values = self.random.integers(-127, 128, (rows, columns)).astype(numpy.int8)
        scales = (self.random.uniform(0.5, 2, columns) / 73 / numpy.sqrt(rows)).astype(numpy.float32)
        if self.random.random() < 0.5:
            cast = self.add("Cast", [self.constant(values)], to=TensorProto.FLOAT)
            return self.add("Mul", [cast, self.constant(scales[None])])
        return self.add("DequantizeLinear", [self.constant(values), self.constant(scales),
                                             self.constant(numpy.zeros(columns, numpy.int8))], axis=1)

    def product(self, name, columns):
        rows = self.shape(name)[-1]
        kind = self.pick("floats", "weights", "by range")
        if kind == "floats":
            return self.add("MatMul", [name, self.floats(rows, columns, reach=1 / numpy.sqrt(rows))])
        if kind == "weights":
            return self.add("MatMul", [name, self.weights(rows, columns)])
        self.by_range = True
        values = self.constant(self.random.integers(-127, 128, (rows, columns)).astype(numpy.int8))
        each = columns if self.random.random() < 0.7 else 1
        scales = self.constant((self.random.uniform(0.5, 2, each) / 73 / numpy.sqrt(rows)).astype(numpy.float32))
        data, scale, zero = self.add_three("DynamicQuantizeLinear", [name])
        inputs = [data, values, zero]
        if self.random.random() < 0.5:
            inputs.append(self.constant(numpy.int8(0)))
        sums = self.add("Cast", [self.add("MatMulInteger", inputs)], to=TensorProto.FLOAT)
        if self.random.random() < 0.5:
            return self.add("Mul", [sums, self.add("Mul", [scale, scales])])
        return self.add("Mul", [self.add("Mul", [sums, scale]), scales])

    def add_three(self, operator, inputs):
        """A node of three outputs."""
        from fuzz_engine import TYPES, helper, session_of
        names = [f"v{len(self.nodes)}_{n}" for n in range(3)]
        node = helper.make_node(operator, inputs, names)
        known = {i: self.values[i] for i in inputs}
        entries = [helper.make_tensor_value_info(i, TYPES[v.dtype], v.shape) for i, v in known.items()]
        graph = helper.make_graph([node], "one", entries, [helper.make_empty_tensor_value_info(n) for n in names])
        self.nodes.append(node)
        self.values.update(zip(names, session_of(self.finished(graph)).run(None, known)))
        self.operators.append(operator)
        return names

    def linear(self, name, columns=None):
        columns = columns or int(self.random.integers(2, 40))
        made = self.product(name, columns)
        if self.random.random() < 0.8:
            terms = [made, self.floats(columns)]
            made = self.add("Add", terms if self.random.random() < 0.5 else terms[::-1])
        return self.function(made)

    def function(self, name):
        kind = self.pick("none", "none", "Relu", "Tanh", "Sigmoid", "gelu", "gelu", "tanh gelu", "Erf", "silu")
        if kind in ("Relu", "Tanh", "Sigmoid", "Erf"):
            return self.add(kind, [name])
        if kind == "silu":
            return self.add("Mul", [name, self.add("Sigmoid", [name])])
        if kind == "gelu":
            order = self.pick("value", "sum", "end")
            half = self.add("Mul", [name, self.number(0.5)]) if order == "value" else name
            scaled = (self.add("Div", [name, self.number(numpy.sqrt(2))]) if self.random.random() < 0.5
                      else self.add("Mul", [name, self.number(1 / numpy.sqrt(2))]))
            total = self.add("Add", [self.add("Erf", [scaled]), self.number(1)])
            if order == "sum":
                total = self.add("Mul", [self.number(0.5), total])
            made = self.add("Mul", [half, total])
            return self.add("Mul", [made, self.number(0.5)]) if order == "end" else made
        if kind == "tanh gelu":
            cube = self.add("Mul", [self.add("Pow", [name, self.number(3)]), self.number(0.044715)])
            inner = self.add("Mul", [self.add("Add", [name, cube]), self.number(numpy.sqrt(2 / numpy.pi))])
            outer = self.add("Add", [self.add("Tanh", [inner]), self.number(1)])
            return self.add("Mul", [self.add("Mul", [name, self.number(0.5)]), outer])
        return name

    def norm(self, name):
        width = self.shape(name)[-1]
        scale, bias = self.floats(width), self.floats(width)
        if self.random.random() < 0.4:
            return self.add("LayerNormalization", [name, scale, bias], axis=-1, epsilon=1e-5)
        difference = self.add("Sub", [name, self.add("ReduceMean", [name], axes=[-1])])
        square = (self.add("Mul", [difference, difference]) if self.random.random() < 0.5
                  else self.add("Pow", [difference, self.number(2)]))
        variance = self.add("Add", [self.add("ReduceMean", [square], axes=[-1]), self.number(1e-5)])
        made = self.add("Div", [difference, self.add("Sqrt", [variance])])
        return self.add("Add", [self.add("Mul", [made, scale]), bias])

    def attention(self, name):
        count, width = self.shape(name)[1:]
        heads = self.pick(1, 2, 3)
        each = int(self.random.integers(1, 9))
        parts = []
        for axes in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
            part = self.reshape(self.product(name, heads * each), 1, count, heads, each)
            parts.append(self.add("Transpose", [part], perm=axes))
        scores = self.add("Mul", [self.add("MatMul", parts[:2]), self.number(1 / numpy.sqrt(each))])
        kind = self.pick("none", "add", "where", "where")
        if kind != "none":
            # The last word is looked at by nobody, or by whom the input says.
            row = self.add("Slice", ["input", self.integers(0), self.integers(1), self.integers(3)])
            seen = self.add("Greater", [self.reshape(row, 1, 1, 1, count), self.number(-0.5)])
            if kind == "where":
                scores = self.add("Where", [seen, scores, self.number(-1e4)])
            else:
                hidden = self.add("Sub", [self.number(1), self.add("Cast", [seen], to=TensorProto.FLOAT)])
                scores = self.add("Add", [scores, self.add("Mul", [hidden, self.number(-1e4)])])
        weights = self.add("Softmax", [scores], axis=-1)
        if self.random.random() < 0.3:
            weights = self.add("Where", [self.add("IsNaN", [weights]), self.number(0), weights])
        mixed = self.add("Transpose", [self.add("MatMul", [weights, parts[2]])], perm=[0, 2, 1, 3])
        return self.add("Add", [self.product(self.reshape(mixed, 1, count, heads * each), width), name])

    def gemm(self, name):
        count, width = self.shape(name)[1:]
        columns = int(self.random.integers(2, 20))
        turned = self.random.random() < 0.5
        matrix = self.floats(*((columns, width) if turned else (width, columns)), reach=1 / numpy.sqrt(width))
        made = self.add("Gemm", [self.reshape(name, count, width), matrix, self.floats(columns)], transB=int(turned))
        return self.reshape(made, 1, count, columns)

    def odd(self, name):
        """Axes that are cut, turned, repeated, summed."""
        count, width = self.shape(name)[1:]
        kind = self.pick("slice", "turn", "sum", "gate", "expand", "choose")
        if kind == "slice" and width > 2:
            start = int(self.random.integers(0, width - 1))
            return self.add("Slice", [name, self.integers(start), self.integers(width), self.integers(2)])
        if kind == "turn":
            turned = self.add("Transpose", [name], perm=[0, 2, 1])
            made = self.add("MatMul", [turned, name])
            return self.add("MatMul", [name, self.add("Softmax", [made], axis=-1)])
        if kind == "sum":
            mean = self.add("ReduceMean", [name], axes=[1])
            most = self.add("ReduceMax", [name], axes=[2])
            return self.add("Sub", [self.add("Add", [name, mean]), most])
        if kind == "gate":
            return self.add("Mul", [name, self.floats(count, 1)])
        if kind == "expand":
            row = self.add("Expand", [self.floats(1, width), self.integers(1, count, width)])
            return self.add("Concat", [name, row], axis=2)
        if kind == "choose":
            places = self.integers(*self.random.integers(-count, count, count))
            return self.add("Gather", [name, places], axis=1)
        return name

    def embedding(self, count):
        """Numbers of words in place of the input's own values."""
        places, width = int(self.random.integers(5, 50)), int(self.random.integers(3, 24))
        row = self.add("Slice", ["input", self.integers(0), self.integers(1), self.integers(3)])
        ids = self.add("Cast", [self.add("Mul", [row, self.number(places * 0.99)])], to=TensorProto.INT64)
        if self.random.random() < 0.5:
            table = self.floats(places, width)
        else:
            values = self.constant(self.random.integers(-127, 128, (places, width)).astype(numpy.int8))
            scales = self.constant(self.random.uniform(0.005, 0.02, (places, 1)).astype(numpy.float32))
            table = self.add("Mul", [self.add("Cast", [values], to=TensorProto.FLOAT), scales])
        return self.add("Gather", [table, self.reshape(ids, 1, count)], axis=0)

    def build(self):
        count, width = (int(n) for n in self.random.integers(2, 12, 2))
        self.values["input"] = self.random.uniform(-1, 1, (1, 1, count, width)).astype(numpy.float32)
        last = self.embedding(count) if self.random.random() < 0.4 else self.reshape("input", 1, count, width)
        for _ in range(self.random.integers(2, 6)):
            kind = self.pick(self.linear, self.linear, self.norm, self.attention, self.attention, self.gemm, self.odd)
            last = kind(last)
        if self.random.random() < 0.3:
            last = self.add("ReduceMean", [last], axes=[1], keepdims=0)
        # What is quantised by its own range may round otherwise at a tie, once for each such product.
        self.steps[last] = float(numpy.abs(self.values[last]).max()) * (2e-2 if self.by_range else 1e-4) + 1e-5
        return self.model([last])


class Turned(Words):
    """A square product that is turned before something is added: the addend goes along the other axis."""

    def build(self):
        count, width = (int(n) for n in self.random.integers(3, 12, 2))
        self.values["input"] = self.random.uniform(-1, 1, (1, 1, count, width)).astype(numpy.float32)
        product = self.add("MatMul", [self.reshape("input", 1, count, width), self.floats(width, count)])
        last = self.add("Add", [self.add("Transpose", [product], perm=[0, 2, 1]), self.floats(count)])
        self.steps[last] = float(numpy.abs(self.values[last]).max()) * 1e-4 + 1e-5
        return self.model([last])
