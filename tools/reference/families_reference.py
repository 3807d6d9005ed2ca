#!/usr/bin/env python3
"""Reference objects of the model families whose weights set-up fetches, in NumPy and onnxruntime alone.

    families_reference.py centerface MODEL CLIP --size 640x480 --every 40 --output objects.json
    families_reference.py yolov8 MODEL PICTURE.i420:512x512 --size 320x320 --output objects.json
    families_reference.py embedding MODEL PICTURE.i420:512x512 --size 112x112 --output vector.json

Sluice is tested against what this prints; the two share no code. How pictures are sampled and suppression works is
written at the head of nanodet_reference.py and used from there; the letterbox is W x H here, and its padding a colour.

centerface: heat, scale, offset and landmarks over cells of 4 pixels, y before x. Size 4 exp(scale), centre
    4 (cell + offset + 0.5), landmarks in parts of the box.
blazeface:  896 anchors, two in each cell of 16 x 16 and six in each of 8 x 8; sigmoid of the score; centre, size and
    six key points in pixels from the anchor.
yolov8:     [4 + classes, points]: centre x, centre y, width, height, scores.
embedding:  one vector for the whole picture, scaled to length 1.

Needs numpy, onnxruntime and, for clips, the ffmpeg and ffprobe programs.
"""

import argparse
import json
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
from nanodet_reference import CHROMA, LUMA, open_session, read_frames, sample, suppress

DETECTIONS_MAX = 256


class Family(NamedTuple):
    decode: Callable | None  # Of the outputs without their first dimension and the input's (width, height).
    mean: float
    deviation: float
    padding: float
    iou: float
    interleaved: bool = False


def centerface(outputs, size):
    """Boxes [n,4], scores [n], classes [n], landmarks [n,5,2], in pixels of the input."""
    heat, scale, offset, points = outputs
    height, width = np.exp(scale) * 4
    row, column = np.mgrid[:heat.shape[1], :heat.shape[2]]
    x = (column + offset[1] + 0.5) * 4
    y = (row + offset[0] + 0.5) * 4
    boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)
    points = points.reshape(5, 2, *heat.shape[1:])
    landmarks = np.stack([boxes[..., 0] + points[:, 1] * width, boxes[..., 1] + points[:, 0] * height], axis=-1)
    landmarks = np.moveaxis(landmarks, 0, 2).reshape(-1, 5, 2)
    scores = heat[0].ravel()
    return boxes.reshape(-1, 4), scores, np.zeros(scores.size, int), landmarks


def blazeface(outputs, size):
    side = size[0]
    anchors = np.concatenate([
        np.repeat([[(column + 0.5) * side / n, (row + 0.5) * side / n] for row in range(n) for column in range(n)],
                  each, axis=0) for n, each in ((16, 2), (8, 6))])
    scores = 1 / (1 + np.exp(-np.concatenate(outputs[:2])[:, 0].astype(np.float64)))
    values = np.concatenate(outputs[2:]).astype(np.float64)
    centre = anchors + values[:, :2]
    boxes = np.concatenate([centre - values[:, 2:4] / 2, centre + values[:, 2:4] / 2], axis=1)
    landmarks = anchors[:, None] + values[:, 4:].reshape(-1, 6, 2)
    return boxes, scores, np.zeros(scores.size, int), landmarks


def yolov8(outputs, size):
    centre, extent, scores = np.split(outputs[0].T, [2, 4], axis=1)
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
    return boxes, scores.max(axis=1), scores.argmax(axis=1), np.zeros((len(boxes), 0, 2))


FAMILIES = {
    "centerface": Family(centerface, mean=0, deviation=1, padding=0, iou=0.3),
    "blazeface": Family(blazeface, mean=127.5, deviation=127.5, padding=0, iou=0.3, interleaved=True),
    "yolov8": Family(yolov8, mean=0, deviation=255, padding=114, iou=0.7),
    "embedding": Family(None, mean=127.5, deviation=127.5, padding=0, iou=0),
}


def letterbox(width, height, size):
    """(new_w, new_h, left, top)."""
    ratio = min(size[0] / width, size[1] / height)
    new_width, new_height = int(np.floor(width * ratio + 0.5)), int(np.floor(height * ratio + 0.5))
    return new_width, new_height, (size[0] - new_width) // 2, (size[1] - new_height) // 2


