"""How alike two configurations are, by their facts alone."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from costmodel.schema.device import Device

CORE, PRECISION, INSTRUCTIONS, GENERATION = 0.35, 0.35, 0.15, 0.15  # what of a likeness each fact tells
THREADS = 3.0  # doublings of the number of threads that make two configurations unlike
USUAL_THREADS = 4


class Facts(NamedTuple):
    """What of a configuration shapes the profile of its times: which networks are slow beside which."""

    core: str
    instructions: str
    precision: str
    threads: int


def facts(device: Device, precision: str, variant: str) -> Facts:
    """The facts of a configuration; on the GPU its architecture, or else its name, stands for the core.

    >>> from costmodel.schema.device import devices
    >>> facts(devices()["raspberry-pi-5"], "fp16", "t4")
    Facts(core='cortex-a76', instructions='armv8.2', precision='fp16', threads=4)
    """
    threads = re.search(r"\bt(\d+)\b", variant)
    return Facts(_core(device, variant), device.isa or "", precision, int(threads[1]) if threads else USUAL_THREADS)


def _core(device: Device, variant: str) -> str:
    if variant.startswith("vulkan"):
        named = [gpu for gpu in device.gpus if gpu.id in variant] or list(device.gpus)
        return named[0].architecture or named[0].id if named else ""
    if not device.clusters:
        return ""
    return device.clusters[-1 if "little" in variant else 0].core


def kinship(one: Facts, other: Facts) -> float:
    """From 0, nothing in common, to 1, the same in all.

    >>> pi_4, pi_5 = Facts("cortex-a72", "armv8", "fp32", 4), Facts("cortex-a76", "armv8.2", "fp16", 4)
    >>> kinship(pi_4, pi_4), kinship(pi_4, pi_5)
    (1.0, 0.15)
    """
    shared = (
        CORE * (one.core == other.core)
        + PRECISION * (one.precision == other.precision)
        + INSTRUCTIONS * (_family(one.instructions) == _family(other.instructions))
        + GENERATION * (one.instructions == other.instructions)
    )
    doublings = math.log2(one.threads / other.threads)
    return shared * math.exp(-0.5 * (doublings / THREADS) ** 2)


def _family(instructions: str) -> str:
    """armv8.2 and armv8 are both Arm's; what has no number stands for itself."""
    return instructions.rstrip(".0123456789")
