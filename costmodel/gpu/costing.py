"""What the kernels of a network take on a GPU that only its datasheet tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.gpu.kernels import Shaped, at, shaped_kernels
from costmodel.gpu.launches import COLUMNS, launches
from costmodel.gpu.law import BLEND, Times, times
from costmodel.gpu.training import with_gradients
from costmodel.graph import Network
from costmodel.schema.datasheet import Datasheet
from costmodel.schema.profile import Law

# a family that no card of a vendor was measured on, by the one that it is costed as
STANDS_FOR = {"conv": "linear"}
WORTH_TELLING = 0.05  # part of the time


@dataclass(frozen=True, slots=True)
class Costed:
    """A kernel with its seconds by resource, which add up, and how much of the datasheet's roofline it reaches.

    ``flops`` are two for each multiply-add.
    """

    kernel: Shaped
    flops: float
    seconds: Mapping[str, float]
    utilisation: float


def cost(network: Network, point: Mapping[str, int], sheet: Datasheet, law: Law, *, training: bool = False) -> list[Costed]:
    """The kernels of a network in running order; of a forward and a backward pass for ``training``.

    Arithmetic and traffic run at once; the time of both is shared out as each weighs in the law's blend of the two.
    """
    forward = shaped_kernels(network)
    kernels = list(with_gradients(forward)) if training else forward
    families: dict[str, list[int]] = {}
    for i, kernel in enumerate(kernels):
        families.setdefault(kernel.family, []).append(i)
    found: list[Costed | None] = [None] * len(kernels)
    for family, members in families.items():
        for i, costed in zip(members, _of_family([kernels[i] for i in members], family, point, sheet, law), strict=True):
            found[i] = costed
    return [costed for costed in found if costed is not None]


def _of_family(kernels: Sequence[Shaped], family: str, point: Mapping[str, int], sheet: Datasheet, law: Law) -> list[Costed]:
    chosen = family if family in law.numbers else STANDS_FOR[family]
    rows = [at(kernel, point) for kernel in kernels]
    columns = {name: np.array([row[name] for row in rows]) for name in COLUMNS}
    if chosen != family:
        columns["winograd"] = np.zeros(len(rows))
    shapes = launches(chosen, **columns)
    found = times(shapes, sheet, law.numbers[chosen], law.typical_clock)
    moved = shapes.read_bytes + shapes.write_bytes + shapes.weight_bytes
    roofline = np.maximum(shapes.flops / sheet.product_flop_per_s, moved / sheet.bandwidth_b_per_s)
    share = roofline / found.total_s
    return [_costed(kernel, found, i, float(shapes.flops[i]), float(share[i])) for i, kernel in enumerate(kernels)]


def _costed(kernel: Shaped, found: Times, i: int, flops: float, utilisation: float) -> Costed:
    launch, compute, memory = (float(part[i]) for part in (found.launch_s, found.compute_s, found.memory_s))
    work = float(found.total_s[i]) - launch
    of_compute = compute**BLEND / (compute**BLEND + memory**BLEND) if work else 0.0
    parts = {"launch": launch, "compute": work * of_compute, "memory": work * (1 - of_compute)}
    seconds = {name: part * kernel.times for name, part in parts.items() if part}
    return Costed(kernel, flops * kernel.times, seconds, utilisation)


def unmeasured(costed: Sequence[Costed]) -> tuple[tuple[str, ...], float]:
    """What part of the time is in kernels whose like no card has run, and the factor by which that widens an interval.

    The factor is 1 where all kernels are of measured kinds, and 2 where none is.
    """
    whole = sum(sum(one.seconds.values()) for one in costed)
    by_op: dict[str, float] = {}
    for one in costed:
        if not one.kernel.is_measured:
            by_op[one.kernel.op] = by_op.get(one.kernel.op, 0.0) + sum(one.seconds.values())
    told = tuple(
        f"{op}: {time_s / whole:.0%} of the time is in kernels whose like no card of the law has run"
        for op, time_s in sorted(by_op.items())
        if time_s > WORTH_TELLING * whole
    )
    return told, 1.0 + (sum(by_op.values()) / whole if whole else 0.0)
