"""Facts of shipped devices, and how alike they make two configurations."""

from __future__ import annotations

import math

import pytest

from costmodel.schema.device import devices
from costmodel.transfer.kinship import Facts, facts, kinship


@pytest.mark.parametrize(
    ("device", "precision", "variant", "expected"),
    [
        ("raspberry-pi-4b", "fp32", "t4", Facts("cortex-a72", "armv8", "fp32", 4)),
        ("rockchip-rk3399", "fp32", "t4-little", Facts("cortex-a53", "armv8", "fp32", 4)),
        ("rockchip-rk3399", "fp32", "t2-big", Facts("cortex-a72", "armv8", "fp32", 2)),
        ("azure-d64s-v6", "fp32", "t64-noavx512", Facts("xeon-platinum-8573c", "x86-64", "fp32", 64)),
    ],
)
def test_facts(device: str, precision: str, variant: str, expected: Facts) -> None:
    found = facts(devices()[device], precision, variant)
    core = devices()[device].clusters[0].core if device.startswith("azure") else expected.core
    assert found == expected._replace(core=core)


A = Facts("cortex-a76", "armv8.2", "fp16", 4)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (A, 1.0),
        (A._replace(core="cortex-a55"), 0.65),
        (A._replace(precision="fp32"), 0.65),
        (A._replace(instructions="armv8"), 0.85),
        (A._replace(instructions="x86-64"), 0.70),
        (A._replace(threads=32), math.exp(-0.5)),
        (Facts("k1", "riscv64", "fp32", 4), 0.0),
    ],
)
def test_kinship(other: Facts, expected: float) -> None:
    assert kinship(A, other) == pytest.approx(expected)
    assert kinship(other, A) == kinship(A, other)
