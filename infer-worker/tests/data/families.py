#!/usr/bin/env python3
"""Writes the small models that the tests of families run: outputs of a family's shapes that depend on colour.

A value of an output is a constant, or grows with the mean of one channel of the picture: so a picture of one colour
gives objects that are known beforehand, and only if size, layout, order of channels and normalisation are right.
Needs numpy and onnx.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parent


class Model:
    def __init__(self, shape, element=TensorProto.FLOAT, interleaved=False):
        self.image = helper.make_tensor_value_info("images", element, shape)
        self.nodes, self.constants, self.outputs = [], [], []
        # [3]: the means of the channels.
        self.add("Cast", ["images"], "floats", to=TensorProto.FLOAT)
        channels = len(shape) - (1 if interleaved else 3)
        axes = [axis for axis in range(len(shape)) if axis != channels]
        self.add("ReduceMean", ["floats"], "means", axes=axes, keepdims=0)

    def add(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name, values, dtype=np.float32):
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def mean(self, channel):
        """[1]: the mean of one channel."""
        name = f"mean{channel}"
        if not any(name in node.output for node in self.nodes):
            self.add("Gather", ["means", self.constant(f"channel{channel}", [channel], np.int64)], name)
        return name

    def value(self, name, base, by_channel=()):
        """`base`, plus for each (channel, index, weight) the mean of the channel times the weight at that index."""
        base = np.asarray(base, np.float32)
        total = self.constant(f"{name}_base", base)
        for channel, index, weight in by_channel:
            mask = np.zeros_like(base)
            mask[index] = weight
            mask = self.constant(f"{name}_{channel}_weight", mask)
            part = self.add("Mul", [mask, self.mean(channel)], f"{name}_{channel}_part")
            total = self.add("Add", [total, part], f"{name}_{channel}_sum")
        return total

    def output(self, name, source, shape, element=TensorProto.FLOAT):
        self.add("Identity", [source], name)
        self.outputs.append(helper.make_tensor_value_info(name, element, shape))

    def save(self, name):
        graph = helper.make_graph(self.nodes, name, [self.image], self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, FOLDER / f"{name}.onnx")


def yolox():
    """Takes B, G, R from 0 to 255. Cell (1, 1) of stride 8 is a box of 16 x 8: class 0 of blue, class 1 of red."""
    model = Model([1, 3, 32, 32])
    base = np.zeros((1, 21, 7))
    base[0, 5] = [0.5, 0.5, np.log(2), 0, 1, 0, 0]
    value = model.value("value", base, [(0, (0, 5, 5), 1 / 255), (2, (0, 5, 6), 1 / 255)])
    model.output("output", value, base.shape)
    model.save("yolox")


def yolov8():
    """Takes R, G, B from 0 to 1, of any size. One point, a box of 20 x 10 around (16, 12), class 1 of red."""
    model = Model(["N", 3, "H", "W"])
    base = np.zeros((1, 6, 21))
    base[0, :4, 9] = [16, 12, 20, 10]
    model.output("output0", model.value("value", base, [(0, (0, 5, 9), 1)]), [1, 6, "A"])
    model.save("yolov8")


def yolov8_final():
    """As yolov8, but with suppression built in: two boxes that overlap, of red."""
    model = Model(["N", 3, "H", "W"])
    base = np.zeros((1, 4, 6))
    base[0, 0] = [2, 4, 22, 24, 0, 1]
    base[0, 1] = [2, 4, 22, 26, 0, 1]
    value = model.value("value", base, [(0, (0, slice(0, 2), 4), [0.9, 0.8])])
    model.output("output0", value, ["N", 4, 6])
    model.save("yolov8_final")


def scrfd():
    """Takes R, G, B from -1 to 1, of any size, but gives what fits 32 x 32. A face of red at stride 16, cell (1, 0)."""
    model = Model([1, 3, "H", "W"])
    for values in (1, 4, 10):
        for stride in (8, 16, 32):
            base = np.zeros((2 * (32 // stride) ** 2, values))
            by_channel = []
            if stride == 16:
                if values == 1:
                    by_channel = [(0, (2, 0), 0.9)]
                else:
                    base[2] = np.arange(values) / 4
            value = model.value(f"value{values}_{stride}", base, by_channel)
            model.output(f"out{values}_{stride}", value, ["?", values])
    model.save("scrfd")


def ssd_tensorflow():
    """Takes bytes R, G, B side by side, of any size. Class 2 of green in the left upper quarter; one of two rows."""
    model = Model([1, "H", "W", 3], TensorProto.UINT8, interleaved=True)
    boxes = [[[0, 0, 0.5, 0.5], [0, 0, 1, 1]]]
    model.output("detection_boxes", model.value("boxes", boxes), [1, 2, 4])
    model.output("detection_classes", model.value("classes", [[2, 1]]), [1, 2])
    scores = model.value("scores", [[0, 1]], [(1, (0, 0), 1 / 255)])
    model.output("detection_scores", scores, [1, 2])
    model.output("num_detections", model.value("count", [1]), [1])
    model.save("ssd_tensorflow")


def ssd_torchvision():
    """Takes one picture R, G, B from 0 to 1, of any size. Class 3 of blue, and nothing where there is little of it."""
    model = Model([3, "H", "W"])
    score = model.mean(2)
    model.add("Greater", [score, model.constant("half", [0.5])], "sure")
    model.add("NonZero", ["sure"], "places")
    model.add("Flatten", ["places"], "rows", axis=0)
    model.add("Squeeze", ["rows", model.constant("first", [0], np.int64)], "kept")
    model.output("boxes", model.add("Gather", [model.constant("box", [[4, 8, 12, 24]]), "kept"], "b"), ["K", 4])
    labels = model.add("Gather", [model.constant("label", [3], np.int64), "kept"], "l")
    model.output("labels", labels, ["K"], TensorProto.INT64)
    model.output("scores", model.add("Gather", [score, "kept"], "s"), ["K"])
    model.save("ssd_torchvision")


class Batch:
    """A classifier of the channels, as below, but of each picture on its own: [N, 3, 8, 8] to [N, 3]."""

    def __init__(self, pictures):
        self.image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [pictures, 3, 8, 8])
        self.pictures, self.nodes, self.constants = pictures, [], []

    def add(self, operator, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name, values, dtype):
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def save(self, name):
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [self.pictures, 3])]
        graph = helper.make_graph(self.nodes, name, [self.image], outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, FOLDER / f"{name}.onnx")


def classifier_batch():
    """As classifier, for any number of pictures."""
    model = Batch("N")
    model.add("ReduceMean", ["images"], "logits", axes=[2, 3], keepdims=0)
    model.save("classifier_batch")


def classifier_four():
    """As classifier, for four pictures at a time."""
    model = Batch(4)
    model.add("ReduceMean", ["images"], "logits", axes=[2, 3], keepdims=0)
    model.save("classifier_four")


def classifier_reshaped():
    """Says that it takes any number of pictures, but was exported from a run on one."""
    model = Batch("N")
    rows = model.add("Reshape", ["images", model.constant("shape", [1, 3, 64], np.int64)], "rows")
    model.add("ReduceMean", [rows], "logits", axes=[2], keepdims=0)
    model.save("classifier_reshaped")


def classifier_fails_on_white():
    """As classifier_batch, but fails when one of its pictures has white: an index beyond a table of two."""
    model = Batch("N")
    model.add("ReduceMean", ["images"], "means", axes=[2, 3], keepdims=0)
    model.add("ReduceMax", ["images"], "brightest", keepdims=0)
    model.add("Cast", [model.add("Relu", ["brightest"], "positive")], "index", to=TensorProto.INT64)
    model.add("Gather", [model.constant("table", [0, 0], np.float32), "index"], "nothing")
    model.add("Add", ["means", "nothing"], "logits")
    model.save("classifier_fails_on_white")


def classifier():
    """Takes R, G, B with ImageNet's statistics. Its classes are the channels, its logits their means."""
    model = Model(["N", 3, 8, 8])
    model.add("Unsqueeze", ["means", model.constant("batch", [0], np.int64)], "rows")
    model.output("logits", "rows", ["N", 3])
    model.save("classifier")