def tensor(y, u, v, size, family, matrix="bt601"):
    """The model's input, RGB, f32 [1,3,H,W] or [1,H,W,3]."""
    new_width, new_height, left, top = letterbox(y.shape[1], y.shape[0], size)
    luma, cb, cr = (sample(plane, new_width, new_height) for plane in (y, u, v))
    luma, cb, cr = LUMA * (luma - np.float32(16)), cb - np.float32(128), cr - np.float32(128)
    blue_cb, green_cb, green_cr, red_cr = CHROMA[matrix]
    image = np.full((3, size[1], size[0]), family.padding, np.float32)
    image[:, top:top + new_height, left:left + new_width] = np.clip(
        [luma + red_cr * cr, luma + green_cb * cb + green_cr * cr, luma + blue_cb * cb], 0, 255)
    image = (image - np.float32(family.mean)) / np.float32(family.deviation)
    return np.ascontiguousarray(image.transpose(1, 2, 0) if family.interleaved else image)[None]


def objects(family, outputs, size, width, height, score_threshold, iou_threshold):
    """{class, score, box, landmarks} in pixels of the picture, best first."""
    boxes, scores, classes, landmarks = family.decode([output[0] for output in outputs], size)
    over = scores >= score_threshold
    boxes, scores, classes, landmarks = boxes[over], scores[over], classes[over], landmarks[over]
    kept = []
    for label in np.unique(classes):
        members = np.nonzero(classes == label)[0]
        kept.extend(members[suppress(boxes[members], scores[members], iou_threshold)])
    kept = sorted(kept, key=lambda i: (-scores[i], i))[:DETECTIONS_MAX]
    new_width, new_height, left, top = letterbox(width, height, size)
    scale = np.array([width / new_width, height / new_height])

    def mapped(points):
        return (points - [left, top]) * scale

    return [{"class": int(classes[i]), "score": round(float(scores[i]), 4),
             "box": np.clip(mapped(boxes[i].reshape(2, 2)), 0, [width, height]).ravel().round(2).tolist(),
             "landmarks": mapped(landmarks[i]).round(2).tolist()} for i in kept]


def read_pictures(source, every):
    """(sequence number, Y, U, V) of a clip's frames, or of one raw I420 picture written PATH:WIDTHxHEIGHT."""
    path, separator, size = source.rpartition(":")
    if not separator:
        yield from read_frames(Path(source), every)
        return
    width, height = parse_size(size)
    chroma = ((height + 1) // 2, (width + 1) // 2)
    raw = np.fromfile(path, np.uint8)
    y, u, v = np.split(raw, [width * height, width * height + chroma[0] * chroma[1]])
    yield 0, y.reshape(height, width), u.reshape(chroma), v.reshape(chroma)


def parse_size(text):
    width, height = text.split("x")
    return int(width), int(height)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", help="a clip, or a raw I420 picture as PATH:WIDTHxHEIGHT")
    parser.add_argument("--size", type=parse_size, required=True, help="of the model's input")
    parser.add_argument("--every", type=int, default=1, help="take each so-many-th frame (default 1)")
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--matrix", choices=CHROMA, default="bt601")
    parser.add_argument("--score", type=float, default=0.4)
    parser.add_argument("--iou", type=float, help="by default what the family's authors use")
    arguments = parser.parse_args()

    family = FAMILIES[arguments.family]
    iou = family.iou if arguments.iou is None else arguments.iou
    session = open_session(arguments.model)
    name = session.get_inputs()[0].name
    frames = []
    for number, y, u, v in read_pictures(arguments.pictures, arguments.every):
        outputs = session.run(None, {name: tensor(y, u, v, arguments.size, family, arguments.matrix)})
        if family.decode is None:
            vector = outputs[0][0].astype(np.float64)
            found = {"embedding": (vector / np.linalg.norm(vector)).round(5).tolist()}
        else:
            found = {"objects": objects(family, outputs, arguments.size, y.shape[1], y.shape[0], arguments.score, iou)}
        frames.append({"sequence_number": number, **found})
    lines = ",\n".join(json.dumps(frame) for frame in frames)
    arguments.output.write_text(f'{{"frames": [\n{lines}\n]}}\n')
    total = sum(len(frame.get("objects", ())) for frame in frames)
    print(f"{arguments.output}: {len(frames)} frames, {total} objects")


if __name__ == "__main__":
    main()
