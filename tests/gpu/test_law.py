"""The law of utilisation: what must hold by physics, and numbers that are found again where times were made from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.gpu.fitting import UtilisationLaw
from costmodel.gpu.launches import Launches, launches
from costmodel.gpu.law import NUMBERS, UTILISATIONS, times
from costmodel.schema.datasheet import Datasheet

SHEET = Datasheet(
    vendor="nvidia", compute_units=80, product_flop_per_s=1e13, bandwidth_b_per_s=1e12, cache_bytes=6e6, base_clock_ratio=0.8
)
STARTS = {family: {name: start for name, (start, _) in table.items()} for family, table in NUMBERS.items()}
DIMS = st.integers(1, 5000)


def gemm(batch: int, m: int, n: int, k: int, family: str = "bmm") -> Launches:
    moved = {"read_bytes": [4.0 * batch * (m * k + k * n)], "write_bytes": [4.0 * batch * m * n]}
    return launches(family, **moved, batch=[batch], m=[m], n=[n], k=[k])


@given(st.integers(1, 64), DIMS, DIMS, DIMS)
def test_no_product_beats_the_roofline(batch: int, m: int, n: int, k: int) -> None:
    found = gemm(batch, m, n, k)
    least = max(2.0 * batch * m * n * k / SHEET.product_flop_per_s, (found.read_bytes + found.write_bytes)[0] / 1e12)
    assert times(found, SHEET, STARTS["bmm"]).total_s[0] > least


@given(DIMS, DIMS, DIMS, st.sampled_from("mnk"))
def test_more_work_never_takes_less_time(m: int, n: int, k: int, grown: str) -> None:
    sizes = {"m": m, "n": n, "k": k}
    more = sizes | {grown: 2 * sizes[grown]}
    before, after = (times(gemm(1, **shape), SHEET, STARTS["bmm"]).total_s[0] for shape in (sizes, more))
    assert after >= before


def brute_force(m: int, n: int, k: int, units: int) -> float:
    """Cycles of the busiest multiprocessor with whole tiles, counted one by one, in multiply-adds."""
    loads = [0] * units
    for tile in range(-(-m // 128) * -(-n // 128)):
        loads[tile % units] += 128 * 128 * k
    return float(max(loads))


@pytest.mark.parametrize(
    ("m", "n", "k"), [(128, 128, 64), (1280, 1024, 512), (1300, 1024, 512), (2048, 2048, 100), (4096, 130, 256)]
)
def test_waves_of_whole_tiles(m: int, n: int, k: int) -> None:
    """With no other tile or split worth its while, and all of the last wave waited for, tiles are dealt out one by one."""
    plain = STARTS["linear"] | {"half_tile": 1e-9, "quarter_tile": 1e-9, "prologue": 1e6, "tail": 1e9, "arithmetic": 1.0}
    device = SHEET.model_copy(update={"base_clock_ratio": 1.0})
    compute_s = times(gemm(1, m, n, k, "linear"), device, plain).compute_s[0]
    expected = 2 * brute_force(m, n, k + 1_000_000, 80) / (SHEET.product_flop_per_s / 80)
    assert compute_s == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("cols", "family", "passes"),
    [(64, "softmax", 2), (1024, "softmax", 2), (10**9, "softmax", 4), (16, "layernorm", 2), (10**9, "layernorm", 3)],
)
def test_rows_that_the_cache_does_not_hold_are_read_again(cols: int, family: str, passes: int) -> None:
    """PyTorch's kernels read a long row three times for a softmax, and twice for a layer norm, and write it once."""
    found = launches(family, read_bytes=[4e9], write_bytes=[4e9], cols=[cols])
    numbers = STARTS[family] | {"bandwidth": 1.0}
    assert times(found, SHEET, numbers).memory_s[0] == pytest.approx(passes * 4e9 / 1e12, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "clock"),
    [
        ({"base_clock_ratio": 0.6}, 0.6),  # no power limit is known: what the vendor guarantees
        ({"base_clock_ratio": 0.6, "power_w": 1e6}, 1.0),
        ({"base_clock_ratio": 0.6, "power_w": 1.0}, 0.6),
        ({"base_clock_ratio": 0.1, "power_w": 100.0}, 0.5**0.7),  # 5e10 flops a joule pay for half the peak
        ({"base_clock_ratio": None}, 0.7),
    ],
)
def test_the_clock_under_load(changes: dict[str, float | None], clock: float) -> None:
    device = SHEET.model_copy(update=changes)
    fastest = SHEET.model_copy(update={"base_clock_ratio": 1.0})
    found = gemm(1, 4096, 4096, 4096)
    slow, fast = (times(found, sheet, STARTS["bmm"], 0.7).compute_s[0] for sheet in (device, fastest))
    assert fast / slow == pytest.approx(clock)


def test_numbers_are_found_again() -> None:
    """Times of two cards by known numbers, with a few per cent of noise."""
    rng = np.random.default_rng(0)
    cards = [SHEET, SHEET.model_copy(update={"bandwidth_b_per_s": 3e11, "compute_units": 20, "product_flop_per_s": 3e12})]
    m, n, k = (rng.choice([64, 256, 512, 1024, 4096], 200).astype(float) for _ in range(3))
    found = launches("bmm", read_bytes=4 * (m * k + k * n), write_bytes=4 * m * n, batch=np.full(200, 4.0), m=m, n=n, k=k)
    true = STARTS["bmm"] | {"arithmetic": 0.7, "launch_s": 1e-5, "half_tile": 0.8}
    rows = [np.arange(0, 200, 2), np.arange(1, 200, 2)]
    measured = np.concatenate([times(found[kept], card, true).total_s for kept, card in zip(rows, cards, strict=True)])
    noisy = measured * np.exp(rng.normal(0, 0.02, 200))
    law = UtilisationLaw().fit(found[np.concatenate(rows)], noisy, [0] * 100 + [1] * 100, cards)
    np.testing.assert_allclose(law.predict(found[rows[0]], cards[0]), measured[:100], rtol=0.15)
    assert law.numbers_["launch_s"] == pytest.approx(1e-5, rel=0.15)
    assert law.numbers_["half_tile"] == pytest.approx(0.8, rel=0.15)
    assert all(law.numbers_[name] <= 1 for name in UTILISATIONS & law.numbers_.keys())
    assert law.get_params() == {"noise": 0.1, "own_spread": 0.15, "huber": 0.15}


def test_times_that_are_not_positive() -> None:
    with pytest.raises(ValueError, match="times must be positive, the least is 0"):
        UtilisationLaw().fit(launches("elementwise", read_bytes=[1.0, 2.0]), [1.0, 0.0], [0, 0], [SHEET])


def test_every_start_is_within_its_bound() -> None:
    for family, table in NUMBERS.items():
        assert all(start > 0 and math.isfinite(start) for start, _ in table.values()), family
        assert all(table[name][0] <= 1 for name in UTILISATIONS & table.keys()), family
