"""The best order against the file's: how much less memory, whether that is proven, and how long it takes.

    python benchmarks/ordering.py [network ...]

Without names: randomly wired cells of several sizes (Xie et al. 2019, arXiv 1904.01569), of the kind that SERENITY (Ahn et
al. 2020, arXiv 2003.02369) orders, and networks of the zoo.
"""

from __future__ import annotations

import random
import sys
import time

import costmodel as cm
from costmodel.build import Builder
from costmodel.graph import Network

ZOO = ("googlenet", "inception_v4", "densenet201", "nanodet_m", "swin_t", "bert_large")


def wired(seed: int, nodes: int, reach: int) -> Network:
    """Nodes that add up some of the last ones and convolve; what nobody reads is concatenated at the end."""
    rng = random.Random(seed)
    b = Builder(f"wired {nodes}/{reach} #{seed}")
    made = [b.input("x", (1, 16, 32, 32))]
    unread: set[str] = set()
    for _ in range(nodes):
        chosen = rng.sample(made[-reach:], min(len(made[-reach:]), rng.randint(1, 3)))
        unread -= set(chosen)
        mixed = chosen[0]
        for other in chosen[1:]:
            mixed = b.add(mixed, other)
        made.append(b.conv(b.relu(mixed), 16, kernel=3, padding=1))
        unread.add(made[-1])
    return b.finish(b.concat(*(x for x in made if x in unread)))


def main(names: list[str]) -> None:
    networks = [cm.zoo(name) for name in names or ZOO]
    if not names:
        networks += [wired(seed, nodes, reach) for nodes, reach in ((16, 8), (32, 16), (64, 32)) for seed in range(3)]
    for network in networks:
        point = network.bind({})
        in_file = cm.memory(network).at(point)
        start = time.perf_counter()
        best = cm.memory(network, order="best").at(point)
        seconds = time.perf_counter() - start
        gain = in_file.peak_bytes / best.peak_bytes
        gap = best.peak_bytes / best.lower_bound_bytes - 1
        proof = "proven" if gap == 0 else f"at most {gap:.1%} above the least"
        print(f"{network.name:20} {len(network.layers):5} layers {gain:5.2f}x less  {proof:30} {seconds:5.2f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
