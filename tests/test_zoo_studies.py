"""Networks of MLPerf and of measured tables: their names lead to the right network, and one of each family runs."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from costmodel import specs
from costmodel.build import Builder
from costmodel.counts import count
from costmodel.dims import value_at
from costmodel.errors import InvalidSpec
from costmodel.schema.data import data_folder

CLASSIFIER = re.compile(
    r"mobilenet[-_]v(?P<version>[123])[-_](?:precision_\w+?-)?(?P<size>large|small)?[-_]?(?P<minimal>minimalistic)?[-_]?"
    r"(?:(?P<res_first>\d{2,3})_)?(?P<width>\d\.\d+)?[-_]?(?P<res>\d{2,3})?(?:[-_](?:non-quantized|quantized|float|uint8))?"
)


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return list(csv.DictReader(file))


def said(name: str) -> tuple[str, float, int] | None:
    """The zoo's network, the width and the resolution that a name of a MobileNet says."""
    match = CLASSIFIER.fullmatch(name)
    if match is None:
        return None
    kind = "_".join(filter(None, (f"mobilenet_v{match['version']}", match["size"], match["minimal"])))
    return kind, float(match["width"] or 1), int(match["res"] or match["res_first"])


def stated(runtime: str) -> dict[str, tuple[str, float, int]]:
    """The zoo's network, the width and the resolution that the specs give to each name of a runtime."""
    found: dict[str, tuple[str, float, int]] = {}
    for path in data_folder("zoo_specs").glob("mobilenet_v?.toml"):
        for zoo_name, network in specs.load_spec(path).networks.items():
            for run in network.benchmarks.get(runtime, ()):  # type: ignore[call-overload]
                meant = zoo_name, float(run.parameters.get("width", 1)), run.parameters.get("resolution", 224)
                found.update((name, meant) for name in run.names)
    return found


def test_classifiers_whose_energy_was_measured(shared: Path) -> None:
    """All MobileNets with width and resolution in the table, but the one of MLPerf Tiny, which has other names there."""
    names = {row["network"] for row in rows(shared / "data" / "energy.csv.gz")}
    meant = {name: said(name) for name in names - {"mobilenet_v1_0.25_96"} if said(name)}
    assert len(meant) > 40
    assert {name: stated("tflite").get(name) for name in meant} == meant


def test_classifiers_under_the_names_of_mlperf(shared: Path) -> None:
    names = {row["benchmark"] for row in rows(shared / "data" / "mlperf_inference.csv.gz")}
    meant = {name: said(name) for name in names if said(name)}
    assert len(meant) > 150
    assert {name: stated("mlperf").get(name) for name in meant} == meant


# What tensorflow/models prints for the files that bear these names, in millions of multiply-adds.
PRINTED = [
    ("mobilenet_v1_0.25_128", 14), ("mobilenet_v1_0.50_160", 77), ("mobilenet_v1_1.0_192", 418),
    ("mobilenet_v2_1.3_224", 509), ("mobilenet_v2_1.4_224", 582),
    ("mobilenet_v3_large_0.75_224", 155), ("mobilenet_v3_large_1.0_224", 217),
    ("mobilenet_v3_large_minimalistic_1.0_224", 209),
]  # fmt: skip


@pytest.mark.parametrize(("name", "millions"), PRINTED)
def test_files_of_tensorflow_lite_count_what_is_printed(name: str, millions: float) -> None:
    network = specs.benchmark_network("tflite", name)
    assert count(network).at().macs == pytest.approx(millions * 1e6, abs=0.5e6)
    assert next(iter(network.outputs.values())).dims[-1] == 1001


def test_all_that_the_raspberry_pi_3_ran_is_in_the_zoo(shared: Path) -> None:
    table = rows(shared / "data" / "mlperf_inference.csv.gz")
    ran = {row["benchmark"] for row in table if "raspberry pi 3" in row["system_title"].lower() or "rpi3" in row["system"]}
    assert len(ran) > 80
    assert ran <= set(specs.benchmark_names("mlperf"))


def test_hosted_models_of_tensorflow_lite(shared: Path) -> None:
    names = {row["network"] for row in rows(shared / "data" / "tflite_hosted.csv")}
    mobilenets = {name for name in names if name.startswith("mobilenet")}
    assert len(mobilenets) == 17
    assert mobilenets <= set(specs.benchmark_names("tflite"))


