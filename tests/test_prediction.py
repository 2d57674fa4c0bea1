"""Predictions: sums by hand, intervals against simulation, how profiles are found, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.build import Builder
from costmodel.calibration import calibrate_all
from costmodel.costing import LEVEL
from costmodel.errors import InvalidChoice, InvalidProfile, UnknownProfile, UnknownSize, UnsupportedOp
from costmodel.features import FEATURES, NAMES
from costmodel.finding import find_profile, profiles
from costmodel.graph import Network
from costmodel.intervals import conformal_radius
from costmodel.planning import memory
from costmodel.prediction import predict, predict_many
from costmodel.schema.profile import HeldOut, Profile, Provenance, Range
from costmodel.specs import benchmark_network, zoo
from tests.synthetic import TYPICAL, measured, work

ANY = 1e30


def profile(
    seconds: Mapping[str, float],
    *,
    highest: Mapping[str, float] | None = None,
    margins: tuple[float, ...] = (0.1,) * 20,
    power_w: float | None = None,
    **names: str,
) -> Profile:
    """A profile with these seconds per unit, and no time for anything else."""
    return Profile(
        **{"device": "a-board", "runtime": "ncnn", "precision": "fp32", "variant": "t4", **names},
        device_kind="cpu",
        seconds_per_unit=dict.fromkeys(NAMES, 0.0) | dict(seconds),
        domain={name: Range(low=0, high=(highest or {}).get(name, ANY)) for name in NAMES},
        held_out=HeldOut(mape=0.1, median_ape=0.1, within_10=0.5, residuals=(), margins=margins),
        provenance=Provenance(networks=(), sources=(), licences=(), data_sha256="", costmodel_version="0"),
        power_w=power_w,
        power_scope=power_w and "wall",
    )


def launches(seconds: float) -> dict[str, float]:
    """The same for every kernel."""
    return {"product_kernels": seconds, "other_kernels": seconds}


def network() -> Network:
    """Convolution and activation, a copy, a pool and a linear layer, over a batch of N."""
    b = Builder("hand")
    x = b.input("x", ("N", 8, 6, 6))
    y = b.relu(b.conv(x, 16, kernel=3, padding=1))
    y = b.max_pool(b.concat(x, y), 2)
    return b.finish(b.linear(b.flatten(y), 10))


CONV_MACS = 16 * 36 * 8 * 9
COPY_BYTES = 4 * 36 * (8 + 16 + 24)
LINEAR_BYTES = 4 * (216 * 10 + 10)

# -- by hand ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5])
def test_times_are_work_times_seconds(n: int) -> None:
    costs = {"conv3x3_macs": 1e-9, "copy_bytes": 2e-9, "linear_weight_bytes": 3e-9, **launches(1e-6)}
    found = predict(network(), profile(costs), N=n)
    expected = {
        "conv1": n * CONV_MACS * 1e-9 + 1e-6,
        "concat1": n * COPY_BYTES * 2e-9 + 1e-6,
        "max_pool1": 1e-6,
        "linear1": LINEAR_BYTES * 3e-9 + 1e-6,
    }
    assert {kernel.name: kernel.time_s for kernel in found.by_layer()} == pytest.approx(expected)
    assert found.time_s.value == pytest.approx(sum(expected.values()))
    assert sum(kernel.share for kernel in found.by_layer()) == pytest.approx(1)
    assert [(kernel.op, kernel.kind, kernel.layers) for kernel in found.by_layer()] == [
        ("Conv", "conv3x3", ("conv1", "relu1")),
        ("Concat", "copy", ("concat1",)),
        ("MaxPool", "pool", ("max_pool1",)),
        ("Gemm", "linear", ("linear1",)),
    ]
    assert (found.network, found.profile, found.sizes) == ("hand", "a-board/ncnn/fp32/t4", {"N": n})
    assert found.memory_bytes == memory(network()).at(N=n).peak_bytes


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_every_feature_costs_what_the_profile_says(feature: Any) -> None:
    found = predict(benchmark_network("ncnn", "mobilenet_v3"), profile({feature.name: 0.5}))
    assert found.time_s.value == pytest.approx(0.5 * work("mobilenet_v3")[NAMES.index(feature.name)])
    assert found.bound == feature.bound or not found.time_s.value


@pytest.mark.parametrize(
    ("costs", "kernels", "bound"),
    [
        ({"conv3x3_macs": 1.0}, ["compute", "compute", "compute", "compute"], "compute"),
        (launches(1.0), ["launch"] * 4, "launch"),
        ({"linear_weight_bytes": 1, "copy_bytes": 1, **launches(1)}, ["launch", "memory", "launch", "memory"], "memory"),
        # one kernel alone: 40 of memory, twice 35 of arithmetic
        (
            {"conv3x3_read_bytes": 40 / 1152, "conv3x3_macs": 35 / CONV_MACS, "conv3x3_macs_per_depth": 35 * 8 / CONV_MACS},
            ["compute", "memory", "compute", "compute"], "compute",
        ),
    ],
)  # fmt: skip
def test_the_resource_that_most_of_the_time_goes_to(costs: dict[str, float], kernels: list[str], bound: str) -> None:
    found = predict(network(), profile(costs), N=1)
    timed = [(kernel.bound, told) for kernel, told in zip(found.by_layer(), kernels, strict=True) if kernel.time_s]
    assert timed
    assert all(one == told for one, told in timed)
    assert found.bound == bound


def test_energy_is_power_times_time() -> None:
    found = predict(network(), profile(launches(0.5), power_w=3.0), N=1)
    assert found.power_w is not None
    assert found.energy_j is not None
    assert (found.power_w.value, found.energy_j.value, found.energy_j.level) == (3.0, 6.0, found.time_s.level)
    assert (found.energy_j.low, found.energy_j.high) == pytest.approx((3 * found.time_s.low, 3 * found.time_s.high))
    without = predict(network(), profile(launches(0.5)), N=1)
    assert (without.energy_j, without.power_w) == (None, None)


def test_as_json() -> None:
    found = predict(network(), profile(launches(0.5), power_w=3.0), N=2).as_dict()
    assert json.loads(json.dumps(found)) == found
    assert list(found) == [
        "network", "profile", "sizes", "time_s", "energy_j", "power_w", "power_scope", "memory_bytes", "bound",
        "extrapolating", "warnings",
    ]  # fmt: skip
    assert found["power_w"] == {"value": 3.0, "low": 3.0, "high": 3.0, "level": LEVEL}


# -- intervals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "level", "radius", "supported"),
    [
        (9, 0.9, 9, 0.9),  # ceil(10 * 0.9) = 9
        (19, 0.9, 18, 0.9),
        (20, 0.9, 19, 0.9),  # ceil(18.9)
        (9, 0.5, 5, 0.5),
        (8, 0.9, 8, 8 / 9),  # ceil(8.1) = 9 is beyond 8: the largest, and the level that it supports
        (1, 0.9, 1, 0.5),
        (0, 0.9, math.inf, 0.0),
    ],
)
def test_the_radius_is_an_order_statistic(scores: int, level: float, radius: float, supported: float) -> None:
    mixed = np.random.default_rng(0).permutation(np.arange(1, scores + 1)).tolist()
    assert conformal_radius(mixed, level) == (radius, pytest.approx(supported))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("n", [4, 9, 10, 23])
def test_the_radius_covers_what_it_says(n: int, level: float) -> None:
    """Of 8,000 draws from a skewed distribution, the share within the radius of n others."""
    rng = np.random.default_rng(n)
    draws = rng.lognormal(0, 1, (8000, n + 1))
    found = [conformal_radius(row[:n].tolist(), level) for row in draws]
    covered = float(np.mean([last <= radius for (radius, _), last in zip(found, draws[:, n], strict=True)]))
    supported = found[0][1]
    assert supported == pytest.approx(min(level, n / (n + 1)))
    margin = 3 * math.sqrt(0.25 / 8000)
    assert supported - margin <= covered <= supported + 1 / (n + 1) + margin


@pytest.mark.parametrize("level", [0, 1, -0.5, 1.5, math.nan])
def test_a_level_lies_between_0_and_1(level: float) -> None:
    with pytest.raises(InvalidChoice, match="must lie between 0 and 1"):
        predict(network(), profile(launches(1.0)), N=1, level=level)


def test_the_interval_is_a_factor_both_ways() -> None:
    margins = tuple(i / 10 for i in range(1, 10))
    found = predict(network(), profile(launches(1.0), margins=margins), N=1).time_s
    assert (found.value, found.low, found.high, found.level) == pytest.approx((4, 4 / math.exp(0.9), 4 * math.exp(0.9), 0.9))
    half = predict(network(), profile(launches(1.0), margins=margins), N=1, level=0.5).time_s
    assert (half.low, half.high, half.level) == pytest.approx((4 / math.exp(0.5), 4 * math.exp(0.5), 0.5))


def test_far_outside_of_calibration_the_interval_widens() -> None:
    costs = launches(1.0)
    inside, edge, far, never = (
        predict(network(), profile(costs, highest=highest), N=10)
        for highest in (
            {},
            {"conv3x3_macs": 10 * CONV_MACS / 1.5},
            {"conv3x3_macs": CONV_MACS, "copy_bytes": 10 * COPY_BYTES / 4},
            {"pool_flops": 0},
        )
    )
    assert inside.extrapolating == edge.extrapolating == ()
    assert far.extrapolating == (
        "conv3x3_macs: 10.0 times the largest in calibration",
        "copy_bytes: 4.0 times the largest in calibration",
    )
    assert never.extrapolating == ("pool_flops: no network in calibration had any",)
    for found, stretch in ((inside, 1), (edge, 1), (far, 1 + math.log(10)), (never, 2)):
        assert found.time_s.value == 4
        factor = math.exp(0.1 * stretch)
        assert (found.time_s.low, found.time_s.high) == pytest.approx((4 / factor, 4 * factor))


# -- with what was measured -------------------------------------------------------------------------------------


def test_a_fitted_profile_gives_the_measured_times_back() -> None:
    rows = measured(TYPICAL)
    (fitted,) = calibrate_all(rows)
    for row in rows:
        found = predict(benchmark_network("ncnn", row.network), fitted)
        assert found.time_s.value == pytest.approx(row.time_s, rel=1e-2)
        assert found.extrapolating == ()


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "vit_b_32"])
def test_more_work_takes_longer(name: str) -> None:
    net = zoo(name)
    times = [predict(net, "raspberry-pi-4b/ncnn/fp32/t4", N=n).time_s.value for n in (1, 2, 4, 8)]
    assert times == sorted(times)
    assert times[0] < times[3] < 8.1 * times[0]  # the first row of a product is in what its weights take


def test_defaults_of_the_network_are_understood() -> None:
    wanted = "raspberry-pi-4b/ncnn/fp32/t4"
    net = zoo("resnet18")
    assert predict(net, wanted).time_s == predict(net, wanted, N=1, H=224, W=224).time_s
    assert predict(net, wanted, H=448, W=448).time_s.value > 3 * predict(net, wanted).time_s.value


# -- what is refused --------------------------------------------------------------------------------------------


def with_unknown_op() -> Network:
    b = Builder("unknown")
    return b.finish(b.op("Warp", b.linear(b.input("x", (1, 8)), 8)))


def test_an_op_without_a_rule() -> None:
    known = profile(launches(1.0))
    with pytest.raises(UnsupportedOp, match=r"Warp \(node 'warp1'\): no cost rule.*allow_unsupported=True"):
        predict(with_unknown_op(), known)
    found = predict(with_unknown_op(), known, allow_unsupported=True)
    assert found.time_s.value == 1
    (warning,) = found.warnings
    assert warning.startswith("not counted: Warp (node 'warp1'): no cost rule")


def test_sizes() -> None:
    with pytest.raises(UnknownSize, match="leaves N open"):
        predict(network(), profile({}))
    with pytest.raises(UnknownSize, match="no size 'M'"):
        predict(network(), profile({}), N=1, M=2)


def test_a_profile_of_other_features() -> None:
    """From before one of them was added: the time of what it stands for would be missing."""
    data = profile({}).model_dump()
    for part in ("seconds_per_unit", "domain"):
        data[part]["old_macs"] = data[part].pop("copy_bytes")
    with pytest.raises(InvalidProfile, match=r"by costmodel 0, whose features differ .* in copy_bytes, old_macs; calibrate"):
        predict(network(), Profile.model_validate(data), N=1)


# -- many -------------------------------------------------------------------------------------------------------


def test_columns_of_many_networks() -> None:
    known = profile(launches(1.0), power_w=2.0)
    columns = predict_many([network(), with_unknown_op(), zoo("resnet18"), network()], known, N=1)
    alone = predict(network(), known, N=1)
    assert columns["network"] == ["hand", "unknown", "resnet18", "hand"]
    for i in (0, 3):
        assert columns["time_s"][i] == alone.time_s.value
        assert (columns["time_low_s"][i], columns["time_high_s"][i]) == (alone.time_s.low, alone.time_s.high)
        assert (columns["energy_j"][i], columns["memory_bytes"][i]) == (8.0, alone.memory_bytes)
    assert [error and error.split(":")[0] for error in columns["error"]] == [None, "Warp (node 'warp1')", None, None]
    assert {columns[key][1] for key in columns if key not in ("network", "error")} == {None}


def test_a_missing_size_is_the_error_of_its_row() -> None:
    columns = predict_many([network(), zoo("resnet18")], profile(launches(1.0)))
    assert "leaves N open" in columns["error"][0]
    assert columns["time_s"][1] is not None
    assert columns["energy_j"] == [None, None]


def test_processes_give_the_same_columns() -> None:
    nets = [zoo(name) for name in ("resnet18", "squeezenet1_1", "mobilenet_v2")] + [with_unknown_op()]
    wanted = "raspberry-pi-4b/ncnn/fp32/t4"
    assert predict_many(nets, wanted, jobs=2) == predict_many(nets, wanted)


# -- finding a profile ------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The user's own folder of profiles; the function puts one there."""
    monkeypatch.setenv("COSTMODEL_HOME", str(tmp_path))
    return lambda **names: profile(launches(1.0), **names).save(tmp_path / "profiles")


