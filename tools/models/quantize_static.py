#!/usr/bin/env python3
"""Quantise the convolutions of a model to int8 with onnxruntime's own tool.

    quantize_static.py IN.onnx OUT.onnx --tensors FILE.f32 --shape 1 3 416 416

FILE.f32 holds the calibration inputs, one after the other, as little-endian 32-bit floats of that shape: the
tensors that the engine made of real frames, so that ranges are measured on what the model will see.

Static quantisation with QuantizeLinear and DequantizeLinear pairs; weights signed and per output channel,
activations unsigned (onnxruntime's x86 kernels for signed activations are slower); ranges are the least and the
greatest value seen. Convolutions are quantised, and what lies between two of them and only hands values on or adds
them, so that they need not become floats on the way. What leads to an output is not: values of different kinds would
get one scale there, as the Concat of a head gives to scores and coordinates.

`sluice models quantize` runs this. Needs numpy, onnx and onnxruntime.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
from onnxruntime.quantization import (
    CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process


# Operators that may be quantised between convolutions.
PASSING = {"Add", "Concat", "LeakyRelu", "MaxPool", "Relu", "Resize"}
# The first in which DequantizeLinear has an axis.
OPSET_MIN = 13


class Tensors(CalibrationDataReader):
    """Feeds the calibration inputs one by one; says how far it is on standard output."""

    def __init__(self, name, path, shape):
        self.name = name
        self.tensors = np.memmap(path, np.dtype("<f4"), mode="r").reshape(-1, *shape)
        self.taken = 0

    def get_next(self):
        if self.taken == len(self.tensors):
            return None
        print(f"calibrating on frame {self.taken + 1} of {len(self.tensors)}", flush=True)
        self.taken += 1
        return {self.name: np.ascontiguousarray(self.tensors[self.taken - 1])}


def input_name(graph):
    """Name of the one input that is no initializer."""
    constants = {item.name for item in graph.initializer}
    (name,) = [item.name for item in graph.input if item.name not in constants]
    return name


def between_convolutions(graph):
    """Names of the convolutions, and of the passing operators all of whose readers are such or convolutions."""
    outputs = {item.name for item in graph.output}
    readers, names = {}, []
    # From the end, since a graph lies in the order in which it runs: all readers of a node have been seen.
    for node in reversed(graph.node):
        following = [is_chosen for name in node.output for is_chosen in readers.get(name, [])]
        leads_on = bool(following) and all(following) and outputs.isdisjoint(node.output)
        is_chosen = node.op_type == "Conv" or (node.op_type in PASSING and leads_on)
        if is_chosen:
            names.append(node.name)
        for name in node.input:
            readers.setdefault(name, []).append(is_chosen)
    return names


def name_nodes(graph):
    """Gives each operator a name of its own: what is to be quantised is said by name, and a file may have none."""
    for index, node in enumerate(graph.node):
        node.name = f"{index}.{node.op_type}"


def make_current(source, target):
    """The model in operators that know a scale per channel: `source` itself, or converted, `target`."""
    model = onnx.load(source)
    (version,) = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if version >= OPSET_MIN:
        return source
    print(f"converting operators of version {version} to {OPSET_MIN}", flush=True)
    onnx.save(onnx.version_converter.convert_version(model, OPSET_MIN), target)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--tensors", type=Path, required=True, help="the calibration inputs, little-endian f32")
    parser.add_argument("--shape", type=int, nargs="+", required=True, help="the shape of one of them")
    arguments = parser.parse_args()

    # It advises to preprocess the model, which is done below.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        current = make_current(arguments.source, Path(scratch) / "current.onnx")
        prepared = Path(scratch) / "prepared.onnx"
        # Fuses what can be fused before ranges are measured. The symbolic inference of shapes needs sympy and
        # gives nothing that convolutions need.
        quant_pre_process(current, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        name_nodes(model.graph)
        onnx.save(model, prepared)
        tensors = Tensors(input_name(model.graph), arguments.tensors, arguments.shape)
        quantize_static(
            prepared, arguments.target, tensors, quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax, op_types_to_quantize=["Conv", *sorted(PASSING)],
            nodes_to_quantize=between_convolutions(model.graph))
    onnx.checker.check_model(str(arguments.target), full_check=True)


if __name__ == "__main__":
    main()
