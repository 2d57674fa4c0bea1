"""The command line as a contract: exit codes, JSON keys, one-line errors, tables that fit.

Numbers are checked against counting by hand, published figures and ONNX itself.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.dims import Dim
from costmodel.features import NAMES
from costmodel.schema.profile import HeldOut, Profile, Provenance, Range
from costmodel.version import __version__
from tests.command import done, run

COUNT_KEYS = {
    "macs", "flops", "params", "weights", "weight_bytes", "activation_bytes", "peak_memory_bytes", "layers", "unsupported",
    "sizes",
}  # fmt: skip
VERBS = ("count", "memory", "predict", "compare", "zoo", "devices", "ops", "calibrate", "accuracy")
PROFILE = "test-board/ncnn/fp32/t1"
MS_PER_KERNEL = 2.0
RESIDUALS = (-0.2, -0.1, 0.05, 0.1, 0.15, 0.15, 0.2, 0.25, 0.3)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user with one profile of their own: every kernel takes 2 ms, nothing else takes any time."""
    folder = tmp_path / "home"
    monkeypatch.setenv("COSTMODEL_HOME", str(folder))
    device, runtime, precision, variant = PROFILE.split("/")
    Profile(
        device=device,
        runtime=runtime,
        precision=precision,
        variant=variant,
        device_kind="cpu",
        seconds_per_unit={name: MS_PER_KERNEL / 1000 if name.endswith("_kernels") else 0.0 for name in NAMES},
        domain=dict.fromkeys(NAMES, Range(low=0, high=1e15)),
        held_out=HeldOut(mape=0.1, median_ape=0.1, within_10=0.5, residuals=RESIDUALS, margins=sorted(map(abs, RESIDUALS))),
        provenance=Provenance(
            networks=("x",), sources=("test",), licences=("none",), data_sha256="0", costmodel_version="0"
        ),
        power_w=3.0,
        power_scope="board",
    ).save(folder / "profiles")
    yield folder


def onnx_file(folder: Path, *, batch: Any = "N", op: str = "Relu", domain: str = "") -> Path:
    """Convolution of 3 to 8 channels, 3x3, padded, with a bias; then an op on each element."""
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node(op, ["c"], ["y"], name="after", domain=domain),
    ]
    shapes = {"w": (8, 3, 3, 3), "b": (8,)}
    stored = [numpy_helper.from_array(numpy.zeros(shape, "float32"), name) for name, shape in shapes.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, "H", "W"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [image], [result], stored), opset_imports=opsets)
    path = folder / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return onnx_file(tmp_path)


def by_hand(n: int, h: int, w: int) -> dict[str, int]:
    """The counts of the tiny network at a point, one element after the other."""
    macs = flops = written = 0
    for _ in range(n * 8 * h * w):
        macs += 3 * 3 * 3
        flops += 2 * 3 * 3 * 3 + 1 + 1
        written += 4 + 4
    pixels = n * h * w * 4
    peak = max(3 * pixels + 8 * pixels, 8 * pixels)  # Relu works in place
    return {
        "macs": macs, "flops": flops, "params": 224, "weights": 224, "weight_bytes": 896, "activation_bytes": written,
        "peak_memory_bytes": peak, "layers": 2,
    }  # fmt: skip


# -- count and memory -------------------------------------------------------------------------------------------


def test_count_with_all_sizes_gives_numbers(tiny: Path) -> None:
    data = done("count", tiny, "--at", "N=2,H=5,W=7", "--json").data
    assert data.keys() == COUNT_KEYS
    assert {key: data[key] for key in by_hand(2, 5, 7)} == by_hand(2, 5, 7)
    assert (data["unsupported"], data["sizes"]) == ([], {"N": 2, "H": 5, "W": 7})