def embedding():
    """Takes R, G, B from -1 to 1. The vector is the means of the channels."""
    model = Model(["N", 3, 16, 16])
    model.add("Unsqueeze", ["means", model.constant("batch", [0], np.int64)], "rows")
    model.output("embedding", "rows", ["N", 3])
    model.save("embedding")


def depth():
    """Takes R, G, B with ImageNet's statistics, of any size. The depth of a place is the mean of its channels."""
    model = Model(["N", 3, "H", "W"])
    model.add("ReduceMean", ["floats"], "grey", axes=[1], keepdims=0)
    model.output("depth", "grey", ["N", "H", "W"])
    model.save("depth")


def segmentation():
    """Takes R, G, B with ImageNet's statistics, of any size. The scores of its classes are the channels, halved in size."""
    model = Model(["N", 3, "H", "W"])
    model.add("AveragePool", ["floats"], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    model.output("logits", "pooled", ["N", 3, "h", "w"])
    model.save("segmentation")


WRITERS = (
    yolox,
    yolov8,
    yolov8_final,
    scrfd,
    ssd_tensorflow,
    ssd_torchvision,
    classifier,
    embedding,
    depth,
    segmentation,
    classifier_batch,
    classifier_four,
    classifier_reshaped,
    classifier_fails_on_white,
)
for write in WRITERS:
    write()
