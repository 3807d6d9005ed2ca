"""The reference against answers that are known without it, and the models in use against the reference's needs."""

import hashlib
import re
import sys
import unittest
from pathlib import Path

import numpy as np

TOOLS = Path(__file__).resolve().parents[1]
ROOT = TOOLS.parent
sys.path.insert(0, str(TOOLS))
from reference.nanodet_reference import (  # noqa: E402
    DEVIATION_BGR, LABELS, MEAN_BGR, OUTPUTS, decode, letterbox, open_session, read_frames, sample, suppress, tensor)

INT8 = ROOT / "assets/models/nanodet-416-int8.onnx"
SLOW = ROOT / ".deps/models/nanodet-416-slow.onnx"
WALKING = ROOT / ".deps/clips/walking.mp4"


def nothing():
    """Outputs of the model in which no score is above 0."""
    return [np.zeros((1, (416 // stride) ** 2, width), np.float32) for width in (80, 44) for stride in (8, 16, 32)]


class Preprocessing(unittest.TestCase):
    def test_letterbox(self):
        self.assertEqual(letterbox(768, 576), (416, 312, 0, 52))
        self.assertEqual(letterbox(640, 272), (416, 177, 0, 119))
        self.assertEqual(letterbox(1080, 1920), (234, 416, 91, 0))

    def test_sampling_at_the_same_size_changes_nothing(self):
        plane = np.random.default_rng(1).integers(0, 256, (12, 16), dtype=np.uint8)
        np.testing.assert_allclose(sample(plane, 16, 12), plane)

    def test_halving_takes_the_mean_of_two_by_two(self):
        plane = np.random.default_rng(2).integers(0, 256, (12, 16), dtype=np.uint8)
        np.testing.assert_allclose(sample(plane, 8, 6), plane.reshape(6, 2, 8, 2).mean(axis=(1, 3)))

    def test_enlarging_repeats_the_edge(self):
        np.testing.assert_allclose(sample(np.uint8([[0, 100]]), 4, 1), [[0, 25, 75, 100]])

    def test_colours(self):
        # Limited-range I420 of red by BT.601, and the level of black in the bars.
        red = tensor(np.full((10, 20), 81, np.uint8), np.full((5, 10), 90, np.uint8), np.full((5, 10), 240, np.uint8))
        pixels = red[0] * DEVIATION_BGR[:, None, None] + MEAN_BGR[:, None, None]
        np.testing.assert_allclose(pixels[:, 208, 208], [0, 0, 254], atol=1)
        np.testing.assert_allclose(pixels[:, 0, 0], 0, atol=1e-4)


class Decoding(unittest.TestCase):
    def test_one_cell(self):
        outputs = nothing()
        cell = 5 * 26 + 3  # Stride 16: centre (56, 88).
        outputs[1][0, cell, 2] = 0.9
        for side, distance in enumerate((1, 2, 3, 4)):
            outputs[4][0, cell, side * 11 + distance] = 50
        ((label, score, box),) = decode(outputs, 416, 416)
        self.assertEqual((label, round(score, 3)), (2, 0.9))
        np.testing.assert_allclose(box, [56 - 16, 88 - 32, 56 + 48, 88 + 64], atol=1e-6)

    def test_boxes_are_mapped_back_and_clipped(self):
        outputs = nothing()
        outputs[2][0, 0, 0] = 0.5  # Stride 32, above and left of the picture.
        outputs[5][0, 0, :] = 0
        ((_, _, box),) = decode(outputs, 768, 576)
        np.testing.assert_allclose(box, [0, 0, (16 + 160) * 768 / 416, (16 + 160 - 52) * 576 / 312])

    def test_suppression_keeps_the_best_and_what_overlaps_little(self):
        boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [20, 0, 30, 10]], float)
        self.assertEqual(suppress(boxes, np.array([0.8, 0.9, 0.7, 0.6]), 0.6), [1, 2, 3])


class Models(unittest.TestCase):
    def test_the_shipped_model_is_the_documented_one(self):
        digest = hashlib.sha256(INT8.read_bytes()).hexdigest()
        self.assertEqual(re.search(r"sha256 \| `(\w+)`", (INT8.parent / "README.md").read_text())[1], digest)
        self.assertEqual(len(LABELS.read_text().splitlines()), 80)

    def test_a_batch_is_its_images(self):
        images = np.random.default_rng(3).normal(size=(2, 3, 416, 416)).astype(np.float32)
        session = open_session(INT8)
        both = session.run(OUTPUTS, {"images": images})
        for index in range(2):
            for together, alone in zip(both, session.run(OUTPUTS, {"images": images[index:index + 1]})):
                np.testing.assert_array_equal(together[index], alone[0])

    def test_people_are_found_and_the_slow_model_finds_the_same(self):
        ((_, *planes),) = read_frames(WALKING, frames_max=1)
        image = tensor(*planes)
        quick = open_session(INT8).run(OUTPUTS, {"images": image})
        found = decode(quick, 768, 576)
        self.assertGreaterEqual(sum(label == 0 for label, _, _ in found), 3)
        for left, right in zip(quick, open_session(SLOW).run(OUTPUTS, {"images": image})):
            np.testing.assert_allclose(left, right, rtol=0, atol=1e-6)


if __name__ == "__main__":
    unittest.main()
