#!/usr/bin/env python3
"""The baseline: one hop of a frame between two Python processes.

    python_hop.py [--frames 400] [--width 1920] [--height 1080] [--json]

The usual way: the frame's bytes are copied into named shared memory, the slot's number goes through a
multiprocessing.Queue. "hop" is from `put` to the reader having the slot open, "copy_and_hop" from before the copy.
Needs numpy.
"""

import argparse
import json
import multiprocessing
import time
from multiprocessing import shared_memory

import numpy as np

SLOTS = 8


def read(queue, results, prefix, frames):
    slots = {}
    times_us = []
    for _ in range(frames):
        slot, begun, put = queue.get()
        if slot not in slots:
            slots[slot] = shared_memory.SharedMemory(name=f"{prefix}_{slot}")
        now = time.monotonic_ns()
        times_us.append(((now - put) / 1e3, (now - begun) / 1e3))
    results.put(times_us)


def run(arguments):
    size = arguments.width * arguments.height * 3 // 2
    prefix = f"python_hop_{multiprocessing.current_process().pid}"
    pool = [shared_memory.SharedMemory(name=f"{prefix}_{slot}", create=True, size=size) for slot in range(SLOTS)]
    try:
        queue, results = multiprocessing.Queue(), multiprocessing.Queue()
        reader = multiprocessing.Process(target=read, args=(queue, results, prefix, arguments.frames))
        reader.start()
        time.sleep(.5)
        frame = np.random.randint(0, 255, size, np.uint8)
        for number in range(arguments.frames):
            slot = number % SLOTS
            begun = time.monotonic_ns()
            np.frombuffer(pool[slot].buf, np.uint8)[:size] = frame
            queue.put((slot, begun, time.monotonic_ns()))
            time.sleep(.003)
        times_us = np.array(results.get())
        reader.join()
    finally:
        for slot in pool:
            try:
                slot.close()
            except BufferError:
                pass  # NumPy still holds a view; the memory goes with the process.
            slot.unlink()
    def percentiles(column):
        return {f"p{hundredth}_us": float(np.percentile(times_us[:, column], hundredth)) for hundredth in (50, 99)}

    return {"hop": percentiles(0), "copy_and_hop": percentiles(1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = run(arguments)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, times in result.items():
            print(f"mp.Queue + SharedMemory {arguments.width}x{arguments.height} I420 {name}: "
                  f"p50 {times['p50_us']:.0f} us, p99 {times['p99_us']:.0f} us")


if __name__ == "__main__":
    main()
