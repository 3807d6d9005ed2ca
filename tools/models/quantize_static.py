#!/usr/bin/env python3
"""Quantise the convolutions of a model to int8 with onnxruntime's own tool.

    quantize_static.py IN.onnx OUT.onnx --tensors FILE.f32 --shape 1 3 416 416

FILE.f32 holds the calibration inputs, one after the other, as little-endian 32-bit floats of that shape: the
tensors that the engine made of real frames, so that ranges are measured on what the model will see.

Static quantisation with QuantizeLinear and DequantizeLinear pairs; weights signed and per output channel,
activations unsigned (onnxruntime's x86 kernels for signed activations are slower); ranges are the least and the
greatest value seen. Only convolutions are quantised: nearly all of the time is theirs, and what lies between
them (activations, sums, the heads' softmax) loses more than it gains.

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


def input_name(path):
    """Name of the one input that is no initializer."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {item.name for item in graph.initializer}
    (name,) = [item.name for item in graph.input if item.name not in constants]
    return name


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
        tensors = Tensors(input_name(prepared), arguments.tensors, arguments.shape)
        quantize_static(
            prepared, arguments.target, tensors, quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax, op_types_to_quantize=["Conv"])
    onnx.checker.check_model(str(arguments.target), full_check=True)


if __name__ == "__main__":
    main()