def test_ids_are_paths(home: Callable[..., Path]) -> None:
    home(device="my-board", variant="t2")
    assert "my-board/ncnn/fp32/t2" in profiles()
    assert "raspberry-pi-4b/ncnn/fp32/t4" in profiles()
    assert profiles() == sorted(profiles())
    assert find_profile("my-board/ncnn/fp32/t2").variant == "t2"


def test_the_folder_in_the_data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSTMODEL_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    profile({}, device="my-board").save(tmp_path / "costmodel" / "profiles")
    assert find_profile("my-board").device == "my-board"


def test_the_users_own_profile_comes_first(home: Callable[..., Path]) -> None:
    home(device="raspberry-pi-4b")
    assert find_profile("raspberry-pi-4b/ncnn/fp32/t4").seconds_per_unit["other_kernels"] == 1.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("raspberry-pi-4b/ncnn/fp32/t1", "raspberry-pi-4b/ncnn/fp32/t1"),
        (" raspberry-pi-4b/ncnn/fp32/t1/ ", "raspberry-pi-4b/ncnn/fp32/t1"),
        ("rpi4/ncnn/fp32/t1", "raspberry-pi-4b/ncnn/fp32/t1"),
        ("raspberry-pi-4", "raspberry-pi-4b/ncnn/fp32/t4"),
        ("raspberry-pi-4b", "raspberry-pi-4b/ncnn/fp32/t4"),
        ("raspberry-pi-4b/nc", "raspberry-pi-4b/ncnn/fp32/t4"),
        ("raspberry-pi-5/ncnn", "raspberry-pi-5/ncnn/fp16/t4"),
        ("raspberry-pi-5/ncnn/fp16/v", "raspberry-pi-5/ncnn/fp16/vulkan"),
        ("raspberry-pi-5", "raspberry-pi-5/ncnn/fp16/t4"),
    ],
)
def test_what_a_text_stands_for(text: str, found: str) -> None:
    assert find_profile(text).id == found


