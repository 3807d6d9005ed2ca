#!/usr/bin/env python3
"""Quantise a convolutional detector to int8 on frames of real clips.

    quantize_int8.py IN.onnx OUT.onnx --clip CLIP:STEP:OFFSET [--clip ...]

Writes QuantizeLinear and DequantizeLinear pairs around every operator up to the outputs (static, weights
signed and per output channel, activations unsigned: onnxruntime's kernels for signed ones take three times
as long). It does what onnxruntime.quantization does, and besides:

- The range of an activation is not its smallest and largest value but the one of least expected error over a
  histogram, and an error counts by what is left of it behind the next operator: in front of a LeakyRelu a
  negative value's error is multiplied by the slope, in front of a Sigmoid by the derivative. Scores near 0
  then take no resolution from the scores near a threshold.
- All that Concat reads and writes shares one scale, so that it copies and does not rescale.
- Biases take up the mean error that rounding leaves in each channel.
- The image gets a fourth channel, of zeros, once it is quantised. Integer convolution kernels take four
  channels at a time; with three the first layer takes three times as long.

Needs numpy, onnx, onnxruntime and the ffmpeg program.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference.nanodet_reference import read_frames, tensor  # noqa: E402

BINS = 4096
LEVELS = 255
IMAGE_CHANNELS_MULTIPLE = 4
# The error of a value is raised to this. The mean square (2) clips the rare strong responses that detections
# are made of; the largest error (towards infinity) wastes levels on outliers. 2.5 agreed best on both clips.
POWER = 2.5
# Operators that hand on the values of their input, so that input and output share scale and zero point.
SAME_VALUES = {"MaxPool", "Reshape", "Resize", "Transpose"}
QUANTISED = SAME_VALUES | {"Add", "Concat", "Conv", "LeakyRelu"}


class Graph:
    """The parts of a model that change here, and look-ups over them."""

    def __init__(self, model):
        self.model = model
        self.nodes = list(model.graph.node)
        self.weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        (image,) = model.graph.input
        self.image, self.image_channels = image.name, image.type.tensor_type.shape.dim[1].dim_value
        self.outputs = [item.name for item in model.graph.output]

    def readers(self, name):
        return [node for node in self.nodes if name in node.input]

    def activations(self):
        """What the operators to be quantised read and write, in the order of the graph."""
        names = {}
        for node in self.nodes:
            if node.op_type in QUANTISED:
                names.update((name, None) for name in [*node.input, *node.output] if name and name not in self.weights)
        return list(names)

    def build(self):
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for field in (model.graph.node, model.graph.initializer, model.graph.value_info):
            del field[:]
        model.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        model.graph.initializer.extend(
            numpy_helper.from_array(array.copy(), name) for name, array in self.weights.items() if name in used)
        return model

    def run(self, names, frames):
        """Yields, for each frame, the values of the named tensors."""
        model = self.build()
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names
                                  if name not in [*self.outputs, self.image])
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        computed = [name for name in names if name != self.image]
        for frame in frames:
            values = dict(zip(computed, session.run(computed, {self.image: frame})))
            yield [values.get(name, frame) for name in names]


def share_ranges(graph):
    """Activation to the activation whose scale and zero point it takes."""
    parent = {name: name for name in graph.activations()}

    def root(name):
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if node.op_type in SAME_VALUES:
            parent[root(node.output[0])] = root(node.input[0])
        elif node.op_type == "Concat":
            for name in node.input:
                parent[root(name)] = root(node.output[0])
    return {name: root(name) for name in parent}


def histograms(graph, frames):
    """Name to (counts, centres) of each activation that has values of its own."""
    copies = {node.output[0] for node in graph.nodes if node.op_type in SAME_VALUES}
    names = [name for name in graph.activations() if name not in copies]
    lowest, highest = np.zeros(len(names)), np.zeros(len(names))
    for row in graph.run(names, frames):
        lowest = np.minimum(lowest, [array.min() for array in row])
        highest = np.maximum(highest, [array.max() for array in row])
    width = (highest - lowest) / BINS
    counts = np.zeros((len(names), BINS))
    for row in graph.run(names, frames):
        for index, array in enumerate(row):
            bins = ((array.ravel() - np.float32(lowest[index])) * np.float32(1 / width[index])).astype(np.int32)
            counts[index] += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
    return {name: (counts[i], lowest[i] + (np.arange(BINS) + 0.5) * width[i]) for i, name in enumerate(names)}


def importance(graph, name, values):
    """How much of a small error at each value is left behind the operators that read the tensor, 0 to 1."""
    factors = []
    for node in graph.readers(name):
        if node.op_type == "LeakyRelu":
            slope = next(item.f for item in node.attribute if item.name == "alpha")
            factors.append(np.where(values < 0, slope, 1.0))
        elif node.op_type == "Sigmoid":
            score = 1 / (1 + np.exp(-values))
            factors.append(4 * score * (1 - score))
        elif node.op_type in SAME_VALUES:
            factors.append(importance(graph, node.output[0], values))
        else:
            factors.append(np.ones_like(values))
    return np.max(factors, axis=0) if factors else np.ones_like(values)


def best_range(parts):
    """The (scale, zero point) of least error over all parts: (counts, centres, importance)."""
    counts, values, factors = (np.concatenate(column) for column in zip(*parts))
    occupied = counts > 0
    values, weights = values[occupied], (counts * factors**POWER)[occupied]
    lowest, highest = min(values.min(), 0.0), max(values.max(), 0.0)
    best = None
    # Which fraction of each end to keep: coarse, then fine.
    low_choices = high_choices = np.linspace(0.05, 1, 20)
    for _ in range(2):
        for low in low_choices:
            for high in high_choices:
                scale = (high * highest - low * lowest) / LEVELS
                if scale <= 0:
                    continue
                zero = np.clip(np.round(-low * lowest / scale), 0, LEVELS)
                clipped = np.abs(values - np.clip(values, -zero * scale, (LEVELS - zero) * scale))
                rounded = (scale / 2) ** POWER / (POWER + 1)  # The mean over a rounding error, evenly spread.
                error = float((weights * np.where(clipped > 0, clipped**POWER, rounded)).sum())
                if best is None or error < best[0]:
                    best = (error, scale, zero, low, high)
        low_choices, high_choices = (np.clip(np.linspace(end - 0.05, end + 0.05, 11), 0, 1) for end in best[3:])
    return np.float32(best[1]), np.uint8(best[2])


def choose_ranges(graph, frames):
    shared = share_ranges(graph)
    found = histograms(graph, frames)
    parts = {root: [] for root in shared.values()}
    for name, (counts, centres) in found.items():
        parts[shared[name]].append((counts, centres, importance(graph, name, centres)))
    ranges = {root: best_range(group) for root, group in parts.items()}
    return {name: ranges[root] for name, root in shared.items()}


def weight_scale(kernel):
    """Per output channel, so that the largest weight becomes 127."""
    return np.maximum(np.abs(kernel).max(axis=(1, 2, 3)) / 127, 1e-12).astype(np.float32)


def correct_biases(graph, ranges, frames):
    """Moves each bias by the mean error that the rounded weights and the rounded input leave in its channel.

    Each layer is taken alone, on the input that it has in the exact model; the borders count as any pixel.
    """
    convolutions = [node for node in graph.nodes if node.op_type == "Conv" and len(node.input) > 2]
    names = list(dict.fromkeys(node.input[0] for node in convolutions))
    exact, rounded = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for row in graph.run(names, frames):
        for name, array in zip(names, row):
            scale, zero = ranges[name][0], float(ranges[name][1])
            near = (np.clip(np.round(array / scale) + zero, 0, LEVELS) - zero) * scale
            exact[name] += array.mean(axis=(0, 2, 3)) / len(frames)
            rounded[name] += near.mean(axis=(0, 2, 3)) / len(frames)
    for node in convolutions:
        data, kernel_name, bias_name = node.input
        kernel = graph.weights[kernel_name]
        scale = weight_scale(kernel)[:, None, None, None]
        near = np.round(kernel / scale) * scale
        error = kernel.sum(axis=(2, 3)) @ exact[data] - near.sum(axis=(2, 3)) @ rounded[data]
        graph.weights[bias_name] = graph.weights[bias_name] + error.astype(np.float32)


def quantise(source, ranges):
    """The graph with its weights as integers and a Quantize/Dequantize pair on each activation."""
    graph = Graph(source.build())
    graph.nodes = []

    def emit(op, inputs, output, **attributes):
        graph.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}.{op}", **attributes))

    def constants(name, scale, zero):
        graph.weights[name + ".scale"], graph.weights[name + ".zero"] = scale, zero
        return [name + ".scale", name + ".zero"]

    def weight(name, integers, scale):
        graph.weights[name + ".q"] = integers
        pair = constants(name, scale, np.zeros(len(scale), integers.dtype))
        emit("DequantizeLinear", [name + ".q", *pair], name + ".dq", axis=0)
        return name + ".dq"

    def convolution_inputs(node):
        data, kernel_name = node.input[:2]
        kernel = source.weights[kernel_name]
        scale = weight_scale(kernel)
        integers = np.round(kernel / scale[:, None, None, None]).astype(np.int8)
        if data == source.image:
            integers = np.pad(integers, [(0, 0), (0, -kernel.shape[1] % IMAGE_CHANNELS_MULTIPLE), (0, 0), (0, 0)])
        inputs = [data + ".dq", weight(kernel_name, integers, scale)]
        for bias_name in node.input[2:]:
            bias_scale = scale * ranges[data][0]
            inputs.append(weight(bias_name, np.round(source.weights[bias_name] / bias_scale).astype(np.int32), bias_scale))
        return inputs

    image = source.image
    pair = constants(image, *ranges[image])
    graph.weights[image + ".pads"] = np.int64([0, 0, 0, 0, 0, -source.image_channels % IMAGE_CHANNELS_MULTIPLE, 0, 0])
    emit("QuantizeLinear", [image, *pair], image + ".q")
    emit("Pad", [image + ".q", image + ".pads", image + ".zero"], image + ".wide")
    emit("DequantizeLinear", [image + ".wide", *pair], image + ".dq")
    for node in source.nodes:
        (output,) = node.output
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Conv":
            copy.input[:] = convolution_inputs(node)
        else:
            copy.input[:] = [name + ".dq" if name in ranges else name for name in node.input]
        graph.nodes.append(copy)
        if output in ranges:
            copy.output[0] = output + ".float"
            pair = constants(output, *ranges[output])
            emit("QuantizeLinear", [output + ".float", *pair], output + ".q")
            emit("DequantizeLinear", [output + ".q", *pair], output if output in source.outputs else output + ".dq")
    return graph


def read_clips(specifications):
    frames = []
    for specification in specifications:
        clip, step, offset = specification.rsplit(":", 2)
        frames.extend(tensor(y, u, v) for number, y, u, v in read_frames(clip) if number % int(step) == int(offset))
    return frames


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--clip", action="append", required=True, metavar="CLIP:STEP:OFFSET",
                        help="calibrate on the frames of CLIP whose number modulo STEP is OFFSET")
    arguments = parser.parse_args()

    frames = read_clips(arguments.clip)
    graph = Graph(onnx.load(arguments.source))
    print(f"choosing ranges on {len(frames)} frames", flush=True)
    ranges = choose_ranges(graph, frames)
    correct_biases(graph, ranges, frames)
    model = quantise(graph, ranges).build()
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, arguments.target)
    print(f"{arguments.target}: {arguments.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
