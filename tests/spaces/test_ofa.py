"""Once-for-all MobileNetV3: sums over its blocks, and the candidates that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import costmodel as cm
from costmodel.spaces.ofa import Candidate, from_settings

STRIDES = (2, 2, 2, 1, 2)
SQUEEZES = (False, True, False, True, True)
WIDTHS = {1.0: [16, 24, 40, 80, 112, 160, 960, 1280], 1.2: [24, 32, 48, 96, 136, 192, 1152, 1536]}


def conv(c_in: int, c_out: int, kernel: int, size: int, *, norm: bool = True) -> np.ndarray:
    weights = c_in * c_out * kernel**2
    return np.array([weights * size**2, weights + 2 * c_out * norm])


def expected(candidate: Candidate, width: float) -> tuple[int, int]:
    """Multiply-adds and parameters, block by block."""
    stem, *units, final, features = WIDTHS[width]
    size = (candidate.resolution + 1) // 2
    total = conv(3, stem, 3, size) + conv(1, stem, 3, size) + conv(stem, stem, 1, size)
    c_in = stem
    for c_out, stride, squeezes, blocks in zip(units, STRIDES, SQUEEZES, candidate.units, strict=True):
        for i, (kernel, expansion) in enumerate(blocks):
            wide, small = c_in * expansion, size if i else (size + stride - 1) // stride
            total = total + conv(c_in, wide, 1, size) + conv(1, wide, kernel, small) + conv(wide, c_out, 1, small)
            if squeezes:
                inner = max(8, (wide // 4 + 4) // 8 * 8)
                inner += 8 * (inner < 0.9 * (wide // 4))
                total = total + np.array([2 * wide * inner, 2 * wide * inner + wide + inner])
            c_in, size = c_out, small
    total = total + conv(c_in, final, 1, size) + conv(final, features, 1, 1, norm=False)
    macs, params = total + np.array([features * 1000, features * 1000 + 1000])
    return int(macs), int(params)


@pytest.mark.parametrize("width", WIDTHS)
def test_sums_over_blocks(width: float) -> None:
    space = cm.search.space("ofa_mobilenet_v3", width=width)
    rng = np.random.default_rng(0)
    for candidate in [space.sample(rng) for _ in range(60)]:
        total = cm.count(space.network(candidate)).at()
        assert (total.macs, total.params) == expected(candidate, width), candidate


def test_every_measured_candidate(shared: Path) -> None:
    space = cm.search.space("ofa_mobilenet_v3")
    with np.load(shared / "data" / "ofa_latency.npz") as table:
        settings = list(zip(table["ks"], table["e"], table["d"], table["r"], strict=True))
    candidates = [from_settings(*row) for row in settings]
    assert all(candidate in space for candidate in candidates)
    for candidate, (ks, e, d, r) in zip(candidates[::50], settings[::50], strict=True):
        assert [len(unit) for unit in candidate.units] == d.tolist()
        used = [4 * unit + block for unit, depth in enumerate(d) for block in range(depth)]
        assert [pair for unit in candidate.units for pair in unit] == [(ks[i], e[i]) for i in used]
        assert candidate.resolution == r
        assert space.parse(space.format(candidate)) == candidate


def test_a_block_keeps_its_input_where_the_shape_stays() -> None:
    space = cm.search.space("ofa_mobilenet_v3")
    net = space.network(space.record((((3, 3),) * 2,) * 5, 128), N=1)
    # the first block of the stem, and the second block of each unit: the first of unit 4 has stride 1 but widens
    assert sum(layer.op == "Add" for layer in net.layers) == 1 + 5
