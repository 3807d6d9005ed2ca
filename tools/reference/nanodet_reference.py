#!/usr/bin/env python3
"""Reference detections of NanoDet 416 on a clip, in NumPy and onnxruntime alone.

    nanodet_reference.py CLIP MODEL --every 50 --output detections.json

Sluice is tested against what this prints, so the two must define the same arithmetic. They share no code.

Input. A frame is I420 of w x h pixels, limited range; the chroma planes are cw x ch with
cw = (w + 1) div 2 and ch = (h + 1) div 2. It is letterboxed to S x S, S = 416:

    r     = min(S / w, S / h)
    new_w = floor(w * r + 0.5)       new_h = floor(h * r + 0.5)
    left  = (S - new_w) div 2        top   = (S - new_h) div 2

A target pixel (x, y) inside that rectangle samples each plane of pw x ph samples (the frame's size for
luma, cw x ch for chroma) bilinearly, the edge repeated, at

    sx = (x - left + 0.5) * pw / new_w - 0.5      sy = (y - top + 0.5) * ph / new_h - 0.5

a sample between p and q with weight t being p + (q - p) t, rows first. Weights are computed in double precision,
everything else in single precision and in the order written here, with no step fused or rounded besides: a
quantised network turns a difference in the last bit into a step of its output. The sampled Y, U and V become, by BT.601 (BT.709 on request),

    B =  1.164383 (Y - 16) + 2.017232 (U - 128)
    G = (1.164383 (Y - 16) - 0.391762 (U - 128)) - 0.812968 (V - 128)
    R =  1.164383 (Y - 16) + 1.596027 (V - 128)

each clamped to 0..255. Outside the rectangle all three are 0. The tensor is [3, S, S] in the order B, G, R:
value * (1 / deviation) + (-mean / deviation). When a frame shrinks by more than two, bilinear sampling skips source pixels.

Output. For stride s in 8, 16, 32, with n = S / s cells a side, cell i is centred on
((i mod n + 0.5) s, (i div n + 0.5) s). Its label is its best class (the lower index on a tie), its score
that class's output; cells below the score threshold are dropped. The 44 distances are four rows of 11
(left, top, right, bottom); the softmax of a row, times 0..10 and summed, times s, is a distance in pixels of
the S x S image. Within a label, in falling order of score (on a tie, the smaller stride, then the lower
cell), a box is dropped when its IoU with a kept one is above the IoU threshold. The best 100 of all labels
remain, are mapped back, ((x - left) w / new_w, (y - top) h / new_h), and are clipped to the frame.

Needs numpy, onnxruntime and the ffmpeg and ffprobe programs.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime

SIDE = 416
STRIDES = (8, 16, 32)
OUTPUTS = ["cls8", "cls16", "cls32", "reg8", "reg16", "reg32"]
MEAN_BGR = np.float32([103.53, 116.28, 123.675])
DEVIATION_BGR = np.float32([57.375, 57.12, 58.395])
LUMA = np.float32(1.164383)
# Cb to blue, Cb to green, Cr to green, Cr to red.
CHROMA = {
    "bt601": np.float32([2.017232, -0.391762, -0.812968, 1.596027]),
    "bt709": np.float32([2.112402, -0.213249, -0.532909, 1.792741]),
}
DETECTIONS_MAX = 100
LABELS = Path(__file__).resolve().parents[2] / "assets/models/coco80.txt"


def read_frames(clip, every=1, frames_max=None):
    """Yields (sequence number, Y, U, V) of each `every`-th of the first `frames_max` frames, at the clip's own size."""
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height",
         "-of", "csv=p=0", str(clip)], check=True, capture_output=True, text=True)
    width, height = (int(field) for field in probe.stdout.strip().strip(",").split(","))
    chroma_width, chroma_height = (width + 1) // 2, (height + 1) // 2
    luma_size, chroma_size = width * height, chroma_width * chroma_height
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(clip), "-map", "0:v:0", "-fps_mode", "passthrough",
               *(["-frames:v", str(frames_max)] if frames_max else []), "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as decoder:
        number = 0
        while len(raw := decoder.stdout.read(luma_size + 2 * chroma_size)) == luma_size + 2 * chroma_size:
            if number % every == 0:
                y, u, v = np.split(np.frombuffer(raw, np.uint8), [luma_size, luma_size + chroma_size])
                yield (number, y.reshape(height, width), u.reshape(chroma_height, chroma_width),
                       v.reshape(chroma_height, chroma_width))
            number += 1
    if decoder.returncode != 0:
        raise RuntimeError(f"ffmpeg failed on {clip}")


def letterbox(width, height):
    """(new_w, new_h, left, top)."""
    ratio = min(SIDE / width, SIDE / height)
    new_width, new_height = int(np.floor(width * ratio + 0.5)), int(np.floor(height * ratio + 0.5))
    return new_width, new_height, (SIDE - new_width) // 2, (SIDE - new_height) // 2


