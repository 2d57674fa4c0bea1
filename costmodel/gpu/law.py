"""The law: time = launch + work / (peak of the datasheet x utilisation), the utilisation a closed function of the shape.

Products: multiprocessors work off tiles of the output in waves; what hangs over in the last wave and at the edges is idle.
Reductions: a row that is read again comes from the cache, as far as all rows in flight fit there. Everything else streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from costmodel.gpu.launches import Launches
from costmodel.schema.datasheet import Datasheet

Array = NDArray[np.float64]

BLEND = 4.0  # of arithmetic and traffic: both at once, so nearly the larger of the two
TILE = 128  # widest tile of a product that libraries use in single precision
# before Volta, a multiprocessor has no pipe of its own for integers (NVIDIA, Tesla V100 GPU architecture, 2017)
SHARED_ISSUE = frozenset({"kepler", "maxwell", "pascal"})
SPLITS = (1, 2, 4, 8)  # of the contracted dimension over thread blocks
# how often PyTorch's kernels read a row again: after its mean and variance; after its maximum, and after its sum
FURTHER_READS = {"layernorm": 1, "softmax": 2}
WARP_ROW = {"layernorm": 0, "softmax": 1024}  # longest row that is kept in registers instead

# By family: each number's name, where the fit starts, and how far it may stray (deviation of its logarithm; all are
# positive). Utilisations are of the datasheet's peaks.
STREAM_NUMBERS: Mapping[str, tuple[float, float]] = {"launch_s": (2.5e-5, 0.5), "bandwidth": (0.8, 0.3)}
ROW_NUMBERS = {**STREAM_NUMBERS, "in_flight": (4.0, 0.7)}  # rows on each multiprocessor
PRODUCT_NUMBERS = {
    **STREAM_NUMBERS,
    "arithmetic": (0.85, 0.3),  # utilisation of a large product
    "flop_per_j": (5e10, 0.15),  # that the power limit pays for
    "throttling": (0.7, 0.1),  # exponent: clock by power, between 1/2 and 1 as the voltage falls with the clock or not
    "shared_issue": (0.9, 0.2),  # utilisation where integers take issue slots from multiply-adds, against elsewhere
    "half_tile": (0.6, 0.3),  # utilisation of a tile half as wide, against a whole one
    "quarter_tile": (0.35, 0.3),
    "prologue": (24.0, 0.5),  # of each tile, in multiply-adds of depth
    "tail": (0.5, 0.5),  # idle part of the last wave that is waited for, against what others fill
}
CONV_NUMBERS = {
    **PRODUCT_NUMBERS,
    "launch_s": (6e-5, 0.1),  # of the transforms too
    "serial_s": (3e-8, 0.5),  # of each element of a filter, which one thread adds to the others' sum
    "winograd": (1.6, 0.3),  # speed by Winograd's transform, in direct multiply-adds
    "weight_passes": (4.5, 0.5),  # reads and writes of a 3x3 filter and its 4x4 transform: 9 + 16 + 16 for 9 weights
    "map_passes": (2.0, 0.5),  # of the maps and their transforms
}
NUMBERS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "linear": PRODUCT_NUMBERS,
    "bmm": PRODUCT_NUMBERS,
    "conv": CONV_NUMBERS,
    "softmax": ROW_NUMBERS,
    "layernorm": ROW_NUMBERS,
    "elementwise": STREAM_NUMBERS,
}
# at most the whole of a peak, or of what a whole tile or a pipe of its own reaches
UTILISATIONS = frozenset({"bandwidth", "arithmetic", "shared_issue", "half_tile", "quarter_tile"})


@dataclass(frozen=True, eq=False)
class Times:
    """What kernels take, by resource: seconds of each part as if it ran alone, and of the whole."""

    launch_s: Array
    compute_s: Array
    memory_s: Array

    @property
    def total_s(self) -> Array:
        """The launch, then arithmetic and traffic at once."""
        total: Array = self.launch_s + (self.compute_s**BLEND + self.memory_s**BLEND) ** (1 / BLEND)
        return total


def times(found: Launches, device: Datasheet, numbers: Mapping[str, float], typical_clock: float = 1.0) -> Times:
    """The times of kernels of one family on a device, by these numbers of the law.

    ``typical_clock`` stands for a guaranteed clock that the datasheet does not tell, as a part of the boost clock.
    """
    return Times(
        launch_s=numbers["launch_s"] + numbers.get("serial_s", 0.0) * found.k,
        compute_s=_compute_s(found, device, numbers, typical_clock),
        memory_s=_moved_bytes(found, device, numbers) / (device.bandwidth_b_per_s * numbers["bandwidth"]),
    )


def _moved_bytes(found: Launches, device: Datasheet, numbers: Mapping[str, float]) -> Array:
    if found.family in FURTHER_READS:
        reads = 1.0 + FURTHER_READS[found.family] * _missed(found, device, numbers["in_flight"])
        again: Array = found.read_bytes * reads + found.weight_bytes + found.write_bytes
        return again
    of_maps = 1.0 + found.winograd * (numbers.get("map_passes", 1.0) - 1.0)
    of_weights = 1.0 + found.winograd * (numbers.get("weight_passes", 1.0) - 1.0)
    moved: Array = (found.read_bytes + found.write_bytes) * of_maps + found.weight_bytes * of_weights
    return moved


def _missed(found: Launches, device: Datasheet, in_flight: float) -> Array:
    """The part of a row's further reads that the cache does not hold any more."""
    held = in_flight * device.compute_units * 4.0 * found.cols / device.cache_bytes
    missed: Array = np.where(found.cols > WARP_ROW[found.family], held / (1.0 + held), 0.0)
    return missed


def _compute_s(found: Launches, device: Datasheet, numbers: Mapping[str, float], typical_clock: float) -> Array:
    """Waves of tiles, with the best of the tiles and splits that libraries have."""
    if "arithmetic" not in numbers:
        return np.zeros(len(found))
    clock = _clock(device, numbers, typical_clock)
    share = numbers["arithmetic"] * (numbers["shared_issue"] if device.architecture in SHARED_ISSUE else 1.0)
    rate = device.product_flop_per_s * share * clock / device.compute_units
    widths = {TILE: 1.0, TILE // 2: numbers["half_tile"], TILE // 4: numbers["quarter_tile"]}
    best = np.full(len(found), np.inf)
    for tall, wide, split in product(widths, widths, SPLITS):
        tiles = found.batch * np.ceil(found.m / tall) * np.ceil(found.n / wide) * split
        flops = 2.0 * tall * wide * (np.ceil(found.k / split) + numbers["prologue"])
        waves = _waves(tiles / device.compute_units, numbers["tail"])
        best = np.minimum(best, waves * flops / min(widths[tall], widths[wide]))
    gain = 1.0 + found.winograd * (numbers.get("winograd", 1.0) - 1.0)
    seconds: Array = best / (rate * gain)
    return seconds


def _clock(device: Datasheet, numbers: Mapping[str, float], typical_clock: float) -> float:
    """The clock under load as a part of the boost clock, which the peak is stated for: as fast as the power limit lets it,
    but no slower than the vendor guarantees.
    """
    guaranteed = device.base_clock_ratio or typical_clock
    if device.power_w is None:
        return guaranteed
    paid: float = (numbers["flop_per_j"] * device.power_w / device.product_flop_per_s) ** numbers["throttling"]
    return max(guaranteed, min(1.0, paid))


def _waves(full: Array, tail: float) -> Array:
    """Waves that a multiprocessor works off; of the last one's idle part, others fill some."""
    waves: Array = full + tail / (1.0 + tail) * (np.ceil(full) - full)
    return waves
