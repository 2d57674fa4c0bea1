"""NAS-Bench-201: the published range, all architecture strings, and multiply-adds and parameters edge by edge."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import costmodel as cm

NAS = cm.search.space("nasbench201")
PRUNED = cm.search.space("nasbench201", pruned=True)
KERNEL = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


def conv(c_in: int, c_out: int, kernel: int, width: int) -> tuple[int, int]:
    """Multiply-adds and parameters of a convolution without bias and of the norm after it."""
    weights = c_in * c_out * kernel**2
    return weights * width**2, weights + 2 * c_out


def expected(ops: tuple[str, ...]) -> tuple[int, int]:
    """The sums over the paper's skeleton, with every edge that has an op."""
    parts = [conv(3, 16, 3, 32), (64 * 10, 64 * 10 + 10), (0, 2 * 64)]  # stem, linear, the norm before it
    for channels, width in ((16, 32), (32, 16), (64, 8)):
        parts += 5 * [conv(channels, channels, KERNEL[op], width) for op in ops if op in KERNEL]
    for channels, width in ((32, 16), (64, 8)):
        macs, params = conv(channels // 2, channels, 1, width)
        shortcut = macs, params - 2 * channels  # it has no norm
        parts += [conv(channels // 2, channels, 3, width), conv(channels, channels, 3, width), shortcut]
    macs, params = zip(*parts, strict=True)
    return sum(macs), sum(params)


def test_multiply_adds_and_parameters() -> None:
    for candidate in itertools.islice(NAS, 0, None, 29):
        total = cm.count(NAS.network(candidate, N=1)).at()
        assert (total.macs, total.params) == expected(candidate.ops), candidate


# arXiv 2001.00326: a search space of 15,625; "#params (M)" and "FLOPs (M)" of its smallest and its largest networks
def test_the_published_range() -> None:
    counts = np.array([expected(candidate.ops) for candidate in NAS]) / 1e6
    assert len(counts) == 15_625
    assert counts.min(axis=0).round(2).tolist() == [7.78, 0.07]
    assert counts.max(axis=0).round(1).tolist() == [220.1, 1.5]


def paths(ops: tuple[str, ...]) -> set[int]:
    """The edges on any path from the input of the cell to its output that no zero interrupts."""
    edge = dict(zip(((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), range(6), strict=True))
    ways = [[(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)]]
    open_ways = [way for way in ways if all(ops[edge[step]] != "none" for step in way)]
    return {edge[step] for way in open_ways for step in way}


def test_pruned_only_edges_on_a_path_are_left() -> None:
    for candidate in itertools.islice(PRUNED, 0, None, 31):
        live = paths(candidate.ops)
        ops = tuple(op if i in live else "none" for i, op in enumerate(candidate.ops))
        total = cm.count(PRUNED.network(candidate, N=1)).at()
        assert (total.macs, total.params) == expected(ops), candidate


def test_literally_and_pruned_a_cell_without_dead_edges_is_the_same() -> None:
    candidate = NAS.record(("nor_conv_3x3", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "skip_connect", "avg_pool_3x3"))
    literal, pruned = (cm.count(space.network(candidate, N=1)).at() for space in (NAS, PRUNED))
    assert literal == pruned


def test_zeros_cost_time_but_no_parameters() -> None:
    nothing = NAS.record(("none",) * 6)
    literal, pruned = (space.network(nothing, N=1) for space in (NAS, PRUNED))
    assert [sum(layer.op == "Sub" for layer in net.layers) for net in (literal, pruned)] == [6 * 15, 15]
    assert cm.count(literal).at().params == cm.count(pruned).at().params == expected(nothing.ops)[1]


def test_all_published_architecture_strings(shared: Path) -> None:
    lines = (shared / "data" / "nb201_archs.txt").read_text(encoding="utf-8").split()
    candidates = [NAS.parse(line) for line in lines]
    assert len(lines) == NAS.size
    assert set(candidates) == set(NAS)
    assert [NAS.format(candidate) for candidate in candidates] == lines


def test_macs_order_the_measured_times(shared: Path) -> None:
    """A wrong order of edges or lines would give a rank correlation of 0."""
    lines = (shared / "data" / "nb201_archs.txt").read_text(encoding="utf-8").split()
    with np.load(shared / "data" / "nb201_latency.npz") as table:
        device = list(table["devices"]).index("raspi4")
        times = table["latency_ms"][:, device]
    macs = np.array([expected(NAS.parse(line).ops)[0] for line in lines])
    ranks = [np.argsort(np.argsort(values)) for values in (macs, times)]
    assert np.corrcoef(*ranks)[0, 1] > 0.5


@pytest.mark.parametrize(("image", "classes"), [((1, 52, 16), 18), ((3, 88, 88), 1)])
def test_other_tasks(image: tuple[int, int, int], classes: int) -> None:
    space = cm.search.space("nasbench201", image=image, classes=classes)
    net = space.network(space.record(("nor_conv_3x3",) * 6), N=1)
    assert net.inputs["x"].dims == (1, *image)
    channels, height, width = image
    stem = 9 * channels * 16 * height * width
    assert cm.count(net).by_layer()[0].quantities.macs == stem
    (output,) = net.outputs.values()
    assert output.dims == (1, classes)