def sample(plane, new_width, new_height):
    """The plane, bilinearly sampled to new_height x new_width, f32."""

    def taps(new_size, size):
        position = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
        first = np.minimum(np.floor(position).astype(int), max(size - 2, 0))
        return first, np.minimum(first + 1, size - 1), (position - first).astype(np.float32)

    plane = plane.astype(np.float32)
    first, second, weight = taps(new_height, plane.shape[0])
    rows = plane[first] + (plane[second] - plane[first]) * weight[:, None]
    first, second, weight = taps(new_width, plane.shape[1])
    return rows[:, first] + (rows[:, second] - rows[:, first]) * weight


def tensor(y, u, v, matrix="bt601"):
    """The model's input, f32 [1,3,SIDE,SIDE]."""
    new_width, new_height, left, top = letterbox(y.shape[1], y.shape[0])
    luma, cb, cr = (sample(plane, new_width, new_height) for plane in (y, u, v))
    luma, cb, cr = LUMA * (luma - np.float32(16)), cb - np.float32(128), cr - np.float32(128)
    blue_cb, green_cb, green_cr, red_cr = CHROMA[matrix]
    image = np.zeros((3, SIDE, SIDE), np.float32)
    image[:, top:top + new_height, left:left + new_width] = np.clip(
        [luma + blue_cb * cb, luma + green_cb * cb + green_cr * cr, luma + red_cr * cr], 0, 255)
    scale, shift = 1 / DEVIATION_BGR, -MEAN_BGR / DEVIATION_BGR
    return (image * scale[:, None, None] + shift[:, None, None])[None]


def suppress(boxes, scores, iou_threshold):
    """The indices that survive, in falling order of score."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        overlap = np.clip(np.minimum(boxes[best, 2:], boxes[order, 2:])
                          - np.maximum(boxes[best, :2], boxes[order, :2]), 0, None).prod(axis=1)
        order = order[overlap <= iou_threshold * (areas[best] + areas[order] - overlap)]
    return kept


def decode(outputs, width, height, score_threshold=0.4, iou_threshold=0.6):
    """(class index, score, [x1,y1,x2,y2] in pixels of the frame) for each detection, best first."""
    boxes, scores, classes = [], [], []
    for index, stride in enumerate(STRIDES):
        probability, distances = outputs[index][0], outputs[index + 3][0]
        best = probability.max(axis=1)
        cells = np.nonzero(best >= score_threshold)[0]
        rows = distances[cells].reshape(-1, 4, 11).astype(np.float64)
        rows = np.exp(rows - rows.max(axis=2, keepdims=True))
        distance = (rows / rows.sum(axis=2, keepdims=True)) @ np.arange(11) * stride
        side = SIDE // stride
        centre = np.stack([cells % side + 0.5, cells // side + 0.5], axis=1) * stride
        boxes.append(np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], axis=1))
        scores.append(best[cells])
        classes.append(probability[cells].argmax(axis=1))
    boxes, scores, classes = np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes)

    kept = []
    for label in np.unique(classes):
        members = np.nonzero(classes == label)[0]
        kept.extend(members[suppress(boxes[members], scores[members], iou_threshold)])
    kept = sorted(kept, key=lambda i: (-scores[i], i))[:DETECTIONS_MAX]

    new_width, new_height, left, top = letterbox(width, height)
    scale = np.array([width / new_width, height / new_height] * 2)
    mapped = (boxes - [left, top, left, top]) * scale
    mapped = np.clip(mapped, 0, [width, height, width, height])
    return [(int(classes[i]), float(scores[i]), mapped[i].tolist()) for i in kept]


def open_session(model, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--every", type=int, default=50, help="take each so-many-th frame (default 50)")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--matrix", choices=CHROMA, default="bt601")
    parser.add_argument("--score", type=float, default=0.4)
    parser.add_argument("--iou", type=float, default=0.6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--labels", type=Path, default=LABELS)
    arguments = parser.parse_args()

    labels = arguments.labels.read_text().splitlines()
    session = open_session(arguments.model, arguments.threads)
    frames = []
    for number, y, u, v in read_frames(arguments.clip, arguments.every):
        outputs = session.run(OUTPUTS, {"images": tensor(y, u, v, arguments.matrix)})
        detections = decode(outputs, y.shape[1], y.shape[0], arguments.score, arguments.iou)
        frames.append({"sequence_number": number,
                       "detections": [{"label": labels[index], "score": score, "box": box}
                                      for index, score, box in detections]})
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"frames": frames}, indent=1) + "\n")
    total = sum(len(frame["detections"]) for frame in frames)
    print(f"{arguments.output}: {len(frames)} frames, {total} detections")


if __name__ == "__main__":
    main()