@pytest.mark.parametrize("at", [(), ("--at", "H=5"), ("--at", "H=5", "--at", "W=7")])
def test_count_with_open_sizes_gives_texts_that_parse_to_the_same(tiny: Path, at: tuple[str, ...]) -> None:
    data = done("count", tiny, *at, "--json").data
    assert isinstance(data["macs"], str)
    assert data["params"] == 224
    point = {"N": 2, "H": 5, "W": 7}
    for key, expected in by_hand(**{name.lower(): value for name, value in point.items()}).items():
        assert Dim.of(Dim.parse(str(data[key]))).at(point) == expected, key
    assert data["sizes"] == {"N": "N", "H": "H", "W": "W"} | ({"H": 5} if at else {}) | ({"W": 7} if len(at) > 2 else {})


def test_count_understands_the_usual_names_for_other_ones(tmp_path: Path) -> None:
    path = onnx_file(tmp_path, batch="batch size")
    data = done("count", path, "--at", "N=2,H=5,W=7", "--json").data
    assert (data["macs"], data["sizes"]) == (by_hand(2, 5, 7)["macs"], {"batch size": 2, "H": 5, "W": 7})


def test_count_accepts_the_number_that_a_file_fixes(tmp_path: Path) -> None:
    path = onnx_file(tmp_path, batch=1)
    assert done("count", path, "--at", "N=1,H=5,W=7", "--json").data["macs"] == by_hand(1, 5, 7)["macs"]
    refused = run("count", path, "--at", "N=2,H=5,W=7", "--json")
    assert (refused.code, refused.out) == (1, "")
    assert "fixes that axis at 1" in refused.err
    freed = done("count", path, "--sizes", "image=B,3,_,max(W, 7)", "--at", "B=2,H=5,W=7", "--json").data
    assert freed["macs"] == by_hand(2, 5, 7)["macs"]


def test_count_of_a_reference_graph_equals_its_executed_kernels(shared: Path) -> None:
    manifest = json.loads((shared / "models" / "manifest.json").read_text())
    data = done("count", shared / "models" / "light_resnet50.onnx", "--at", "N=1", "--json").data
    assert data["macs"] == manifest["light_resnet50"]["ort_macs"][0]


def test_count_of_the_zoo_stays_open_until_a_size_is_given() -> None:
    open_counts = done("count", "resnet50", "--json").data
    assert isinstance(open_counts["macs"], str)
    assert open_counts["params"] == 25_557_032  # torchvision
    bound = done("count", "resnet50", "--at", "N=1", "--json").data
    assert round(bound["macs"], -6) == 4_089_000_000  # torchvision: 4.089 G
    assert bound["sizes"] == {"N": 1, "H": 224, "W": 224}


@pytest.mark.parametrize("words", [("mobilenet_v1:width=0.5",), ("mobilenet_v1", "--param", "width=0.5")])
def test_parameters_of_the_zoo(words: tuple[str, ...]) -> None:
    data = done("count", *words, "--at", "N=1", "--json").data
    assert round(data["macs"], -6) == 149_000_000  # arXiv 1704.04861, table 6
    assert done("count", *words, "--at", "N=1").out.startswith("mobilenet_v1:width=0.5 at N=1, H=224, W=224:")


def test_count_by_op_and_by_layer_add_up(tiny: Path) -> None:
    at = ("--at", "N=2,H=5,W=7", "--json")
    ops = done("count", tiny, "--by", "op", *at).data
    layers = done("count", tiny, "--by", "layer", *at).data
    assert [(row["op"], row["layers"]) for row in ops["by_op"]] == [("Conv", 1), ("Relu", 1)]
    in_order = [(row["name"], row["op"], row["params"]) for row in layers["by_layer"]]
    assert in_order == [("conv", "Conv", 224), ("after", "Relu", 0)]
    for data, key in ((ops, "by_op"), (layers, "by_layer")):
        assert sum(row["flops"] for row in data[key]) == data["flops"] == by_hand(2, 5, 7)["flops"]


def test_an_op_without_a_rule_makes_lower_bounds(tmp_path: Path) -> None:
    path = onnx_file(tmp_path, op="Frobnicate", domain="com.example")
    data = done("count", path, "--at", "N=1,H=5,W=5", "--json").data
    assert data["macs"] == by_hand(1, 5, 5)["macs"]
    assert len(data["unsupported"]) == 1
    assert "Frobnicate" in data["unsupported"][0]
    assert "lower bounds, without 1 layer:" in done("count", path).out


