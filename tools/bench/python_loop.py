#!/usr/bin/env python3
"""The baseline: detection in one plain Python process, as one writes it with OpenCV and onnxruntime.

    python_loop.py CLIP MODEL [--threads 1] [--mode decode|infer|full] [--json]

decode reads the clip; infer adds NanoDet 416 on each frame; full adds drawing and x264 in an ffmpeg behind a pipe.
Milliseconds a frame are wall time; CPU time is that of this process and of ffmpeg.
Needs numpy, opencv, onnxruntime and the ffmpeg program.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

SIDE = 416
SCORE, IOU = 0.4, 0.6
BINS = np.arange(11, dtype=np.float32)
MEAN = np.float32([103.53, 116.28, 123.675])
DEVIATION = np.float32([57.375, 57.12, 58.395])


def prepare(image):
    height, width = image.shape[:2]
    ratio = min(SIDE / height, SIDE / width)
    new_height, new_width = round(height * ratio), round(width * ratio)
    canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
    top, left = (SIDE - new_height) // 2, (SIDE - new_width) // 2
    canvas[top:top + new_height, left:left + new_width] = cv2.resize(image, (new_width, new_height))
    tensor = ((canvas.astype(np.float32) - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(tensor), ratio, left, top


def decode(outputs, ratio, left, top):
    """([x, y, width, height], score, class) for each detection."""
    boxes, scores, classes = [], [], []
    for index, stride in enumerate((8, 16, 32)):
        probability, distances, side = outputs[index][0], outputs[index + 3][0], SIDE // stride
        best = probability.max(1)
        cells = np.nonzero(best > SCORE)[0]
        if not len(cells):
            continue
        rows = distances[cells].reshape(-1, 4, 11)
        rows = np.exp(rows - rows.max(2, keepdims=True))
        rows /= rows.sum(2, keepdims=True)
        edges = (rows @ BINS) * stride
        x, y = (cells % side + .5) * stride, (cells // side + .5) * stride
        boxes.append(np.stack([x - edges[:, 0], y - edges[:, 1], edges[:, 2] + edges[:, 0], edges[:, 3] + edges[:, 1]], 1))
        scores.append(best[cells])
        classes.append(probability[cells].argmax(1))
    if not boxes:
        return []
    boxes, scores, classes = np.concatenate(boxes), np.concatenate(scores), np.concatenate(classes)
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), classes.tolist(), SCORE, IOU)
    boxes[:, :2] -= [left, top]
    boxes /= ratio
    return [(boxes[i], scores[i], classes[i]) for i in kept]


def draw(image, detections):
    for box, score, label in detections:
        x, y, width, height = box.astype(int)
        cv2.rectangle(image, (x, y), (x + width, y + height), (0, 255, 0), 2)
        cv2.putText(image, f"{label} {score:.2f}", (x, y - 4), 0, .5, (0, 255, 0), 1)


def start_encoder(width, height, threads, target):
    return subprocess.Popen(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", "10",
         "-i", "-", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", str(threads),
         str(target)], stdin=subprocess.PIPE)


def run(arguments, target):
    cv2.setNumThreads(arguments.threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    capture = cv2.VideoCapture(arguments.clip)
    encoder = None
    frames = detected = 0
    preparing = inferring = decoding = drawing = 0.0
    start = time.time()
    if arguments.mode == "full":
        encoder = start_encoder(int(capture.get(3)), int(capture.get(4)), arguments.threads, target)
    while True:
        more, image = capture.read()
        if not more:
            break
        frames += 1
        if arguments.mode == "decode":
            continue
        a = time.perf_counter()
        tensor, ratio, left, top = prepare(image)
        b = time.perf_counter()
        outputs = session.run(None, {"images": tensor})
        c = time.perf_counter()
        detections = decode(outputs, ratio, left, top)
        d = time.perf_counter()
        preparing, inferring, decoding = preparing + b - a, inferring + c - b, decoding + d - c
        detected += len(detections)
        if encoder:
            draw(image, detections)
            encoder.stdin.write(image.tobytes())
        drawing += time.perf_counter() - d
    if encoder:
        encoder.stdin.close()
        encoder.wait()
    elapsed = time.time() - start
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {
        "mode": arguments.mode, "threads": arguments.threads, "frames": frames, "seconds": elapsed,
        "fps": frames / elapsed, "cpu_ms": cpu / frames * 1e3, "prepare_ms": preparing / frames * 1e3,
        "infer_ms": inferring / frames * 1e3, "decode_ms": decoding / frames * 1e3,
        "draw_and_pipe_ms": drawing / frames * 1e3, "detections": detected, "rss_mib": own.ru_maxrss // 1024,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mode", choices=["decode", "infer", "full"], default="full")
    parser.add_argument("--output", type=Path, help="keep the encoded video here (mode full)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments, arguments.output or Path(folder) / "out.mp4")
    if arguments.json:
        print(json.dumps(result))
    else:
        print("{mode} t{threads}: {frames} frames {seconds:.2f}s {fps:.1f} fps cpu {cpu_ms:.2f} ms/frame "
              "prepare {prepare_ms:.2f} infer {infer_ms:.2f} decode {decode_ms:.2f} draw+pipe {draw_and_pipe_ms:.2f} "
              "detections {detections} rss {rss_mib} MiB".format(**result))


if __name__ == "__main__":
    main()
