"""A sweep against predicting point by point, and the time of one prediction of a counted network.

    python benchmarks/predicting.py [--points 1000000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import costmodel as cm

PROFILE = "raspberry-pi-4b/ncnn/fp32/t4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    points = parser.parse_args().points
    network = cm.zoo("resnet50")
    cm.predict(network, PROFILE, N=1)
    start = time.perf_counter()
    for n in range(1, 201):
        cm.predict(network, PROFILE, N=n)
    each = (time.perf_counter() - start) / 200
    side = round(points ** (1 / 3))
    start = time.perf_counter()
    swept = cm.sweep(network, PROFILE, N=range(1, side + 1), H=np.arange(64, 64 + side), W=np.arange(64, 64 + side))
    seconds = time.perf_counter() - start
    times = each * len(swept) / seconds
    print(f"one prediction: {each * 1e3:.2f} ms; {len(swept):,} points: {seconds:.2f} s, {times:,.0f} times faster")


if __name__ == "__main__":
    main()
