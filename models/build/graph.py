"""Surgery on ONNX graphs: cut, fix shapes, fold constants, quantise to int8."""

import json
import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_static

OPSET = 13
IR_VERSION = 7


def ordered(nodes, outputs):
    """The nodes that the outputs need, each after those it feeds on, in an order that only the graph's form decides."""
    makers = {name: node for node in nodes for name in node.output}
    done, order = set(), []
    waiting = [(name, False) for name in reversed(outputs)]
    while waiting:
        name, fed = waiting.pop()
        node = makers.get(name)
        if node is None or node.output[0] in done:
            continue
        if fed:
            done.add(node.output[0])
            order.append(node)
        else:
            waiting.append((name, True))
            waiting.extend((source, False) for source in reversed(node.input))
    return order


def plain(model, opset=OPSET):
    """The model written the way every build writes it, whatever names and order the converter came upon.

    tf2onnx numbers its tensors in an order that changes from run to run, so nodes and inner tensors are
    ordered and named anew; inputs and outputs keep their names. No metadata, no inner shapes, one opset.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = ordered(graph.node, [output.name for output in graph.output])
    names = {entry.name: entry.name for entry in [*graph.input, *graph.output] if entry.name not in weights}
    kept = []
    for place, node in enumerate(nodes):
        if any(attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
               for attribute in node.attribute):
            raise SystemExit(f"error: {node.name} holds a graph of its own, which is not provided for")
        for name in filter(None, node.input):
            if name in weights and name not in names:
                names[name] = f"w{len(kept)}"
                kept.append(weights[name])
        for slot, name in enumerate(filter(None, node.output)):
            names.setdefault(name, f"t{place}_{slot}")
    fresh = []
    for place, node in enumerate(nodes):
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        copy = helper.make_node(node.op_type, [names.get(name, "") for name in node.input],
                                [names.get(name, "") for name in node.output], f"{node.op_type}_{place}")
        copy.attribute.extend(attributes)
        fresh.append(copy)
    for tensor in kept:
        tensor.name, tensor.doc_string = names[tensor.name], ""
    inputs = [entry for entry in graph.input if entry.name not in weights]
    return helper.make_model(
        helper.make_graph(fresh, "model", inputs, list(graph.output), kept),
        opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION, producer_name="aimass")


def save(model, path):
    """Writes a model that is whole and sound, the same bytes for the same graph."""
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def cut(model, name, shape):
    """The part of a graph behind one tensor, which becomes the only input."""
    wanted = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if wanted & set(node.output) and name not in node.output:
            kept.append(node)
            wanted |= set(node.input)
    entry = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    graph = helper.make_graph(kept[::-1], "model", [entry], list(model.graph.output), weights)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=IR_VERSION)


def with_shape(model, name, shape):
    """Writes the true shape of the input and lets those of the outputs follow from it."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for entry in [entry for entry in model.graph.input if entry.name in weights]:
        model.graph.input.remove(entry)
    (entry,) = model.graph.input
    if entry.name != name:
        raise SystemExit(f"error: the graph's input is {entry.name}, model.toml says {name}")
    entry.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def folded(model, weights=False):
    """The same graph after onnxruntime's basic optimisation: constants folded, normalisation merged into Conv.

    With `weights`, those that are stored as bytes too.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.disable_quant_qdq", str(int(weights)))
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


class Tensors(CalibrationDataReader):
    """Hands the calibration tensors over one by one."""

    def __init__(self, name, tensors):
        self.rest = ({name: tensor} for tensor in tensors)

    def get_next(self):
        return next(self.rest, None)


def quantised(source, target, ranges, kinds, name, tensors):
    """Int8 copy of a file: QDQ, uint8 activations, int8 weights for each channel, only the named kinds of node.

    The activations' ranges come from the file `ranges`; when it is not there they are measured on the
    tensors and written to it. Quantising every kind of node ruins these detectors, and int8 activations
    load in tract but give wrong answers in silence; hence this recipe.
    """
    if not ranges.exists():
        ranges.parent.mkdir(exist_ok=True)
        quantised_once(source, target, ranges, kinds, Tensors(name, tensors))
        # One tensor a line, so that a change can be read.
        measured = json.loads(ranges.read_text())
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(measured['data'][key])}" for key in sorted(measured["data"]))
        measured["data"] = "HERE"
        ranges.write_text(json.dumps(measured).replace('"HERE"', "{\n" + lines + "\n}") + "\n")
        ranges.chmod(0o644)
    quantised_once(source, target, ranges, kinds, None)
    save(plain(onnx.load(target)), target)


def quantised_once(source, target, ranges, kinds, reader):
    """One call of onnxruntime's quantiser; without a reader it takes the ranges of the file."""
    quantize_static(
        str(source), str(target), reader, calibration_cache_path=str(ranges),
        quant_format=QuantFormat.QDQ, per_channel=True, op_types_to_quantize=kinds,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax, calibration_providers=["CPUExecutionProvider"])
