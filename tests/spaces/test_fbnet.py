"""FBNet: sums over the paper's table of layers, and the candidates that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import costmodel as cm
from costmodel.spaces.fbnet import OPS, TASKS

# arXiv 1812.03443, table 1 (ImageNet) and the CIFAR form: (channels, layers, stride)
STAGES = {
    "imagenet": [(16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1)],
    "cifar": [(16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1)],
}
SHAPES = {"imagenet": (224, 2, 1984, 1000), "cifar": (32, 1, 1504, 100)}


def expected(ops: list[str], task: str) -> tuple[int, int]:
    """Multiply-adds and parameters, block by block; all sizes here halve without a remainder."""
    size, stem_stride, width, classes = SHAPES[task]
    size, c_in = size // stem_stride, 16
    macs, params = 27 * 16 * size**2, 27 * 16 + 2 * 16
    rest = iter(ops)
    for c_out, layers, first_stride in STAGES[task]:
        for i in range(layers):
            op, stride = next(rest), 1 if i else first_stride
            small = size // stride
            if op == "skip":
                if stride > 1 or c_in != c_out:
                    macs, params = macs + c_in * c_out * small**2, params + c_in * c_out + 2 * c_out
            else:
                kernel, expansion = int(op[1]), int(op.split("_e")[1][0])
                groups, wide = 2 if op.endswith("g2") else 1, c_in * expansion
                first, last, middle = c_in * wide // groups, wide * c_out // groups, kernel**2 * wide
                macs += first * size**2 + (middle + last) * small**2
                params += first + middle + last + 2 * (wide + wide + c_out)
            size, c_in = small, c_out
    macs += c_in * width * size**2 + width * classes
    return macs, params + c_in * width + 2 * width + width * classes + classes


@pytest.mark.parametrize("task", STAGES)
def test_sums_over_blocks(task: str) -> None:
    space = cm.search.space("fbnet", task=task)
    rng = np.random.default_rng(0)
    uniform = [space.record((op,) * 22) for op in OPS]
    for candidate in (*uniform, *[space.sample(rng) for _ in range(40)]):
        total = cm.count(space.network(candidate)).at()
        assert (total.macs, total.params) == expected(list(candidate.ops), task), candidate


def test_every_measured_candidate(shared: Path) -> None:
    space = cm.search.space("fbnet", task="cifar")
    with np.load(shared / "data" / "fbnet_latency.npz") as table:
        names, rows = tuple(table["op_names"]), table["op_idx"]
        times = table["latency_ms"][:, list(table["devices"]).index("raspi4")]
    assert names == OPS
    candidates = [space.decode(row) for row in rows]
    assert np.array_equal([space.encode(candidate) for candidate in candidates[:100]], rows[:100])
    macs = [expected(list(candidate.ops), "cifar")[0] for candidate in candidates]
    ranks = [np.argsort(np.argsort(values)) for values in (macs, times)]
    assert np.corrcoef(*ranks)[0, 1] > 0.9  # these times are sums over blocks


def test_a_skip_that_keeps_the_shape_is_no_layer() -> None:
    space = cm.search.space("fbnet")
    skips = space.network(space.record(("skip",) * 22), N=1)
    # what is left: the stem, one 1x1 convolution where a stage widens (all but the first), the head
    assert sum(layer.op == "Conv" for layer in skips.layers) == 1 + 6 + 1


def test_the_tasks_are_those_of_the_table() -> None:
    assert {name: (task.image, task.stem_stride, task.head, task.classes) for name, task in TASKS.items()} == SHAPES
