#!/usr/bin/env python3
"""Make a detector slow on purpose, for tests of overload.

    slow_model.py IN.onnx OUT.onnx [--layers 20]

Adds a chain of convolutions on the shrunk image, each 128 to 128 channels of 3 x 3 over 104 x 104 pixels
(1.6 G multiplications), whose mean, as good as nothing of it, is added to cls8. Inputs and outputs stay what
they were; scores move by no more than 1e-6.
Needs numpy and onnx.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

CHANNELS = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--layers", type=int, default=20)
    arguments = parser.parse_args()

    model = onnx.load(arguments.source)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["cls8.quick" if name == "cls8" else name for name in node.output]

    # The middle tap hands each channel on, so that values neither grow nor fade.
    kernel = np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32)
    kernel[np.arange(CHANNELS), np.arange(CHANNELS), 1, 1] = 1
    constants = {
        "slow.first": np.full((CHANNELS, 3, 1, 1), 1 / 3, np.float32),
        "slow.kernel": kernel,
        "slow.axes": np.int64([1, 2, 3]),
        "slow.shape": np.int64([0, 1, 1]),
        "slow.low": np.float32(-1),
        "slow.high": np.float32(1),
        "slow.share": np.float32(1e-7),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())

    def emit(op, inputs, output, **attributes):
        graph.node.append(helper.make_node(op, inputs, [output], name=f"{output}.{op}", **attributes))
        return output

    tensor = emit("AveragePool", [graph.input[0].name], "slow.image", kernel_shape=[4, 4], strides=[4, 4])
    tensor = emit("Conv", [tensor, "slow.first"], "slow.0", kernel_shape=[1, 1])
    for layer in range(arguments.layers):
        tensor = emit("Conv", [tensor, "slow.kernel"], f"slow.{layer + 1}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    tensor = emit("ReduceMean", [tensor, "slow.axes"], "slow.mean", keepdims=1)
    tensor = emit("Clip", [tensor, "slow.low", "slow.high"], "slow.bounded")
    tensor = emit("Mul", [tensor, "slow.share"], "slow.nothing")
    tensor = emit("Reshape", [tensor, "slow.shape"], "slow.scalar")
    emit("Add", ["cls8.quick", tensor], "cls8")
    onnx.checker.check_model(model, full_check=True)
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, arguments.target)
    print(f"{arguments.target}: {arguments.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
