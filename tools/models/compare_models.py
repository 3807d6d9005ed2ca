#!/usr/bin/env python3
"""How far NanoDet models agree with a first one on a clip, and what a frame costs each.

    compare_models.py TRUTH.onnx MODEL.onnx [MODEL.onnx ...] --clip CLIP:STEP:OFFSET

A detection agrees when the truth has one of the same label with IoU 0.5 or more that no better-scored
detection took. Milliseconds are CPU time with one thread, the models in turns, so that a busy machine harms
all alike.
Needs numpy, onnxruntime and the ffmpeg program.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from reference.nanodet_reference import OUTPUTS, decode, open_session, read_frames, tensor  # noqa: E402


def overlaps(box, others):
    """IoU of a box with each of the others."""
    shared = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared)


def match(truth, found):
    """(IoU, difference of scores) for each agreeing pair of one frame."""
    free = list(truth)
    pairs = []
    for label, score, box in found:
        candidates = [item for item in free if item[0] == label]
        if candidates:
            ious = overlaps(np.array(box), np.array([item[2] for item in candidates]))
            best = int(ious.argmax())
            if ious[best] >= 0.5:
                pairs.append((ious[best], abs(score - candidates[best][1])))
                free.remove(candidates[best])
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--clip", required=True, metavar="CLIP:STEP:OFFSET")
    parser.add_argument("--rounds", type=int, default=60, help="timed runs a model")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    clip, step, offset = arguments.clip.rsplit(":", 2)
    frames = [(tensor(y, u, v), y.shape[1], y.shape[0]) for number, y, u, v in read_frames(clip)
              if number % int(step) == int(offset)]
    sessions = [open_session(model) for model in arguments.models]
    found = [[decode(session.run(OUTPUTS, {"images": image}), *size) for image, *size in frames]
             for session in sessions]
    times = [[] for _ in sessions]
    for _ in range(arguments.rounds):
        for session, row in zip(sessions, times):
            start = time.process_time()
            session.run(OUTPUTS, {"images": frames[0][0]})
            row.append((time.process_time() - start) * 1e3)

    for model, detections, row in zip(arguments.models, found, times):
        pairs = [pair for truth, others in zip(found[0], detections) for pair in match(truth, others)]
        wanted, got = (sum(len(frame) for frame in all_frames) for all_frames in (found[0], detections))
        iou, score = np.mean(pairs, axis=0) if pairs else (0.0, 0.0)
        result = {"model": str(model), "frames": len(frames), "detections": got,
                  "recall": len(pairs) / max(wanted, 1), "precision": len(pairs) / max(got, 1),
                  "mean_iou": float(iou), "mean_score_difference": float(score),
                  "cpu_ms_p10": float(np.percentile(row, 10)), "cpu_ms_p50": float(np.median(row))}
        if arguments.json:
            print(json.dumps(result))
        else:
            print("{model}: {detections} detections, recall {recall:.3f}, precision {precision:.3f}, IoU {mean_iou:.3f}, "
                  "score differs by {mean_score_difference:.4f}, {cpu_ms_p50:.2f} ms (p10 {cpu_ms_p10:.2f})".format(**result))


if __name__ == "__main__":
    main()