def test_memory_tells_the_peak_and_its_holders(tiny: Path) -> None:
    data = done("memory", tiny, "--at", "N=2,H=5,W=7", "--json").data
    assert data["peak_bytes"] == data["lower_bound_bytes"] == by_hand(2, 5, 7)["peak_memory_bytes"]
    assert data["holders"] == [{"tensor": "c", "bytes": 2 * 8 * 35 * 4}, {"tensor": "image", "bytes": 2 * 3 * 35 * 4}]
    assert data["at_layer"] == "conv"
    naive = done("memory", tiny, "--at", "N=2,H=5,W=7", "--planner", "naive", "--json").data
    assert naive["peak_bytes"] >= data["peak_bytes"]


def test_memory_needs_numbers(tiny: Path) -> None:
    refused = run("memory", tiny, "--at", "N=1")
    assert refused.code == 1
    assert refused.err == "costmodel: error: network 'tiny' leaves H, W open; give a number for each, as in --at H=1,W=1\n"


# -- predict and compare ----------------------------------------------------------------------------------------


def test_predict_gives_the_contract(tiny: Path) -> None:
    data = done("predict", tiny, "--on", PROFILE, "--at", "N=1,H=8,W=8", "--json").data
    contract = {
        "profile", "sizes", "time_s", "energy_j", "power_w", "memory_bytes", "bound", "extrapolating", "warnings",
    }  # fmt: skip
    assert contract <= data.keys()
    time_s = MS_PER_KERNEL / 1000  # ncnn runs the convolution and its Relu as one kernel
    largest = 1.3499  # exp of the ninth of nine errors: of ten, nine are to be within
    ends = {"value": time_s, "low": time_s / largest, "high": time_s * largest, "level": 0.9}
    assert data["time_s"] == pytest.approx(ends, rel=1e-4)
    assert data["energy_j"]["value"] == pytest.approx(3.0 * time_s)
    assert data["power_w"]["value"] == 3.0
    assert (data["bound"], data["memory_bytes"]) == ("launch", by_hand(1, 8, 8)["peak_memory_bytes"])


def test_a_lower_level_is_a_narrower_interval(tiny: Path) -> None:
    at = ("predict", tiny, "--on", PROFILE, "--at", "N=1,H=8,W=8", "--json")
    half = done(*at, "--level", "0.5").data["time_s"]
    assert half["level"] == 0.5
    assert half["high"] == pytest.approx(MS_PER_KERNEL / 1000 * 1.1618, 1e-4)  # exp of the fifth of nine errors


def test_predict_by_layer_adds_up() -> None:
    data = done("predict", "resnet18", "--on", "test-board", "--by", "layer", "--json").data
    assert sum(row["time_s"] for row in data["by_layer"]) == pytest.approx(data["time_s"]["value"])
    assert {len(row["layers"].split()) for row in data["by_layer"]} == {1, 2, 3}


def test_predict_refuses_what_it_cannot_count_unless_allowed(tmp_path: Path) -> None:
    words = ("predict", onnx_file(tmp_path, op="Frobnicate", domain="com.example"), "--on", PROFILE, "--at", "N=1,H=8,W=8")
    refused = run(*words)
    assert (refused.code, refused.out) == (1, "")
    assert "Frobnicate" in refused.err
    assert "--allow-unsupported" in refused.err
    allowed = done(*words, "--allow-unsupported", "--json").data
    assert "not counted" in allowed["warnings"][0]