DEFAULTS = [
    # the variants of a device, and the one that it stands for
    ({("fp32", "t1"), ("fp32", "t4"), ("fp32", "t2")}, "fp32/t4"),
    ({("int8", "t4"), ("fp32", "t1")}, "fp32/t1"),
    ({("fp16", "vulkan"), ("fp32", "t1")}, "fp32/t1"),
    ({("fp32", "t16-noavx512"), ("fp32", "t16"), ("fp32", "t8")}, "fp32/t16"),
    ({("int8", "t1"), ("int8", "t8")}, "int8/t8"),
    ({("fp16", "vulkan")}, "fp16/vulkan"),
]


@pytest.mark.parametrize(("variants", "chosen"), DEFAULTS)
def test_a_device_stands_for_its_usual_profile_and_a_note_says_so(
    home: Callable[..., Path], variants: set[tuple[str, str]], chosen: str
) -> None:
    for precision, variant in variants:
        home(device="my-board", precision=precision, variant=variant)
    notes: list[str] = []
    assert find_profile("my-board", notes).id == f"my-board/ncnn/{chosen}"
    others = sorted(f"ncnn/{precision}/{variant}" for precision, variant in variants if f"{precision}/{variant}" != chosen)
    expected = f"'my-board' stands for my-board/ncnn/{chosen}; the device also has {', '.join(others)}"
    assert notes == ([expected] if others else [])
    assert predict(network(), "my-board", N=1).warnings == tuple(notes)


