#!/usr/bin/env python3
"""Processor time of one run of a model on a ready tensor, with one thread.

usage: model_alone.py [--json] [--runs 150] MODEL
"""
import argparse
import json
import time

import numpy as np
import onnxruntime

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("--runs", type=int, default=150)
parser.add_argument("--json", action="store_true")
arguments = parser.parse_args()

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
tensor = np.random.default_rng(1).standard_normal((1, 3, 416, 416)).astype(np.float32)
feed = {session.get_inputs()[0].name: tensor}
for _ in range(10):
    session.run(None, feed)
begin = time.process_time()
for _ in range(arguments.runs):
    session.run(None, feed)
cpu_ms = (time.process_time() - begin) * 1000 / arguments.runs
print(json.dumps({"cpu_ms": cpu_ms}) if arguments.json else f"{cpu_ms:.2f} CPU-ms a run")
