#!/usr/bin/env python3
"""The people that NanoDet 416 finds in a clip, in MOT Challenge text format.

    detections.py CLIP MODEL OUTPUT

All from a score of 0.1 on, so that trackers get the weak ones too. A line is
`frame,-1,left,top,width,height,score,-1,-1,-1` in pixels of the clip, frames from 1 up.
Needs what tools/reference/nanodet_reference.py needs, whose arithmetic it is.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from nanodet_reference import OUTPUTS, decode, open_session, read_frames, tensor  # noqa: E402

SCORE_MIN = 0.1
PERSON = 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    session = open_session(arguments.model)
    lines = []
    for number, y, u, v in read_frames(arguments.clip):
        outputs = session.run(OUTPUTS, {"images": tensor(y, u, v)})
        for label, score, (left, top, right, bottom) in decode(outputs, y.shape[1], y.shape[0], SCORE_MIN):
            if label == PERSON:
                lines.append(f"{number + 1},-1,{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f},"
                             f"{score:.4f},-1,-1,-1\n")
    arguments.output.write_text("".join(lines))


if __name__ == "__main__":
    main()
