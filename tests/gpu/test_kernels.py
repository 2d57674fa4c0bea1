"""Shapes of kernels, the sum of their times, and profiles from a datasheet."""

from __future__ import annotations

import csv
import gzip
import math
import runpy
from pathlib import Path

import pytest

import costmodel as cm
from costmodel.build import Builder
from costmodel.costing import costing
from costmodel.dims import value_at
from costmodel.errors import InvalidDevice, InvalidProfile
from costmodel.finding import find_profile
from costmodel.gpu.costing import cost, unmeasured
from costmodel.gpu.kernels import Shaped, at, shaped_kernels
from costmodel.gpu.measured import SOURCE, kernel_table, measured_kernels, sheet_of, table_hash
from costmodel.gpu.profiles import profile_from_datasheet
from costmodel.gpu.training import with_gradients
from costmodel.gpu.unseen import law
from costmodel.schema.datasheet import datasheet_of
from costmodel.schema.device import Device, devices, find_device, read_devices
from tests.conftest import ROOT

CARDS = [device for device in devices().values() if "neusight" in device.listed_as]


def products(name: str, **sizes: int) -> list[tuple[float, ...]]:
    network = cm.zoo(name)
    point = network.bind(sizes)
    found = [at(kernel, point) for kernel in shaped_kernels(network) if kernel.macs != 0]
    return [tuple(row[column] for column in ("batch", "m", "n", "k")) for row in found]


def test_products_of_bert() -> None:
    """By the configuration: 24 layers of width 1024 with 16 heads, four times as wide inside."""
    found = products("bert_large", N=8, S=512)
    layer = [(1, 4096, 1024, 1024)] * 3 + [(128, 512, 512, 64), (128, 512, 64, 512)]
    layer += [(1, 4096, 1024, 1024), (1, 4096, 4096, 1024), (1, 4096, 1024, 4096)]
    assert found == [*layer * 24, (1, 8, 1024, 1024)]


def test_multiply_adds_are_those_of_the_count() -> None:
    for name, sizes in (("gpt2", {"N": 2, "S": 128}), ("resnet18", {"N": 1, "H": 224, "W": 224}), ("mobilenet_v2", {})):
        network = cm.zoo(name)
        point = network.bind(sizes)
        kernels = shaped_kernels(network)
        assert sum(value_at(kernel.macs, point) for kernel in kernels) == cm.count(network).at(**point).macs, name
        for kernel in kernels:
            row = at(kernel, point)
            if kernel.family != "elementwise":
                assert row["batch"] * row["m"] * row["n"] * row["k"] == value_at(kernel.macs, point), kernel


def test_kinds_of_convolution() -> None:
    b = Builder("convolutions")
    x = b.input("x", (2, 32, 14, 14))
    for options in ({"kernel": 3, "padding": 1}, {"kernel": 3, "stride": 2}, {"kernel": 1}, {"kernel": 3, "groups": 32}):
        x = b.conv(x, 32, **options)
    found = shaped_kernels(b.finish(x))
    told = [(kernel.family, kernel.winograd, kernel.is_measured) for kernel in found]
    assert told == [("conv", 1, True), ("linear", 0, False), ("linear", 0, False), ("elementwise", 0, False)]
    assert [(kernel.m, kernel.n, kernel.k) for kernel in found[:3]] == [(392, 32, 288), (72, 32, 288), (72, 32, 32)]


def test_gradients_do_twice_the_products() -> None:
    """A backward pass of a network of products has twice its multiply-adds; of streams it moves half as much again."""
    network = cm.zoo("gpt2")
    point = network.bind({"N": 1, "S": 64})
    forward = shaped_kernels(network)
    whole = list(with_gradients(forward))

    def macs(kernels: list[Shaped] | tuple[Shaped, ...]) -> float:
        return sum(math.prod(at(kernel, point)[name] for name in ("batch", "m", "n", "k")) for kernel in kernels)

    assert macs(whole) == 3 * macs(forward)


@pytest.mark.parametrize("device", CARDS, ids=lambda device: device.id)
def test_profiles_from_datasheets(device: Device) -> None:
    profile = find_profile(f"{device.id}/torch")
    assert profile.id == f"{device.id}/torch/fp32/eager"
    assert profile.datasheet == datasheet_of(device)
    assert profile.provenance.data_sha256 == table_hash()
    assert SOURCE in profile.provenance.sources
    network = cm.zoo("bert_base")
    found = cm.predict(network, profile, N=4, S=128)
    kernels = found.by_layer()
    assert sum(kernel.time_s for kernel in kernels) == pytest.approx(found.time_s.value)
    assert sum(kernel.share for kernel in kernels) == pytest.approx(1)
    assert all(kernel.utilisation is not None and 0 < kernel.utilisation < 1 for kernel in kernels)
    assert {kernel.bound for kernel in kernels} <= {"compute", "memory", "launch"}
    assert found.time_s.low < found.time_s.value < found.time_s.high
    assert found.extrapolating == ()


