"""Models in onnxruntime's own file format as ONNX, with its fused operators taken apart again.

Only what Moonshine's encoder needs. Products of bytes become products of f32 with weights that stay bytes in the
file: the same weights, without the rounding of activations.
"""

import tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import helper, numpy_helper


def load(path):
    """The model of a file."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.optimized_model_filepath = str(target)
        options.add_session_config_entry("session.save_model_format", "ONNX")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(target)
    Rewrite(model.graph).all()
    for opset in [o for o in model.opset_import if o.domain]:
        model.opset_import.remove(opset)
    return model


class Rewrite:
    """Replaces the fused nodes of a graph, one after the other."""

    def __init__(self, graph):
        self.graph = graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.quantised = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "DynamicQuantizeLinear"}
        self.nodes, self.names = [], 0

    def all(self):
        for node in self.graph.node:
            if node.op_type == "DynamicQuantizeLinear":
                continue
            if not node.domain:
                self.nodes.append(node)
                continue
            rule = getattr(self, node.op_type, None)
            if rule is None:
                raise SystemExit(f"error: no rule takes apart {node.domain} {node.op_type}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            rule([*node.input, *[""] * 7], list(node.output), attributes)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def add(self, operator, inputs, output=None, **attributes):
        """A node; answers the name of what it makes."""
        if output is None:
            self.names += 1
            output = f"apart.{self.names}"
        self.nodes.append(helper.make_node(operator, [i for i in inputs if i], [output], **attributes))
        return output

    def constant(self, value):
        self.names += 1
        name = f"apart.{self.names}"
        self.graph.initializer.append(numpy_helper.from_array(numpy.float32(value), name))
        return name

    def product(self, left, right, scale, zero, bias, output):
        """A product with a matrix of bytes, which has a scale for all or for each column."""
        by_column = numpy.prod(self.weights[scale].dims) > 1
        matrix = self.add("DequantizeLinear", [right, scale, zero], **({"axis": 1} if by_column else {}))
        made = self.add("MatMul", [left, matrix], None if bias else output)
        if bias:
            self.add("Add", [made, bias], output)

    def DynamicQuantizeMatMul(self, inputs, outputs, _):
        left, right, scale, zero, bias = inputs[:5]
        self.product(left, right, scale, zero, bias, outputs[0])

    def MatMulIntegerToFloat(self, inputs, outputs, _):
        left, right, _, scale, _, zero, bias = inputs[:7]
        self.product(self.quantised[left], right, scale, zero, bias, outputs[0])

    def FusedMatMul(self, inputs, outputs, attributes):
        sides = list(inputs[:2])
        for side, key in enumerate(("transA", "transB")):
            if attributes.get(key):
                sides[side] = self.add("Transpose", [sides[side]], perm=[0, 1, 3, 2])
        made = self.add("MatMul", sides)
        self.add("Mul", [made, self.constant(attributes.get("alpha", 1))], outputs[0])

    def Gelu(self, inputs, outputs, _):
        value = inputs[0]
        half = self.add("Mul", [value, self.constant(0.5)])
        bent = self.add("Erf", [self.add("Mul", [value, self.constant(0.5**0.5)])])
        self.add("Mul", [half, self.add("Add", [bent, self.constant(1)])], outputs[0])

    def FusedConv(self, inputs, outputs, attributes):
        activation = attributes.pop("activation").decode()
        attributes.pop("activation_params", None)
        self.add(activation, [self.add("Conv", inputs[:3], **attributes)], outputs[0])

    def SkipLayerNormalization(self, inputs, outputs, attributes):
        value, skip, scale, shift, bias = inputs[:5]
        summed = self.add("Add", [value, skip], None if bias else next(iter(outputs[3:]), None))
        if bias:
            summed = self.add("Add", [summed, bias], next(iter(outputs[3:]), None))
        self.add("LayerNormalization", [summed, scale, shift], outputs[0], axis=-1,
                 epsilon=attributes.get("epsilon", 1e-5))
