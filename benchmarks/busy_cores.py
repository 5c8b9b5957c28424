"""What two threads cost where the cores are busy, and how threads that sleep help: python benchmarks/busy_cores.py

1,024 images of 32 pixels through a small convnet (timm's test_resnet), alone and beside two processes that compute.
Prints a markdown table of medians. With OMP_WAIT_POLICY active, as OpenMP has it by itself, a thread that has done its
share of an operation spins until the other has done its own, which cannot go on while this one has its core; passive
threads sleep. On two free cores both are as fast.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

IMAGES, PIXELS = 1024, 32


def extract(threads: int, others: bool) -> float:
    """Seconds of an extraction in this process."""
    import numpy as np
    import torch
    from PIL import Image

    from prh import modalities
    from prh.io import tables
    from prh.modalities.image_batches import encode_images

    torch.set_num_threads(threads)
    entry = {"name": "resnet", "modality": "vision", "source": "random", "id": "test_resnet", "dtype": "float32"}
    encoder = modalities.load(entry, None, "cpu")
    draw, samples = np.random.default_rng(0), []
    for _ in range(IMAGES):
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 255, (PIXELS, PIXELS, 3), np.uint8)).save(stream, "PNG")
        samples.append({"bytes": stream.getvalue(), "path": None})
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder, "shard.parquet")
        ids = [str(i) for i in range(IMAGES)]
        tables.write(tables.pa.table({"sample_id": ids, "image": samples}), shard, {})
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 if others else 0)]
        try:
            start = time.monotonic()
            list(encode_images(encoder, [shard], workers=threads))
            return time.monotonic() - start
        finally:
            for process in busy:
                process.kill()
                process.wait()


def measured(threads: int, policy: str, others: bool) -> float:
    """The same in a process of its own: OpenMP reads its settings when it is loaded."""
    command = [sys.executable, __file__, "--once", str(threads), *(["--others"] if others else [])]
    settings = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": policy}
    return float(subprocess.check_output(command, env=os.environ | settings, text=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", type=int, metavar="THREADS", help="measure in this process")
    parser.add_argument("--others", action="store_true", help="with two other processes that compute")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.once:
        print(extract(arguments.once, arguments.others))
        return
    print("| threads | beside | spinning (active) | sleeping (passive) |\n|---:|---|---:|---:|")
    for others in (False, True):
        for threads in (1, 2):
            times = {
                policy: median(measured(threads, policy, others) for _ in range(arguments.repetitions))
                for policy in ("active", "passive")
            }
            beside = "two busy processes" if others else "nothing of ours"
            print(f"| {threads} | {beside} | {times['active']:.1f} s | {times['passive']:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