def test_what_bounds_a_network() -> None:
    network = cm.zoo("gpt2")
    assert cm.predict(network, "h100/torch", N=1, S=8).bound == "launch"
    assert cm.predict(network, "h100/torch", N=16, S=1024).bound == "compute"


def test_kernels_whose_like_was_not_measured_are_told() -> None:
    network = cm.zoo("mobilenet_v2")
    found = cm.predict(network, "v100/torch", N=64)
    assert any(text.startswith("Conv: ") and "no card of the law has run" in text for text in found.extrapolating)
    point = network.bind({"N": 64})
    _, stretch = unmeasured(cost(network, point, sheet_of("tesla-v100-pcie-32gb"), law("nvidia")))
    assert 1.3 < stretch <= 2
    assert found.time_s.high / found.time_s.value > cm.predict(cm.zoo("gpt2"), "v100/torch").time_s.high / (
        cm.predict(cm.zoo("gpt2"), "v100/torch").time_s.value
    )


def test_a_card_of_ones_own(tmp_path: Path) -> None:
    """A card with twice of everything takes between half the time and all of it."""
    table = """
[[device]]
id = "my-card"
title = "My card"
kind = "gpu"
source = "a datasheet"

[[device.gpus]]
id = "my-card"
name = "My card"
vendor = "nvidia"
compute_units = {units}
clock_hz = 1.4e9
base_clock_hz = 1.2e9
power_w = {power}
bandwidth_b_per_s = {bandwidth}
cache_bytes = 6_000_000
peak_flop_per_s = {{ fp32 = {peak} }}
"""
    times = []
    for times_as_much in (1, 2):
        facts = {"units": 60, "power": 250.0, "bandwidth": 6e11, "peak": 1e13}
        (tmp_path / "card.toml").write_text(table.format(**{name: fact * times_as_much for name, fact in facts.items()}))
        (device,) = read_devices(tmp_path / "card.toml")
        times.append(cm.predict(cm.zoo("gpt2"), profile_from_datasheet(device), N=8, S=512).time_s.value)
    assert 0.5 < times[1] / times[0] < 0.7


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("rtx-3090", "lacks vendor, bandwidth_b_per_s, cache_bytes, peak_flop_per_s.fp32; a profile from a datasheet needs"),
        ("raspberry-pi-4b", "has no .*device.gpus"),
    ],
)
def test_descriptions_that_lack_facts(device: str, told: str) -> None:
    with pytest.raises(InvalidDevice, match=told):
        profile_from_datasheet(find_device(device).model_copy(update={"gpus": ()} if "pi" in device else {}))


def test_a_law_has_no_costing() -> None:
    with pytest.raises(InvalidProfile, match="comes from a datasheet: it times kernels by their shapes"):
        costing(find_profile("l4/torch"))


# -- tables -----------------------------------------------------------------------------------------------------


def test_the_tables_are_made_from_the_published_ones(shared: Path, tmp_path: Path) -> None:
    tables = [shared / "data" / name for name in ("gpu_kernels.csv.gz", "gpu_networks.csv")]
    script = runpy.run_path(str(ROOT / "calibration" / "scripts" / "gpu_tables.py"))
    script["main"](*tables, tmp_path)
    assert gzip.decompress((tmp_path / "gpu_kernels.csv.gz").read_bytes()) == gzip.decompress(kernel_table().read_bytes())
    assert (tmp_path / "gpu_networks.csv").read_bytes() == (kernel_table().parent / "gpu_networks.csv").read_bytes()


def test_datasheets_agree_with_the_source_of_the_kernels(shared: Path) -> None:
    """Within 7 per cent, as the source states other clocks of some; it counts the P4's multiprocessors as halves."""
    with (shared / "data" / "gpu_devices.csv").open(encoding="utf-8", newline="") as file:
        facts = {row["device"]: row for row in csv.DictReader(file)}
    for device in CARDS:
        row, sheet = facts[device.listed_as["neusight"][0]], datasheet_of(device)
        halves = 2 if device.id == "tesla-p4" else 1
        assert sheet.compute_units * halves == pytest.approx(int(row["sm_count"]), rel=0.04), device.id
        assert sheet.product_flop_per_s == pytest.approx(float(row["fp32_matrix_tflops"]) * 1e12, rel=0.07), device.id
        assert sheet.bandwidth_b_per_s == pytest.approx(float(row["mem_bw_gb_s"]) * 1e9, rel=0.07), device.id
        assert sheet.cache_bytes == float(row["l2_mb"]) * 2**20, device.id


def test_the_contracted_dimension_is_the_one_of_the_source() -> None:
    """No matrix product beats a card's peak, as some would if output width and contracted dimension were exchanged."""
    for part in measured_kernels():
        if part.op in ("linear", "bmm"):
            rate = part.kernels.flops / part.time_s
            assert rate.max() <= sheet_of(part.device).product_flop_per_s * 1.01, (part.device, part.op)
