#!/usr/bin/env python3
"""Convert the TensorFlow.js graph of MobileFace, which embeds faces, to ONNX.

    mobileface_to_onnx.py mobileface.json OUT.onnx

Activations go from NHWC to NCHW: kernels are transposed, the rows of the dense layer are reordered, and no node is
spent on it. Paddings go into the convolutions behind them, max(x, 0) + gamma * min(x, 0) is one PRelu, and of the
normalisation in the graph only its scale is left, in the first convolution, so that the input is that of ArcFace.

In:  images f32 [N,3,112,112], RGB, (x - 127.5) / 127.5. A face, upright, its eyes and mouth where ArcFace has them
     (insightface, `face_align.py`).
Out: embedding f32 [N,256], of any length.
Needs numpy, onnx, and tfjs.py beside it.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tfjs

SIDE = 112
LENGTH = 256
OUTPUT = "batchnorm0/add_1"
# What is subtracted from pixels in the graph, and what they are divided by in front of it.
MEAN = DEVIATION = 127.5


class View(NamedTuple):
    """A TensorFlow tensor in NHWC: the ONNX tensor `name` in NCHW, or rows when it has no shape."""

    name: str
    shape: tuple | None  # Channels, height, width.
    pads: tuple = (0, 0, 0, 0)  # Top, left, bottom, right: owed to the next convolution.
    part: str | None = None  # "max" or "gamma * min" of a PRelu whose other part is not read yet.
    slope: str | None = None  # The constant gamma of such a part.
    scale: float = 1.0  # Owed to the next convolution; its padding is 0, so it can wait behind that.


class Converter:
    def __init__(self, path):
        graph = tfjs.Graph(path)
        self.tf_nodes, self.constants = graph.nodes, graph.constants
        self.views = {}
        self.nodes = []
        self.initializers = []

    def convert(self):
        output = self.visit(OUTPUT)
        self.emit("Identity", [output.name], "embedding")
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", LENGTH])
        graph = helper.make_graph(self.nodes, "mobileface", [image], [embedding], self.initializers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="sluice"
        )
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model

    def visit(self, name):
        """Converts `name` after its inputs. The graph is under 200 nodes deep, so recursion will do."""
        if name not in self.views:
            node = self.tf_nodes[name]
            self.views[name] = getattr(self, "op_" + node["op"])(node)
        return self.views[name]

    def view(self, node, index=0):
        return self.visit(node["input"][index])

    def constant(self, node, index):
        return self.constants[node["input"][index]]

    def is_constant(self, node, index):
        return node["input"][index] in self.constants

    def weight(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def emit(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    @staticmethod
    def require(condition, node):
        tfjs.require(condition, node, "MobileFace")

    def op_Placeholder(self, node):
        return View("images", (3, SIDE, SIDE))

    def op_Pad(self, node):
        amounts = self.constant(node, 1)
        self.require(not amounts[[0, 3]].any(), node)
        return self.view(node)._replace(pads=tuple(int(amount) for amount in amounts[1:3].T.ravel()))

    def convolution(self, node, kernel, group):
        view = self.view(node)
        self.require(tfjs.string(node, "padding") == "VALID", node)
        self.require(tfjs.integers(node, "dilations") == [1, 1, 1, 1], node)
        strides = tfjs.integers(node, "strides")[1:3]
        top, left, bottom, right = view.pads
        size = [
            (side + pads - length) // stride + 1
            for side, pads, length, stride in zip(view.shape[1:], (top + bottom, left + right), kernel.shape[2:], strides)
        ]
        name = self.emit(
            "Conv",
            [view.name, self.weight(node["name"] + ".weight", (kernel * view.scale).astype(np.float32))],
            node["name"],
            group=group,
            kernel_shape=kernel.shape[2:],
            strides=strides,
            pads=view.pads,
        )
        return View(name, (kernel.shape[0], *size))

    def op_Conv2D(self, node):
        return self.convolution(node, self.constant(node, 1).transpose(3, 2, 0, 1), 1)

    def op_DepthwiseConv2dNative(self, node):
        kernel = self.constant(node, 1)
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        return self.convolution(node, kernel, channels)

    # A PRelu: Maximum(0, x) + gamma * Minimum(0, x).

    def op_Maximum(self, node):
        return self.part(node, "max")

    def op_Minimum(self, node):
        return self.part(node, "min")

    def part(self, node, part):
        self.require(self.is_constant(node, 0) and not self.constant(node, 0).any(), node)
        return self.view(node, 1)._replace(part=part)

    def op_Mul(self, node):
        if self.is_constant(node, 0):
            view = self.view(node, 1)
            self.require(view.part == "min", node)
            return view._replace(part="gamma * min", slope=node["input"][0])
        view, scale = self.view(node), self.constant(node, 1)
        if view.shape is None:
            return self.with_constant("Mul", node)
        self.require(scale.size == 1 and view.name == "images", node)
        return view._replace(scale=float(scale.item()) * DEVIATION)

    def op_Sub(self, node):
        self.require(self.constant(node, 1).item() == MEAN, node)
        return self.view(node)

    def op_AddV2(self, node):
        if self.is_constant(node, 1):
            return self.with_constant("Add", node)
        one, other = self.view(node, 0), self.view(node, 1)
        self.require(one.shape == other.shape, node)
        if one.part == "max":
            self.require(other.part == "gamma * min" and other.name == one.name, node)
            slope = self.weight(other.slope, self.constants[other.slope].reshape(-1, 1, 1))
            return View(self.emit("PRelu", [one.name, slope], node["name"]), one.shape)
        self.require(one.part is None and other.part is None, node)
        return View(self.emit("Add", [one.name, other.name], node["name"]), one.shape)

    def with_constant(self, op, node):
        """One constant a column of rows."""
        view = self.view(node)
        self.require(view.shape is None, node)
        weight = self.weight(node["name"] + ".constant", self.constant(node, 1).reshape(-1))
        return View(self.emit(op, [view.name, weight], node["name"]), None)

    def op_Reshape(self, node):
        view = self.view(node)
        name = self.emit("Flatten", [view.name], node["name"], axis=1)
        # The dense layer behind it has to know in which order the values were.
        return View(name, view.shape)

    def op_MatMul(self, node):
        view = self.view(node)
        channels, height, width = view.shape
        kernel = self.constant(node, 1).reshape(height, width, channels, -1)
        kernel = kernel.transpose(2, 0, 1, 3).reshape(channels * height * width, -1)
        weight = self.weight(node["name"] + ".weight", kernel)
        return View(self.emit("MatMul", [view.name, weight], node["name"]), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="mobileface.json, with mobileface.bin beside it")
    parser.add_argument("target", type=Path, help="the ONNX file to write")
    arguments = parser.parse_args()
    model = Converter(arguments.source).convert()
    onnx.save(model, arguments.target)
    print(f"{arguments.target}: {len(model.graph.node)} nodes, {arguments.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
