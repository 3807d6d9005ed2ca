#!/usr/bin/env python3
"""Writes fails_on_white.onnx: a model of NanoDet's shapes, side 32, that finds nothing and fails on bright pictures.

The largest input value, cut to an integer, is an index into a table of two: white is over 2. Needs onnx.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIDE, CLASSES, BINS = 32, 80, 11

nodes = [
    helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
    helper.make_node("Relu", ["brightest"], ["positive"]),
    helper.make_node("Cast", ["positive"], ["index"], to=TensorProto.INT64),
    helper.make_node("Gather", ["table", "index"], ["value"]),
]
constants = [helper.make_tensor("table", TensorProto.FLOAT, [2], [0.01, 0.01])]
outputs = []
for kind, values in (("cls", CLASSES), ("reg", 4 * BINS)):
    for stride in (8, 16, 32):
        shape = [1, (SIDE // stride) ** 2, values]
        name = f"{kind}{stride}"
        constants.append(helper.make_tensor(f"{name}_shape", TensorProto.INT64, [3], shape))
        nodes.append(helper.make_node("Expand", ["value", f"{name}_shape"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
graph = helper.make_graph(nodes, "fails_on_white", [images], outputs, constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, Path(__file__).with_suffix(".onnx"))