def test_compare_counts_and_times_each_network() -> None:
    data = done("compare", "resnet18", "vgg16", "--on", f"{PROFILE},raspberry-pi-4b/ncnn/fp32/t4", "--json").data
    first, second = data["networks"]
    assert (first["network"], second["network"]) == ("resnet18", "vgg16")
    assert [first["params"], second["params"]] == [11_689_512, 138_357_544]  # torchvision
    for network in data["networks"]:
        assert [found["profile"] for found in network["predictions"]] == [PROFILE, "raspberry-pi-4b/ncnn/fp32/t4"]
    rows = list(csv.DictReader(io.StringIO(done("compare", "resnet18", "vgg16", "--on", PROFILE, "--csv").out)))
    assert [(row["network"], row["params"]) for row in rows] == [("resnet18", "11689512"), ("vgg16", "138357544")]
    assert all(float(row["time_low_s"]) < float(row["time_s"]) < float(row["time_high_s"]) for row in rows)


# -- lists ------------------------------------------------------------------------------------------------------


def test_zoo_lists_every_network_and_checks_one() -> None:
    names = [row["network"] for row in done("zoo", "--json").data]
    assert names == sorted(names)
    assert {"resnet50", "mobilenet_v2"} <= set(names)
    checked = done("zoo", "resnet50", "--json").data["published"]
    assert ("params", 25_557_032, 25_557_032) in [(row["quantity"], row["published"], row["counted"]) for row in checked]
    for row in checked:
        assert row["agrees"] == (abs(row["difference"]) < 5e-4), row


def test_zoo_searches_names_other_names_and_notes() -> None:
    for text, among in (("Mobile-Net", "mobilenet_v2"), ("vit_base", "vit_b_16"), ("RegNetY-400MF", "regnet_y_400mf")):
        rows = done("zoo", "--search", text, "--json").data
        assert among in [row["network"] for row in rows]
        assert len(rows) < len(done("zoo", "--json").data)


def test_zoo_shows_what_a_network_is_and_takes() -> None:
    shown = done("zoo", "ViT-B/16", "--json").data
    assert (shown["network"], shown["family"]) == ("vit_b_16", "vision_transformer")
    assert "vit_base_patch16_224" in shown["aliases"]
    assert shown["parameters"] | {"resolution": 224, "heads": 12, "precision": "fp32"} == shown["parameters"]
    assert shown["sizes"] == {"N": 1}
    assert "learnt position" in shown["note"]
    varied = done("zoo", "mobilenet_v2_0.75_160", "--json").data
    assert varied["parameters"]["width"] == 0.75
    assert [(figure["quantity"], figure["published"]) for figure in varied["published"]] == [("macs", 107_000_000)]
    assert done("zoo", "mobilenet_v2", "--param", "N=4", "--json").data["published"] == []
    for part in ("vit_base_patch16_224", "resolution=224", "learnt position", "sizes"):
        assert part in done("zoo", "vit_b_16").out


@pytest.mark.parametrize(("depth", "most"), [(1, 13), (2, 30), (3, 200)])
def test_zoo_draws_a_graph_that_stays_readable(depth: int, most: int) -> None:
    """Nodes are declared before edges use them, each once, and every opened box is closed."""
    mermaid = done("zoo", "resnet50", "--draw", "mermaid", "--depth", depth).out.splitlines()
    nodes = [line.split("[")[0].split("(")[0].strip() for line in mermaid if '["' in line and "subgraph" not in line]
    edges = [tuple(line.strip().split(" --> ")) for line in mermaid if "-->" in line]
    assert mermaid[0] == "flowchart TD"
    assert len(nodes) == len(set(nodes)) <= most
    assert {end for edge in edges for end in edge} == set(nodes)
    assert len(edges) == len(set(edges))
    assert sum("subgraph" in line for line in mermaid) == sum(line.strip() == "end" for line in mermaid)
    dot = done("zoo", "resnet50", "--draw", "dot", "--depth", depth).out
    assert dot.count("{") == dot.count("}")
    assert sum("label=" in line and "[" in line for line in dot.splitlines()) == len(nodes)
    assert sum(" -> " in line for line in dot.splitlines()) == len(edges)


# -- specs of one's own -----------------------------------------------------------------------------------------