def test_every_network_of_mlperf_tiny(shared: Path) -> None:
    names = {row["network"] for row in rows(shared / "data" / "mlperf_tiny.csv")}
    assert {specs.benchmark_network("mlperf", name).name for name in names} == {
        f"mlperf_tiny_{kind}" for kind in ("resnet8", "mobilenet", "ds_cnn", "autoencoder")
    }


def test_networks_of_the_detection_and_classification_tasks() -> None:
    tasks = ("resnet50", "mobilenet", "ssd-mobilenet", "ssd-resnet34", "retinanet")
    inputs = [next(iter(specs.benchmark_network("mlperf", name).inputs.values())) for name in tasks]
    defaults = [specs.benchmark_network("mlperf", name).defaults for name in tasks]
    extents = [value_at(x.dims[-1], {"N": 1, **bound}) for x, bound in zip(inputs, defaults, strict=True)]
    assert extents == [224, 224, 300, 1200, 800]


# Boxes that the graphs of MLPerf's detectors put out, as their documentation and their default boxes say.
BOXES = [
    ("ssd_mobilenet_v1", {}, (1, 4 * 1917), (1, 91 * 1917)),
    ("ssd_resnet34", {}, (1, 4, 15130), (1, 81, 15130)),
    ("retinanet_resnext50", {}, (1, 120087, 264), (1, 120087, 4)),
]


@pytest.mark.parametrize(("name", "parameters", "first", "second"), BOXES)
def test_detectors_put_out_all_boxes(name: str, parameters: dict[str, Any], first: Any, second: Any) -> None:
    network = specs.zoo(name, **parameters)
    sizes = {"N": 1, **network.defaults}
    assert [tuple(value_at(e, sizes) for e in y.dims) for y in network.outputs.values()] == [first, second]


# Networks with many weights, made small where they can be; zeros as weights are quick to write.
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("alexnet_bn", {"resolution": 63}),
    ("inception_v4", {"resolution": 75}),
    ("xception", {"resolution": 71}),
    ("ssd_resnet34", {"resolution": 400, "step": 1, "classes": 3}),
    ("retinanet_resnet50", {"resolution": 64, "classes": 3}),
]


@pytest.mark.parametrize(("name", "parameters"), SMALL)
def test_large_networks_run_too(name: str, parameters: dict[str, Any]) -> None:
    network = specs.zoo(name, **parameters)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    raw = specs.to_onnx(network, weights="zeros").SerializeToString()
    run = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    sizes = {"N": 1, **network.defaults}
    inputs = {
        key: np.zeros([value_at(e, sizes) for e in tensor.dims], np.float32) for key, tensor in network.inputs.items()
    }
    expected = [tuple(value_at(e, sizes) for e in y.dims) for y in network.outputs.values()]
    assert [y.shape for y in run.run(None, inputs)] == expected


def test_convolutions_may_share_a_weight() -> None:
    b = Builder()
    x = b.input("x", (1, 8, 16, 16))
    first = b.conv(x, 8, kernel=3, padding=1, shared="head")
    second = b.conv(first, 8, kernel=3, padding=1, shared="head")
    counted = count(b.finish(second)).at()
    assert counted.params == 8 * 8 * 9 + 8
    assert counted.macs == 2 * 8 * 8 * 9 * 16 * 16
    with pytest.raises(InvalidSpec, match=r"conv3: shared 'head.weight' is \[8, 8, 3, 3\], not \[8, 8, 1, 1\]"):
        b.conv(second, 8, shared="head")


def test_a_grid_of_benchmarks(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(
        'inputs = { image = ["N", 3, "H", "W"] }\nparameters = { width = 1.0 }\n'
        'body.layers = [{ conv = "floor(8 * width)" }]\n'
        'networks.tiny.benchmarks.tflite = [{ names = ["t_{width}", "T{width}"], grid = { width = [0.5, 2.0] } }, '
        '{ names = ["plain"] }]\n'
    )
    runs = specs.load_spec(path).networks["tiny"].benchmarks["tflite"]
    assert [(run.names, {key: float(v) for key, v in run.parameters.items()}) for run in runs] == [
        (("t_0.5", "T0.5"), {"width": 0.5}),
        (("t_2.0", "T2.0"), {"width": 2.0}),
        (("plain",), {}),
    ]
