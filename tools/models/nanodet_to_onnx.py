#!/usr/bin/env python3
"""Convert the TensorFlow.js graph of NanoDet 416 (COCO-80) to ONNX.

    nanodet_to_onnx.py nanodet.json OUT.onnx

The TensorFlow.js graph is itself a converted NCHW network, so nearly half of its nodes turn tensors
to NHWC and back. Here every activation stays in NCHW. A TensorFlow tensor is followed as a `View`: the
name of an ONNX tensor in NCHW and the order in which TensorFlow sees its axes, so that a transpose
costs a change of that order and no node. What else is changed, each without a change of the result:

- `Add` of a bias goes into its convolution, `Pad` into the convolution or the pooling behind it;
- `LeakyRelu` goes behind the pooling that reads it (it is monotonic), where there is a quarter of the pixels;
- bilinear halving with half-pixel centres is the mean of 2 x 2 pixels: a depthwise convolution;
- the split of a head into scores and distances becomes two convolutions, so that each has a range of its
  own when it is quantised;
- a head is transposed while it still is [N,C,H,W]: runtimes that keep channels last then have nothing to do.

In:  images f32 [N,3,416,416], BGR, mean [103.53,116.28,123.675], deviation [57.375,57.12,58.395].
Out: cls8, cls16, cls32 f32 [N,cells,80], sigmoid done; reg8, reg16, reg32 f32 [N,cells,44].
Needs numpy, onnx, and tfjs.py beside it.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tfjs

SIDE = 416
CLASSES = 80
# The signature's names, in the order in which the outputs are declared.
OUTPUTS = {
    "Identity": "cls8",
    "Identity_1": "cls16",
    "Identity_2": "cls32",
    "Identity_3": "reg8",
    "Identity_4": "reg16",
    "Identity_5": "reg32",
}
NCHW = (0, 1, 2, 3)
NHWC = (0, 2, 3, 1)


class View(NamedTuple):
    """A TensorFlow tensor: axis i of it is axis `order[i]` of the ONNX tensor `name`."""

    name: str
    order: tuple
    shape: tuple  # Of the ONNX tensor, batch included.
    pads: tuple = (0, 0, 0, 0)  # Top, left, bottom, right: owed to the next convolution or pooling.
    slope: float | None = None  # A LeakyRelu, owed behind the next pooling.
    sigmoid: bool = False  # Owed at the end of a head.


class Converter:
    def __init__(self, path):
        graph = tfjs.Graph(path)
        self.tf_nodes, self.constants, self.readers = graph.nodes, graph.constants, graph.readers
        self.views = {}
        self.nodes = []
        self.initializers = []

    def convert(self):
        for target in OUTPUTS:
            self.visit(target)
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
        outputs = []
        for name in OUTPUTS.values():
            cells = (SIDE // int(name[3:])) ** 2
            width = CLASSES if name.startswith("cls") else 44
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", cells, width]))
        graph = helper.make_graph(self.nodes, "nanodet-416", [image], outputs, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9,
                                  producer_name="sluice")
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model

    def visit(self, name):
        """Converts `name` after its inputs. The graph is under 300 nodes deep, so recursion will do."""
        name = name.split(":")[0]
        if name in self.views or name in self.constants:
            return
        node = self.tf_nodes[name]
        for source in node.get("input", []):
            self.visit(source)
        if name not in self.views:  # A convolution converts the bias and the head behind it too.
            getattr(self, "op_" + node["op"])(node)

    # Helpers.

    def view(self, node, index=0):
        return self.views[node["input"][index]]

    def constant(self, node, index):
        return self.constants[node["input"][index]]

    def weight(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def emit(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    @staticmethod
    def require(condition, node):
        tfjs.require(condition, node, "NanoDet")

    @staticmethod
    def label(node):
        return node["name"].split("/")[-1].replace("onnx_tf_prefix_", "")

    # Operators.

    def op_Placeholder(self, node):
        self.views[node["name"]] = View("images", NCHW, (1, 3, SIDE, SIDE))

    def op_Transpose(self, node):
        view = self.view(node)
        order = tuple(view.order[axis] for axis in self.constant(node, 1))
        self.views[node["name"]] = view._replace(order=order)

    def op_Pad(self, node):
        view = self.view(node)
        amounts = np.zeros((4, 2), int)
        for axis, amount in zip(view.order, self.constant(node, 1)):
            amounts[axis] = amount
        self.require(not amounts[:2].any() and not any(view.pads), node)
        value = float(self.constant(node, 2)) if node["op"] == "PadV2" else 0.0
        # ONNX pads pooling with minus infinity, which this value stands for.
        only_pooling = all(self.feeds_pooling(reader) for reader in self.readers[node["name"]])
        self.require(value < -1e30 if only_pooling else value == 0.0, node)
        self.views[node["name"]] = view._replace(pads=tuple(int(x) for x in amounts[2:].T.ravel()))

    op_PadV2 = op_Pad

    def feeds_pooling(self, node):
        if node["op"] in ("Transpose", "PadV2"):
            return all(self.feeds_pooling(reader) for reader in self.readers[node["name"]])
        return node["op"] == "MaxPool"

    def op_Conv2D(self, node):
        view = self.view(node)
        self.require(view.order == NHWC and tfjs.string(node, "padding") == "VALID", node)
        self.require(tfjs.integers(node, "dilations") == [1, 1, 1, 1], node)
        (bias_node,) = self.readers[node["name"]]
        self.require(bias_node["op"] == "Add", node)
        kernel = self.constant(node, 1).transpose(3, 2, 0, 1)
        bias = self.constant(bias_node, 1).reshape(-1)
        stride = tfjs.integers(node, "strides")[1]
        top, left, bottom, right = view.pads
        size = [(view.shape[2] + top + bottom - kernel.shape[2]) // stride + 1,
                (view.shape[3] + left + right - kernel.shape[3]) // stride + 1]

        def conv(label, part):
            inputs = [view.name, self.weight(label + ".weight", kernel[part]), self.weight(label + ".bias", bias[part])]
            self.emit("Conv", inputs, label, kernel_shape=kernel.shape[2:], strides=[stride, stride], pads=view.pads)
            return View(label, NHWC, (1, len(bias[part]), *size))

        split = self.head_split(bias_node)
        if split is None:
            self.views[bias_node["name"]] = conv(self.label(node), slice(None))
        else:
            sizes = np.cumsum(self.constant(split, 1))
            self.require(sizes.tolist() == [CLASSES, len(bias)], node)
            self.views[split["name"]] = conv(self.label(node) + ".cls", slice(0, CLASSES))._replace(order=NCHW)
            self.views[split["name"] + ":1"] = conv(self.label(node) + ".reg", slice(CLASSES, None))._replace(order=NCHW)
            self.views[bias_node["name"]] = None  # Read by nothing but the split.
        self.views[node["name"]] = None  # Read by nothing but the bias.

    def head_split(self, bias_node):
        """The channel split that alone reads this convolution, if there is one."""
        transposes = self.readers[bias_node["name"]]
        behind = [reader for node in transposes for reader in self.readers[node["name"]]]
        if [node["op"] for node in transposes + behind] == ["Transpose", "SplitV"]:
            self.views[transposes[0]["name"]] = None
            self.require(int(self.constant(behind[0], 2)) == 1, behind[0])
            return behind[0]
        return None

    def op_MaxPool(self, node):
        view = self.view(node)
        self.require(view.order == NHWC and tfjs.string(node, "padding") == "VALID", node)
        kernel, stride = tfjs.integers(node, "ksize")[1:3], tfjs.integers(node, "strides")[1:3]
        name = self.emit("MaxPool", [view.name], self.label(node), kernel_shape=kernel, strides=stride, pads=view.pads)
        if view.slope is not None:
            name = self.emit("LeakyRelu", [name], self.label(node) + ".LeakyRelu", alpha=view.slope)
        size = [(view.shape[i + 2] + view.pads[i] + view.pads[i + 2] - kernel[i]) // stride[i] + 1 for i in (0, 1)]
        self.views[node["name"]] = View(name, NHWC, (*view.shape[:2], *size))

    def op_ResizeBilinear(self, node):
        view = self.view(node)
        self.require(view.order == NHWC and node["attr"]["half_pixel_centers"]["b"], node)
        self.require(not node["attr"]["align_corners"]["b"], node)
        size = tuple(int(x) for x in self.constant(node, 1))
        # Both resizes of the graph are named ResizeBilinear; the folder tells them apart.
        label = node["name"].split("/")[-2]
        if size == (view.shape[2] // 2, view.shape[3] // 2):
            mean = self.weight(label + ".weight", np.full((view.shape[1], 1, 2, 2), 0.25, np.float32))
            name = self.emit("Conv", [view.name, mean], label, group=view.shape[1], kernel_shape=[2, 2], strides=[2, 2])
        else:
            self.require(size == (view.shape[2] * 2, view.shape[3] * 2), node)
            scales = self.weight(label + ".scales", np.float32([1, 1, 2, 2]))
            name = self.emit("Resize", [view.name, "", scales], label, mode="linear",
                             coordinate_transformation_mode="half_pixel")
        self.views[node["name"]] = View(name, NHWC, (*view.shape[:2], *size))

    def op_ConcatV2(self, node):
        views = [self.view(node, index) for index in range(len(node["input"]) - 1)]
        axis = views[0].order[int(self.constant(node, len(views)))]
        self.require(axis == 1 and len({view.order for view in views}) == 1, node)
        name = self.emit("Concat", [view.name for view in views], self.label(node), axis=1)
        channels = sum(view.shape[1] for view in views)
        self.views[node["name"]] = views[0]._replace(name=name, shape=(1, channels, *views[0].shape[2:]))

    def op_Add(self, node):
        left, right = self.view(node, 0), self.view(node, 1)
        self.require(left.order == right.order and left.shape == right.shape, node)
        self.views[node["name"]] = left._replace(name=self.emit("Add", [left.name, right.name], self.label(node)))

    def op_LeakyRelu(self, node):
        view = self.view(node)
        alpha = float(node["attr"]["alpha"]["f"])
        if all(self.feeds_pooling(reader) for reader in self.readers[node["name"]]):
            self.views[node["name"]] = view._replace(slope=alpha)
        else:
            name = self.emit("LeakyRelu", [view.name], self.label(node), alpha=alpha)
            self.views[node["name"]] = view._replace(name=name)

    # A head: the convolution, then Sigmoid for scores, Reshape to [N,C,H*W], Transpose, Identity.

    def op_Sigmoid(self, node):
        self.views[node["name"]] = self.view(node)._replace(sigmoid=True)

    def op_Reshape(self, node):
        view = self.view(node)
        self.require(view.order == NCHW, node)
        self.views[node["name"]] = view._replace(order=(0, 1, 2))

    def op_Identity(self, node):
        view, output = self.view(node), OUTPUTS[node["name"]]
        self.require(view.order == (0, 2, 1) and view.sigmoid == output.startswith("cls"), node)
        _, channels, height, width = view.shape
        name = self.emit("Transpose", [view.name], output + ".transposed", perm=NHWC)
        shape = self.weight(output + ".shape", np.int64([0, height * width, channels]))
        name = self.emit("Reshape", [name, shape], output + ".logits" if view.sigmoid else output)
        if view.sigmoid:
            self.emit("Sigmoid", [name], output)
        self.views[node["name"]] = view

    # The shape arithmetic in front of the reshapes; `op_Identity` knows its result.

    def op_SparseToDense(self, node):
        self.views[node["name"]] = None

    op_AddV2 = op_SparseToDense


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="nanodet.json, with nanodet.bin beside it")
    parser.add_argument("target", type=Path, help="the ONNX file to write")
    arguments = parser.parse_args()
    model = Converter(arguments.source).convert()
    onnx.save(model, arguments.target)
    print(f"{arguments.target}: {len(model.graph.node)} nodes, {arguments.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
