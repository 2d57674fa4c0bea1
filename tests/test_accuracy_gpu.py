"""Protocols of unseen GPUs: nothing of the hidden chip leaks, and the figures are sane."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.accuracy.figures import Case
from costmodel.accuracy.protocols import gpu
from costmodel.gpu import measured
from costmodel.gpu.measured import Measured, chip_of, fitted, measured_kernels
from costmodel.gpu.unseen import measured_networks
from costmodel.intervals import alike_quantile


def of(*ops: str) -> list[Measured]:
    return [part for part in measured_kernels() if part.op in ops]


def test_kernels_of_unseen_chips() -> None:
    found = gpu.kernels(of("softmax", "layernorm"), "some")
    assert found.metrics.n == sum(len(part.time_s) for part in of("softmax", "layernorm"))
    assert found.groups.keys() == {
        f"{family}, {sizes} sizes" for family in ("softmax", "layernorm") for sizes in ("real", "random")
    }
    assert found.metrics.mape < 0.2 < found.baselines["macs_linear"].mape
    assert found.metrics.mape < found.baselines["roofline_constant"].mape
    assert 0.8 < found.metrics.coverage < 0.97


def test_what_a_vendor_has_not_run_is_not_predicted() -> None:
    """Convolutions were measured on NVIDIA's cards alone."""
    assert fitted("amd", "conv") is None
    found = gpu.kernels(of("conv"), "some")
    assert found.metrics.n == sum(len(part.time_s) for part in of("conv"))


def test_networks_of_unseen_chips() -> None:
    runs = [run for run in measured_networks() if run.network in ("bert_large", "switchxl4")]
    found = gpu.networks(runs, "some")
    assert found.metrics.n == len(runs)
    assert found.metrics.mape < 0.15 < found.baselines["roofline_constant"].mape
    assert found.groups.keys() == {"inference", "training"}


def test_a_hidden_chip_is_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other times on both A100s change nothing in the law that is asked without their chip; those on a V100 do."""
    hidden = frozenset({chip_of("a100-pcie-40gb")})
    before = fitted("nvidia", "layernorm", hidden).numbers_

    def law_with_other_times(device: str) -> dict[str, float]:
        parts = [
            Measured(part.device, part.op, part.sizes, part.kernels, part.time_s * np.linspace(1, 9, len(part.time_s)))
            if part.device.startswith(device)
            else part
            for part in measured_kernels()
        ]
        monkeypatch.setattr(measured, "measured_kernels", lambda: tuple(parts))
        return fitted.__wrapped__("nvidia", "layernorm", hidden).numbers_

    assert law_with_other_times("a100") == before
    assert law_with_other_times("tesla-v100") != before


def test_chips_weigh_alike_in_an_interval() -> None:
    """Of three chips one errs by more; however many cases it has, it is the widest tenth and more of what is covered."""

    def cases(device: str, error: float, count: int) -> list[Case]:
        return [Case(device, "a", "some", error, 0.0, 1.0)] * count

    sized = [*cases("tesla-t4", 0.1, 100), *cases("tesla-p4", 0.5, 2), *cases("l4", 0.2, 1)]
    radii = {case.table: case.radius for case in gpu.with_radii(sized, lambda case: case.group)}
    assert radii == {"tesla-t4": 0.5, "tesla-p4": 0.2, "l4": 0.5}
    assert alike_quantile([[0.1] * 100, [0.5] * 2], 0.4) == 0.1
