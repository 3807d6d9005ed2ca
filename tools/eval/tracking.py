#!/usr/bin/env python3
"""Our trackers beside public ones, on the same detections, in the same run.

    tracking.py PROGRAM DATA

PROGRAM is the example `track_mot` of the crate `analytics`; DATA is the folder that `scripts/setup eval` makes.
The public trackers are those of the Python package `trackers`, and so is the scorer, which computes what TrackEval
does. All get the same thresholds and the same two seconds before a lost track ends; the rest is each one's default.

Ground truth: TUD-Campus and TUD-Stadtmitte, MOTA and IDF1 at IoU 0.5. A second run has inference away for half a
second of every two: ours coast, the others are not called and told the time. Its figures are means of four such runs,
with the outages at other times: on sequences so short, one happy or unhappy outage is several points.
Without ground truth: the walking people of the demo, found by our own detector. There, fewer ids and fewer gaps are
better as long as boxes stay as many; nothing says that an id is right.

Microseconds a frame are the median of the means of some runs; a public tracker's is that of its `update` alone.
Needs numpy, supervision and trackers.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import supervision
    from trackers import BoTSORTTracker, ByteTrackTracker, OCSORTTracker, SORTTracker
    from trackers.eval import evaluate_mot_sequences

LOST_S = 2.0
HIGH_SCORE = 0.5
PERIOD_S, AWAY_S = 2.0, 0.5
PHASES_S = (0.0, 0.5, 1.0, 1.5)
RUNS = 3
# The buffer is in frames of 30 a second, whatever the rate of the video.
COMMON = {"lost_track_buffer": round(LOST_S * 30), "track_activation_threshold": HIGH_SCORE}
TWO_STAGES = COMMON | {"high_conf_det_threshold": HIGH_SCORE}
PUBLIC = {
    "SORT": (SORTTracker, COMMON),
    "ByteTrack": (ByteTrackTracker, TWO_STAGES),
    "OC-SORT": (OCSORTTracker, {"lost_track_buffer": COMMON["lost_track_buffer"]}),
    "BoT-SORT": (BoTSORTTracker, TWO_STAGES),
}
OURS = ["sort", "bytetrack", "botsort"]


@dataclass
class Sequence:
    name: str
    fps: float
    size: str

    def detections(self, data):
        return data / self.name / "det.txt"


TRUE = [Sequence("TUD-Campus", 25, "640x480"), Sequence("TUD-Stadtmitte", 25, "640x480")]
WALKING = Sequence("walking", 10, "768x576")


def run_ours(program, algorithm, sequence, data, results, phase):
    """Microseconds a frame; the tracks are in `results`."""
    command = [program, algorithm, str(sequence.fps), sequence.size, sequence.detections(data), results]
    command += [] if phase is None else [str(PERIOD_S), str(phase)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_public(name, sequence, data, results, phase):
    """Microseconds a frame; the tracks are in `results`."""
    rows = np.loadtxt(sequence.detections(data), delimiter=",", usecols=range(7))
    if name == "SORT":
        # It has no threshold of its own and takes whatever it is given.
        rows[(0 <= rows[:, 6]) & (rows[:, 6] < HIGH_SCORE), 0] = -1
    frames = []
    for number in range(1, int(rows[:, 0].max()) + 1):
        here = rows[rows[:, 0] == number]
        left, top, width, height, score = here[:, 2:7].T
        frames.append(supervision.Detections(
            xyxy=np.column_stack([left, top, left + width, top + height]).astype(np.float32),
            confidence=np.where(score < 0, 1, score).astype(np.float32), class_id=np.zeros(len(here), int)))
    make, settings = PUBLIC[name]
    times = []
    for _ in range(RUNS):
        tracker = make(frame_rate=float(sequence.fps), **settings)
        lines, elapsed = [], 0.0
        for index, detections in enumerate(frames):
            at = index / sequence.fps
            if phase is not None and (at + phase) % PERIOD_S >= PERIOD_S - AWAY_S:
                continue
            begin = time.perf_counter()
            tracked = tracker.update(detections, timestamp=at)
            elapsed += time.perf_counter() - begin
            for (left, top, right, bottom), track in zip(tracked.xyxy, tracked.tracker_id):
                if track >= 0:
                    lines.append(f"{index + 1},{track + 1},{left:.2f},{top:.2f},{right - left:.2f},"
                                 f"{bottom - top:.2f},1,-1,-1,-1\n")
        times.append(elapsed * 1e6 / len(frames))
    results.write_text("".join(lines))
    return statistics.median(times)


def trackers_of(program, data):
    """(name, run) of each tracker: run(sequence, results, phase) returns microseconds a frame."""
    for algorithm in OURS:
        yield (f"ours, {algorithm}", lambda sequence, results, phase, algorithm=algorithm:
               run_ours(program, algorithm, sequence, data, results, phase))
    for name in PUBLIC:
        yield (f"trackers, {name}", lambda sequence, results, phase, name=name:
               run_public(name, sequence, data, results, phase))


def means(rows):
    """Column by column."""
    return [statistics.mean(column) for column in zip(*rows)]


def write_truth(data, folder):
    """2D MOT 2015 has no class column, and the scorer counts pedestrians, class 1."""
    folder.mkdir()
    for sequence in TRUE:
        rows = (line.split(",")[:6] for line in (data / sequence.name / "gt.txt").read_text().split())
        (folder / f"{sequence.name}.txt").write_text("".join(",".join([*row, "1", "1", "1"]) + "\n" for row in rows))


def score(program, data, scratch, phases):
    """Prints the table of the sequences with ground truth."""
    truth = scratch / "truth"
    write_truth(data, truth)
    columns = [sequence.name for sequence in TRUE]
    print(f"{'':20}" + "".join(f"{name:>17}" for name in columns) + f"{'both':>11}")
    print(f"{'':20}" + f"{'IDF1':>10}{'HOTA':>7}" * len(columns)
          + f"{'MOTA':>11}{'IDF1':>7}{'HOTA':>7}{'switches':>10}{'fragm.':>8}{'us a frame':>12}")
    for name, run in trackers_of(program, data):
        rows = []
        for phase in phases:
            results = Path(tempfile.mkdtemp(dir=scratch))
            times = [run(sequence, results / f"{sequence.name}.txt", phase) for sequence in TRUE]
            scored = evaluate_mot_sequences(truth, results, metrics=["CLEAR", "HOTA", "Identity"])
            each = [scored.sequences[column] for column in columns]
            both = scored.aggregate
            rows.append([value for of in each for value in (100 * of.Identity.IDF1, 100 * of.HOTA.HOTA)]
                        + [100 * both.CLEAR.MOTA, 100 * both.Identity.IDF1, 100 * both.HOTA.HOTA,
                           both.CLEAR.IDSW, both.CLEAR.Frag, statistics.mean(times)])
        *each, mota, idf1, hota, switches, fragmentations, microseconds = means(rows)
        print(f"{name:20}" + "".join(f"{a:10.1f}{b:7.1f}" for a, b in zip(each[::2], each[1::2]))
              + f"{mota:11.1f}{idf1:7.1f}{hota:7.1f}{switches:10.1f}{fragmentations:8.1f}{microseconds:12.1f}")


def count(program, data, scratch, phases):
    """Prints what can be said of the walking people."""
    print(f"{'':20}{'ids':>10}{'under 2 s':>11}{'gaps':>7}{'boxes':>8}{'us a frame':>12}")
    for name, run in trackers_of(program, data):
        rows = []
        for phase in phases:
            results = scratch / "walking.txt"
            microseconds = run(WALKING, results, phase)
            frames = defaultdict(list)
            for line in results.read_text().split():
                number, identity = line.split(",")[:2]
                frames[identity].append(int(number))
            spans = [seen[-1] - seen[0] + 1 for seen in frames.values()]
            gaps = sum(b - a > 1 for seen in frames.values() for a, b in zip(seen, seen[1:]))
            rows.append([len(frames), sum(span < 2 * WALKING.fps for span in spans), gaps,
                         sum(map(len, frames.values())), microseconds])
        ids, short, gaps, boxes, microseconds = means(rows)
        print(f"{name:20}{ids:10.1f}{short:11.1f}{gaps:7.1f}{boxes:8.0f}{microseconds:12.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    for phases in ([None], PHASES_S):
        outage = "" if phases == [None] else f", inference away for {AWAY_S:g} s of every {PERIOD_S:g} s"
        with tempfile.TemporaryDirectory() as scratch:
            print(f"\nGiven detections{outage}")
            score(arguments.program, arguments.data, Path(scratch), phases)
            print(f"\nWalking people, own detections{outage}")
            count(arguments.program, arguments.data, Path(scratch), phases)


if __name__ == "__main__":
    main()
