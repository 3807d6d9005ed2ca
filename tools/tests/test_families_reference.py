"""The reference of the families against answers that are known without it."""

import sys
import unittest
from pathlib import Path

import numpy as np

TOOLS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOOLS / "reference"))
from families_reference import FAMILIES, letterbox, objects, tensor  # noqa: E402


def decode(name, outputs, size, score=0.4):
    """As if the picture had the size of the input: nothing is moved."""
    family = FAMILIES[name]
    return objects(family, [output[None] for output in outputs], size, *size, score, family.iou)


class Preprocessing(unittest.TestCase):
    def test_letterbox(self):
        self.assertEqual(letterbox(1920, 1080, (640, 352)), (626, 352, 7, 0))
        self.assertEqual(letterbox(512, 512, (640, 480)), (480, 480, 80, 0))

    def test_channels_and_padding(self):
        # Limited-range I420 of red by BT.601.
        red = np.full((10, 20), 81, np.uint8), np.full((5, 10), 90, np.uint8), np.full((5, 10), 240, np.uint8)
        planar = tensor(*red, (32, 32), FAMILIES["yolov8"])
        self.assertEqual(planar.shape, (1, 3, 32, 32))
        np.testing.assert_allclose(planar[0, :, 16, 16] * 255, [254, 0, 0], atol=1)
        np.testing.assert_allclose(planar[0, :, 0, 0] * 255, 114, atol=1e-3)
        interleaved = tensor(*red, (32, 32), FAMILIES["blazeface"])
        self.assertEqual(interleaved.shape, (1, 32, 32, 3))
        np.testing.assert_allclose(interleaved[0, 16, 16], [1, -1, -1], atol=0.01)


class Decoding(unittest.TestCase):
    def test_centerface(self):
        heat, scale, offset, points = (np.zeros((channels, 16, 24)) for channels in (1, 2, 2, 10))
        heat[0, 5, 10] = 0.75
        scale[:, 5, 10] = np.log([6, 4])
        offset[:, 5, 10] = [0.25, -0.5]
        points[:, 5, 10] = [0, 0.5] * 5
        (face,) = decode("centerface", [heat, scale, offset, points], (96, 64))
        self.assertEqual((face["score"], face["box"]), (0.75, [32, 11, 48, 35]))
        self.assertEqual(face["landmarks"], [[40, 11]] * 5)

    def test_blazeface(self):
        scores = np.full((512, 1), -9.0), np.full((384, 1), -9.0)
        values = np.zeros((512, 16)), np.zeros((384, 16))
        row = (2 * 8 + 3) * 6 + 5
        scores[1][row] = 0
        values[1][row, :6] = [1, -2, 20, 30, -5, -6]
        (face,) = decode("blazeface", [*scores, *values], (128, 128))
        self.assertEqual((face["score"], face["box"]), (0.5, [47, 23, 67, 53]))
        self.assertEqual(face["landmarks"], [[51, 34]] + [[56, 40]] * 5)

    def test_yolov8(self):
        output = np.zeros((7, 84))
        output[:4, 5] = [20, 30, 10, 40]
        output[:4, 6] = [21, 30, 10, 40]
        output[6, 5:7] = [0.9, 0.8]
        (found,) = decode("yolov8", [output], (64, 64))
        self.assertEqual((found["class"], found["score"], found["box"]), (2, 0.9, [15, 10, 25, 50]))


if __name__ == "__main__":
    unittest.main()