def test_a_whole_name_wins_over_longer_ones(home: Callable[..., Path]) -> None:
    home(device="board")
    home(device="board-2")
    home(device="board-2", variant="t16")
    home(device="board-2", variant="t1")
    notes: list[str] = []
    assert find_profile("board", notes).device == "board"
    assert find_profile("board-2/ncnn/fp32/t1", notes).variant == "t1"
    assert notes == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no profile ''; "),
        ("/", "no profile '/'; "),
        ("raspberi-pi-4b", "no profile 'raspberi-pi-4b'; did you mean 'raspberry-pi-4b'"),
        ("raspberry-pi-4b/ncnn/fp32/t3", "did you mean 'raspberry-pi-4b/ncnn/fp32/t4'"),
        ("raspberry-pi-4b/caffe", "no profile 'raspberry-pi-4b/caffe'; "),
        ("../profiles/raspberry-pi-4b", "no profile '../profiles/raspberry-pi-4b'"),
        ("raspberry", "'raspberry' fits several devices: raspberry-pi-3b"),
    ],
)
def test_a_text_that_stands_for_none_or_for_several(text: str, told: str) -> None:
    with pytest.raises(UnknownProfile) as error:
        find_profile(text)
    assert told in str(error.value)


def test_files_that_are_no_profiles(home: Callable[..., Path]) -> None:
    path = home(device="my-board")
    moved = path.with_name("t8.json")
    moved.write_bytes(path.read_bytes())
    with pytest.raises(InvalidProfile, match=r"t8\.json: holds the profile my-board/ncnn/fp32/t4; move it to"):
        find_profile("my-board/ncnn/fp32/t8")
    path.write_text("{}")
    with pytest.raises(InvalidProfile, match=r"t4\.json: device: Field required"):
        find_profile("my-board/ncnn/fp32/t4")