SPEC = """
[inputs]
image = ["N", 3, 8, 8]
[body]
layers = [{ conv = 4 }, "relu"]
[networks.my_net]
published = [{ params = 16, macs = 768, source = "4 filters of 3 weights and a bias, on 64 places" }]
[networks.my_other]
aliases = ["Second"]
body.layers = ["relu"]
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSTMODEL_HOME", str(tmp_path / "home"))
    path = tmp_path / "mine.toml"
    path.write_text(SPEC)
    return path


def test_a_spec_file_is_used_by_its_path(mine: Path) -> None:
    for model in (f"{mine}:my_net", f"{mine}:My-Net"):
        assert done("count", model, "--at", "N=1", "--json").data["macs"] == 768
    assert done("memory", f"{mine}:second", "--json").data["peak_bytes"] == 2 * 768
    ran = run("count", mine)
    assert (ran.code, ran.out) == (1, "")
    assert "as in mine.toml:NAME; it has my_net, my_other" in ran.err


def test_zoo_add_makes_a_spec_known_by_name(mine: Path, tmp_path: Path) -> None:
    checked = done("zoo", "add", mine, "--check", "--json").data
    assert checked["installed"] is None
    assert [(row["network"], row["agree"], row["problems"]) for row in checked["networks"]] == [
        ("my_net", 2, []), ("my_other", 0, []),
    ]  # fmt: skip
    assert run("count", "my_net").code == 1
    added = done("zoo", "add", mine, "--json").data
    assert added["installed"] == str(tmp_path / "home" / "zoo_specs" / "mine.toml")
    assert done("count", "MyNet", "--at", "N=1", "--json").data["macs"] == 768
    assert "my_net" in [row["network"] for row in done("zoo", "--json").data]
    mine.write_text(SPEC.replace("conv = 4", "conv = 8").replace("params = 16, macs = 768", "params = 32, macs = 1536"))
    assert "Copied to" in done("zoo", "add", mine).out
    assert done("count", "my_net", "--at", "N=1", "--json").data["macs"] == 1536


WRONG_SPECS: list[tuple[str, str, str]] = [
    ("params = 16", "params = 17", "my_net: params: 16 counted, but '4 filters of"),
    ('"relu"]\n[networks.my_net]', '"rely"]\n[networks.my_net]', "no block 'rely'; did you mean 'relu'"),
    ('layers = ["relu"]', 'layers = [{ op = "Relu", alpha = 1 }]', "has no attribute 'alpha'"),
    ('layers = ["relu"]', 'layers = [{ op = "Frobnicate" }]', "no cost rule"),
    ('layers = ["relu"]', 'layers = [{ op = "LRN", size = 5, bias = "x" }]', "attribute 'bias' must be a number, not 'x'"),
]


@pytest.mark.parametrize(("right", "wrong", "told"), WRONG_SPECS)
def test_zoo_add_tells_what_is_wrong_and_adds_nothing(mine: Path, right: str, wrong: str, told: str) -> None:
    assert SPEC.count(right) == 1
    mine.write_text(SPEC.replace(right, wrong))
    ran = run("zoo", "add", mine, "--json")
    assert ran.code == 1
    assert any(told in f"{row['network']}: {problem}" for row in ran.data["networks"] for problem in row["problems"]), (
        ran.out
    )
    assert ran.data["installed"] is None
    assert run("zoo", "--search", "my_net").code == 1


def test_zoo_add_refuses_names_that_are_taken(mine: Path) -> None:
    mine.write_text(SPEC.replace("my_other", "ResNet_50"))
    ran = run("zoo", "add", mine)
    assert ran.code == 1
    assert "'ResNet_50'" in ran.err and "'resnet50'" in ran.err and "resnet.toml" in ran.err


def test_blocks_of_the_zoo_and_of_ones_own_may_be_used(mine: Path, tmp_path: Path) -> None:
    mine.write_text(
        'use = ["mobilenet_v2"]\n'
        + SPEC.replace('[{ conv = 4 }, "relu"]', "[{ conv_bn = 4, kernel = 3 }]").replace(
            "params = 16, macs = 768", "params = 116"
        )
    )
    done("zoo", "add", mine)
    (tmp_path / "parts.toml").write_text('blocks.pair = { layers = [{ conv = 4 }, "relu"] }')
    mine.write_text('use = ["parts"]\n' + SPEC.replace('[{ conv = 4 }, "relu"]', '["pair"]'))
    assert "'parts' is not in the zoo; add it first: costmodel zoo add" in run("zoo", "add", mine).err
    assert "blocks for others" in done("zoo", "add", tmp_path / "parts.toml").out
    done("zoo", "add", mine)
    assert done("count", "my_net", "--at", "N=1", "--json").data["macs"] == 768


def test_zoo_exports_what_onnx_accepts(tmp_path: Path) -> None:
    path = tmp_path / "squeezenet.onnx"
    done("zoo", "squeezenet1_1", "--export", path, "--weights", "zeros")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    sizes = ("--at", "N=1,H=224,W=224", "--json")
    exported, original = done("count", path, *sizes).data, done("count", "squeezenet1_1", *sizes).data
    assert exported == original


def test_devices_filters_and_lists_the_users_own_profiles() -> None:
    rows = done("devices", "rasp", "--json").data
    assert {row["id"].split("-")[0] for row in rows} == {"raspberry"}
    board = next(row for row in rows if row["id"] == "raspberry-pi-4b")
    assert "raspberry-pi-4b/ncnn/fp32/t4" in board["profiles"]
    assert [row["profiles"] for row in done("devices", "test-b", "--json").data] == [[PROFILE]]


def test_ops_are_those_of_onnx_with_a_convention() -> None:
    rows = done("ops", "--json").data
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    known.add("SimplifiedLayerNormalization")  # ONNX Runtime's, but in the standard domain
    standard = [row for row in rows if row["domain"] == ""]
    assert len(standard) > 100
    for row in standard:
        assert row["op"] in known, row
        assert row["convention"], row
    assert {row["op"] for row in done("ops", "conv", "--json").data} >= {"Conv", "ConvTranspose"}


# -- calibrate and accuracy -------------------------------------------------------------------------------------

HEADER = "device,runtime,precision,variant,network,time_s,source,licence"
MACS = {
    "resnet18": 1.814e9, "resnet50": 3.86e9, "squeezenet": 0.4e9, "mobilenet": 0.57e9, "googlenet": 1.58e9, "vgg16": 15.5e9,
}  # fmt: skip


def table(folder: Path, *lines: str) -> Path:
    path = folder / "runs.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def runs(device: str, count: int = 6) -> list[str]:
    """Measurements of a made-up device that needs 1 ns for a multiply-add."""
    return [f"{device},ncnn,fp32,t1,{name},{macs * 1e-9:.4g},lab,CC0-1.0" for name, macs in list(MACS.items())[:count]]


def test_calibrate_writes_profiles_that_predict(tmp_path: Path) -> None:
    data = done("calibrate", table(tmp_path, *runs("slow-board"), *runs("new-board", 2)), "--json").data
    (written,) = data["profiles"]
    assert written["profile"] == "slow-board/ncnn/fp32/t1"
    assert Path(written["path"]).is_file()
    assert written["networks"] == len(MACS)
    assert [left["profile"] for left in data["left_out"]] == ["new-board/ncnn/fp32/t1"]
    predicted = done("predict", "resnet34", "--on", "slow-board", "--json").data["time_s"]["value"]
    assert predicted == pytest.approx(3.664, rel=0.3)  # torchvision: 3.664 GMACs


def test_calibrate_of_one_device_into_a_folder(tmp_path: Path) -> None:
    runs_csv, out = table(tmp_path, *runs("slow-board"), *runs("fast-board")), tmp_path / "profiles"
    done("calibrate", runs_csv, "--device", "fast-board", "--out", out)
    assert [path.relative_to(out).as_posix() for path in out.rglob("*.json")] == ["fast-board/ncnn/fp32/t1.json"]
    refused = run("calibrate", runs_csv, "--device", "fsat-board", "--out", out)
    assert refused.code == 1
    assert "did you mean 'fast-board'" in refused.err


def test_calibrate_writes_nothing_from_a_table_with_a_fault(tmp_path: Path) -> None:
    out = tmp_path / "profiles"
    refused = run("calibrate", table(tmp_path, *runs("a-board"), "a-board,ncnn,fp32,t1,vgg16,-3,lab,CC0-1.0"), "--out", out)
    assert refused.code == 1
    assert "row 8, column 'time_s': '-3'" in refused.err
    assert not out.exists()


def test_accuracy_lists_its_protocols() -> None:
    rows = done("accuracy", "--json").data
    assert all(row.keys() == {"protocol", "what"} for row in rows)
    assert rows


# -- errors -----------------------------------------------------------------------------------------------------

CANNOT = [
    (("count", "resnet5"), "did you mean 'resnet50'"),
    (("count", "no/such/file.onnx"), "there is no such file"),
    (("count", "FOLDER"), "cannot be read"),
    (("count", "resnet50", "--at", "Q=1"), "no size 'Q'"),
    (("count", "resnet50:widht=1"), "did you mean 'width'"),
    (("count", "resnet50:width=[1]"), "must be a number"),
    (("count", "vit_b/17"), "no such file"),
    (("count", "FOLDER/none.toml:x"), "none.toml: cannot be read"),
    (("zoo", "--search", "frobnicate"), "no network of the zoo has 'frobnicate' in its names"),
    (("count", "TINY", "--sizes", "img=N,3,H,W"), "'img'"),
    (("count", "TINY", "--sizes", "image=N,3,H"), "4 dimensions"),
    (("count", "TINY", "--sizes", "image=N,3,H,W+"), "'W+'"),
    (("memory", "resnet50", "--planner", "idle"), "did you mean 'ideal'"),
    (("predict", "resnet50", "--on", "raspberry-pi-44"), "did you mean 'raspberry-pi-4'"),
    (("predict", "resnet50", "--on", "raspberry"), "fits several devices"),
    (("compare", "resnet50", "resnet5"), "did you mean 'resnet50'"),
    (("zoo", "resnet5"), "did you mean 'resnet50'"),
    (("zoo", "resnet18", "--export", "FOLDER/x.onnx", "--weights", "ones"), "weights='ones'"),
    (("devices", "rapsberry-pi-4b"), "did you mean 'raspberry-pi-4b'"),
    (("ops", "Covn"), "did you mean 'Conv'"),
    (("calibrate", "FOLDER/none.csv"), "none.csv"),
    (("accuracy", "--protocol", "ncnn-cpu-networks"), "did you mean 'ncnn-cpu-network'"),
]  # fmt: skip
MISUSE = [
    ("frobnicate",),
    ("count",),
    ("count", "resnet50", "--at", "N"),
    ("count", "resnet50", "--at", "N=one"),
    ("count", "resnet50", "--at", "N=1.5"),
    ("count", "resnet50", "--at", "N=1", "--at", "N=2"),
    ("count", "resnet50", "--by", "colour"),
    ("count", "resnet50", "--json", "--csv"),
    ("count", "resnet50", "--sizes", "image=N,3,H,W"),
    ("count", "TINY", "--param", "width=2"),
    ("predict", "resnet50"),
    ("predict", "resnet50", "--on", PROFILE, "--level", "1.5"),
    ("predict", "resnet50", "--on", PROFILE, "--by", "op"),
    ("zoo", "--export", "x.onnx"),
    ("zoo", "--draw", "dot"),
    ("zoo", "resnet18", "--draw", "png"),
    ("zoo", "resnet18", "--draw", "dot", "--depth", "0"),
    ("zoo", "resnet18", "--draw", "dot", "--json"),
    ("zoo", "resnet18", "--search", "res"),
    ("zoo", "resnet18", "mine.toml"),
    ("zoo", "resnet18", "--check"),
    ("zoo", "add"),
    ("zoo", "resnet18", "--export", "no/such/folder/x.onnx"),
]


def words_with(words: tuple[str, ...], tiny: Path) -> list[str]:
    return [word.replace("TINY", str(tiny)).replace("FOLDER", str(tiny.parent)) for word in words]


@pytest.mark.parametrize(("words", "told"), CANNOT)
def test_what_cannot_be_done_is_told_on_one_line(words: tuple[str, ...], told: str, tiny: Path) -> None:
    ran = run(*words_with(words, tiny))
    assert (ran.code, ran.out) == (1, "")
    assert told in ran.err
    assert ran.err.startswith("costmodel: error: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("words", MISUSE)
def test_misuse_leaves_with_2(words: tuple[str, ...], tiny: Path) -> None:
    ran = run(*words_with(words, tiny))
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err


HOSTILE = [
    b"", b"\x00" * 100, b"not a model", b"\xff" * 4096, b"\x08\x08", b"{}", bytes(range(256)) * 8,
    b"\x3a\xff\xff\xff\xff\x0f",  # a graph that claims 4 GB
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
@pytest.mark.parametrize("verb", ["count", "calibrate"])
def test_no_traceback_for_a_damaged_file(content: bytes, verb: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    ran = run(verb, path)
    assert (ran.code, ran.out) == (1, "")
    assert "damaged" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_no_traceback_for_a_truncated_model(cut: int, tiny: Path) -> None:
    whole = tiny.read_bytes()
    tiny.write_bytes(whole[: len(whole) * cut // 300])
    ran = run("count", tiny, "--json")
    assert ran.code == 1
    assert ran.err.startswith("costmodel: error: ")


# -- tables -----------------------------------------------------------------------------------------------------

TABLES = [
    ("count", "resnet50"),
    ("count", "resnet50", "--at", "N=1", "--by", "op"),
    ("count", "resnet50", "--by", "layer"),
    ("memory", "resnet50"),
    ("predict", "resnet50", "--on", "raspberry-pi-4b/ncnn/fp32/t4", "--by", "layer"),
    ("compare", "resnet50", "mobilenet_v2", "--on", "raspberry-pi-4b/ncnn/fp32/t4"),
    ("compare", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "--on", "raspberry-pi-4b/ncnn/fp32/t4"),
    ("zoo",),
    ("zoo", "mobilenet_v1"),
    ("zoo", "--search", "mobile"),
    ("devices",),
    ("ops",),
    ("accuracy",),
]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("words", TABLES, ids=" ".join)
def test_tables_fit_and_nothing_is_cut_off(words: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = done(*words).out.splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line or line != line.rstrip()]


def test_names_are_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = done("zoo").out
    assert not [row["network"] for row in done("zoo", "--json").data if row["network"] not in listed]
    listed = done("devices").out
    assert not [row["id"] for row in done("devices", "--json").data if row["id"] not in listed]


@pytest.mark.parametrize("words", [*TABLES[:2], *TABLES[3:]], ids=" ".join)
def test_json_and_csv_of_every_verb(words: tuple[str, ...]) -> None:
    assert done(*words, "--json").data
    rows = list(csv.reader(io.StringIO(done(*words, "--csv").out)))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


# -- as a process -----------------------------------------------------------------------------------------------


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "costmodel.cli", *words], capture_output=True, text=True, check=False)


def test_version_and_help_of_the_process() -> None:
    assert process("--version").stdout == f"costmodel {__version__}\n"
    told = process("--help").stdout
    assert not [verb for verb in VERBS if f"  {verb} " not in told]


def test_an_error_of_the_process_is_its_exit_code() -> None:
    ran = process("count", "resnet5")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("costmodel: error: the zoo has no network 'resnet5'")


def test_letters_that_the_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    path = onnx_file(tmp_path).rename(tmp_path / "naïve.onnx")
    words = [sys.executable, "-m", "costmodel.cli", "count", str(path)]
    ran = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert ran.stdout.startswith(b"na\\xefve: 2 layers")


def test_help_tells_each_verb_on_one_line() -> None:
    told = [line for line in process("--help").stdout.splitlines() if line.startswith("  ")]
    assert not [line for line in told if line.endswith("...")]


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "costmodel.cli", "ops"]
    ran = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in ran.stderr
