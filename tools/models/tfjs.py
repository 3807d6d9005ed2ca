"""Reading of TensorFlow.js graph models: `model.json` with its weights in files beside it. Needs numpy."""

import base64
import json

import numpy as np


class Graph:
    """Nodes by name, constants by name, and which nodes read a node."""

    def __init__(self, path):
        model = json.loads(path.read_text())
        self.nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        self.constants = read_weights(model["weightsManifest"], path.parent)
        self.readers = {}
        for node in self.nodes.values():
            for source in node.get("input", []):
                self.readers.setdefault(source.split(":")[0], []).append(node)


def read_weights(manifest, folder):
    """Name to array, with the float16 storage widened to float32."""
    weights = {}
    for group in manifest:
        raw = b"".join((folder / path).read_bytes() for path in group["paths"])
        offset = 0
        for entry in group["weights"]:
            dtype = np.dtype(entry.get("quantization", entry)["dtype"])
            count = int(np.prod(entry["shape"]))
            array = np.frombuffer(raw, dtype, count, offset).reshape(entry["shape"])
            offset += count * dtype.itemsize
            weights[entry["name"]] = array.astype(np.float32) if dtype == np.float16 else array
        if offset != len(raw):
            raise ValueError(f"the weights hold {len(raw)} bytes, the manifest describes {offset}")
    return weights


def string(node, key):
    return base64.b64decode(node["attr"][key]["s"]).decode()


def integers(node, key):
    return [int(value) for value in node["attr"][key]["list"]["i"]]


def require(condition, node, model):
    if not condition:
        raise NotImplementedError(f"{node['op']} {node['name']}: not of the form that {model} uses")
