"""Surgery on ONNX graphs: cut, fix shapes, fold constants, quantise to int8."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_static

OPSET = 13
IR_VERSION = 7


def plain(model):
    """Leaves only what tract needs and every build writes alike: no metadata, one opset, no value shapes."""
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "aimass", "", ""
    model.graph.name, model.graph.doc_string = "model", ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
    used = {name for node in model.graph.node for name in node.input}
    unused = [tensor for tensor in model.graph.initializer if tensor.name not in used]
    for tensor in unused:
        model.graph.initializer.remove(tensor)
    onnx.checker.check_model(model)
    return model


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


def folded(model):
    """The same graph after onnxruntime's basic optimisation: constants folded, normalisation merged into Conv."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


class Tensors(CalibrationDataReader):
    """Hands the calibration tensors over one by one."""

    def __init__(self, name, tensors):
        self.rest = ({name: tensor} for tensor in tensors)

    def get_next(self):
        return next(self.rest, None)


def quantised(source, target, name, tensors, kinds):
    """Int8 copy of a file: QDQ, uint8 activations, int8 weights for each channel, only the named kinds of node.

    Quantising every kind of node ruins these detectors, and int8 activations load in tract but give
    wrong answers in silence; hence this recipe.
    """
    quantize_static(
        str(source), str(target), Tensors(name, tensors),
        quant_format=QuantFormat.QDQ, per_channel=True, op_types_to_quantize=kinds,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        calibration_providers=["CPUExecutionProvider"],
        extra_options={"CalibMovingAverage": False},
    )
    model = plain(onnx.load(target))
    onnx.save(model, target)
    return model


def largest_difference(first, second, tensors, name):
    """Largest absolute difference of two files' outputs over some inputs, relative to the largest output."""
    worst = 0.0
    sessions = [onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                for path in (first, second)]
    for tensor in tensors:
        for left, right in zip(*(session.run(None, {name: tensor}) for session in sessions)):
            worst = max(worst, float(np.abs(left - right).max() / np.abs(left).max()))
    return worst
