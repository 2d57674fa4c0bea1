"""The zoo against what others published, ncnn's layer tables, exported graphs of the same networks, and ONNX Runtime."""

from __future__ import annotations

import csv
import doctest
import gzip
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from costmodel import specs
from costmodel.counts import count
from costmodel.dims import Dim, value_at
from costmodel.errors import InvalidChoice, InvalidSpec, MalformedModel, UnknownNetwork
from costmodel.graph import Layer, Network
from costmodel.read.onnx import load
from costmodel.schema.data import data_folder
from costmodel.unfolding import FIXED_KINDS, KINDS, options_of
from tests.conftest import shared_folder

SHARED = shared_folder()
NCNN_TABLE = "ncnn_graphs.csv.gz"
PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def bound(network: Network, **sizes: int) -> dict[str, int]:
    return {"N": 1, **network.bind(sizes, complete=False)}


# -- published figures ----------------------------------------------------------------------------------------------

PUBLISHED = [(name, i) for name in specs.zoo_names() for i in range(len(specs.published(name)))]


@pytest.mark.parametrize(("name", "entry"), PUBLISHED)
def test_published_figures(name: str, entry: int) -> None:
    figures = specs.published(name)[entry]
    counted = count(specs.zoo(name, **figures.parameters))
    assert not counted.unsupported
    at = counted.at(figures.sizes)
    assert figures.params is None or figures.params.agrees(at.params), f"{at.params:,} params"
    assert figures.weights is None or figures.weights.agrees(at.weights), f"{at.weights:,} weights"
    assert figures.macs is None or figures.macs.agrees(at.macs), f"{at.macs:,} macs"
    assert figures.source


def test_every_network_is_checked_by_something() -> None:
    """By a published count, or by the layer table and the weights of the benchmark that runs it."""
    benchmarked = {specs.benchmark_network("ncnn", name).name for name in specs.benchmark_names("ncnn")}
    counted = {name for name in specs.zoo_names() if any(f.params or f.weights or f.macs for f in specs.published(name))}
    assert set(specs.zoo_names()) == counted | benchmarked


def stated_by_torchvision() -> dict[str, dict[str, Any]]:
    """Parameters, MACs and top-1 accuracy by the name of the weights, of the networks in the table."""
    assert SHARED is not None
    with (SHARED / "data" / "published_counts.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["source"].startswith("torchvision") and row["params"]]
    return {
        row["source"].split()[-1]: {"params": int(row["params"]), "macs": round(float(row["macs"])), "top1": row["top1"]}
        for row in rows
    }


@pytest.mark.skipif(SHARED is None, reason="the reference tables are not beside this checkout")
def test_figures_are_those_of_the_table() -> None:
    """What the specs quote of torchvision is what torchvision's own metadata say, wherever the table has them."""
    quoted: dict[str, dict[str, Any]] = {}
    for f in (f for name in specs.zoo_names() for f in specs.published(name) if f.source.startswith("torchvision")):
        top1 = f.top1 and f"{float(f.top1):.3f}"
        figures = {"params": f.params and int(f.params), "macs": f.macs and int(f.macs), "top1": top1}
        quoted.setdefault(f.source.split()[-1], {}).update((key, figure) for key, figure in figures.items() if figure)
    stated = stated_by_torchvision()
    assert {weights: quoted.get(weights) for weights in stated} == stated


# -- ncnn's own graphs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """A convolution or fully connected layer, as both sides can tell it."""

    filters: int
    kernel: int
    stride: int
    groups: int
    weights: int
    extents: tuple[int, ...] | None


@lru_cache(maxsize=1)
def ncnn_rows() -> dict[str, list[dict[str, str]]]:
    assert SHARED is not None
    found: dict[str, list[dict[str, str]]] = {}
    with gzip.open(SHARED / "data" / NCNN_TABLE, "rt") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["network"], []).append(row)
    return found


def ncnn_products(network: str) -> Iterator[Product]:
    for row in ncnn_rows()[network]:
        stated = dict(item.split("=", 1) for item in row["attributes"].split())
        shape = row["output_shapes_chw"].split(";")[0]
        extents = without_ones(tuple(map(int, shape.split("x")))) if shape else None
        if row["op"] == "MultiHeadAttention":
            yield from [Product(int(stated["embed_dim"]), 1, 1, 1, int(stated["weights"]), None)] * 4
        elif row["op"] == "Gemm":
            yield Product(int(stated["n"]), 1, 1, 1, int(stated["n"]) * int(stated["k"]), None)
        elif "weights" in stated and "c_out" in stated:
            numbers = [int(stated.get(key, 1)) for key in ("c_out", "kernel_w", "stride", "groups", "weights")]
            yield Product(*numbers, extents)


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    kept = list(shape)
    while len(kept) > 1 and kept[-1] == 1:
        kept.pop()
    return tuple(kept)


def our_products(network: Network) -> Iterator[Product]:
    sizes = bound(network)
    for layer in network.layers:
        if layer.op not in PRODUCTS or not network.tensors[layer.inputs[1]].constant:
            continue
        (y,) = (network.tensors[name] for name in layer.outputs)
        shape = tuple(value_at(extent, sizes) for extent in y.dims)
        of_window: Any = layer.attributes
        yield Product(
            filters=shape[-1] if layer.op in ("Gemm", "MatMul") else shape[1],
            kernel=of_window.get("kernel_shape", (1,))[-1],
            stride=of_window.get("strides", (1,))[-1],
            groups=of_window.get("group", 1),
            weights=value_at(network.tensors[layer.inputs[1]].size, {}),
            extents=without_ones(shape[1:]),
        )


def comparable(product: Product, other: Product) -> Product:
    return product if other.extents else Product(**{**vars(product), "extents": None})


def ncnn_names() -> list[str]:
    if SHARED is None:
        return []
    with (SHARED / "data" / "ncnn_networks.csv").open() as file:
        return [row["network"] for row in csv.DictReader(file)]


def test_every_network_of_the_ncnn_benchmark_is_in_the_zoo(shared: Path) -> None:
    assert specs.benchmark_names("ncnn") == sorted(ncnn_names())


@pytest.mark.parametrize("name", ncnn_names())
def test_layers_are_those_of_the_ncnn_graph(name: str) -> None:
    if name not in ncnn_rows():
        pytest.skip("the table has no layers of this network")
    expected = list(ncnn_products(name))
    ours = list(our_products(specs.benchmark_network("ncnn", name)))
    assert len(ours) == len(expected)
    for i, (mine, theirs) in enumerate(zip(ours, expected, strict=True)):
        assert comparable(mine, theirs) == theirs, f"layer {i} with weights"


def stored_when_folded(network: Network) -> int:
    """Weights and biases once batch norms are folded into the convolutions before them."""
    readers = {name: network.layers[at[0]].op for name, at in network.consumers.items()}
    stored = 0
    for layer in network.layers:
        if layer.op in ("Conv", "ConvTranspose", "Gemm"):
            has_bias = len(layer.inputs) > 2 or readers.get(layer.outputs[0]) == "BatchNormalization"
            filters = network.tensors[layer.outputs[0]].dims[1]
            stored += value_at(network.tensors[layer.inputs[1]].size + (filters if has_bias else 0), {})
    return stored


# Stored in other layers of ncnn's graphs: biases as constants of their own, and the last fully connected layer as a Gemm.
COUNTED_APART = {"efficientnetv2_b0": 48 * 1 + 32 + 96 * 2 + 112 * 4 + 192 * 7, "vision_transformer": 768 * 1000 + 1000}


@pytest.mark.parametrize("name", ncnn_names())
def test_stored_numbers_are_those_of_the_ncnn_graph(name: str) -> None:
    assert SHARED is not None
    with (SHARED / "data" / "ncnn_networks.csv").open() as file:
        (row,) = (row for row in csv.DictReader(file) if row["network"] == name)
    stored = stored_when_folded(specs.benchmark_network("ncnn", name))
    assert stored == int(row["conv_fc_params"]) + COUNTED_APART.get(name, 0)


@pytest.mark.parametrize("name", ncnn_names())
def test_other_layers_are_those_of_the_ncnn_graph(name: str) -> None:
    """Concatenations, pools, channel shuffles and softmaxes come as often as in ncnn's histogram."""
    assert SHARED is not None
    with (SHARED / "data" / "ncnn_networks.csv").open() as file:
        (row,) = (row for row in csv.DictReader(file) if row["network"] == name)
    theirs: Counter[str] = Counter()
    for item in row["layer_histogram"].split(";"):
        op, times = item.split(":")
        theirs[op] += int(times)
    layers = specs.benchmark_network("ncnn", name).running_layers
    ours = Counter(layer.op for layer in layers)
    pools = ours["MaxPool"] + ours["AveragePool"] + ours["GlobalAveragePool"]
    assert pools == theirs["Pooling"] + theirs["Reduction"]
    if not theirs["PriorBox"]:
        assert ours["Concat"] - ours["Expand"] == theirs["Concat"]
        assert ours["Softmax"] == theirs["Softmax"] + theirs["MultiHeadAttention"]
    shuffles = [layer for layer in layers if layer.op == "Transpose" and layer.name.endswith(".mixed")]
    assert len(shuffles) == theirs["ShuffleChannel"]


# -- the same networks, exported by others --------------------------------------------------------------------------

SAME: list[tuple[str, dict[str, Any], str]] = [
    ("mobilenet_v1", {}, "graphs/phone__mobilenet_w1__224.onnx.gz"),
    ("mobilenet_v1", {"width": 0.75}, "graphs/phone__mobilenet_w3d4__224.onnx.gz"),
    ("mobilenet_v1", {"width": 0.5}, "graphs/phone__mobilenet_wd2__224.onnx.gz"),
    ("mobilenet_v1", {"width": 0.25}, "graphs/phone__mobilenet_wd4__224.onnx.gz"),
    ("mobilenet_v2", {}, "graphs/phone__mobilenetv2b_w1__224.onnx.gz"),
    ("mobilenet_v2", {"classes": 1001}, "models/mobilenet_v2.onnx"),
    ("mobilenet_v3_large", {}, "graphs/phone__mobilenetv3_large_w1__224.onnx.gz"),
    ("mnasnet", {}, "graphs/phone__mnasnet_b1__224.onnx.gz"),
    ("proxylessnas_mobile", {}, "graphs/phone__proxylessnas_mobile__224.onnx.gz"),
    ("regnety_400m", {}, "graphs/phone__regnety004__224.onnx.gz"),
    ("squeezenet1_0", {}, "graphs/phone__squeezenet_v1_0__224.onnx.gz"),
    ("squeezenet1_1", {}, "models/light_squeezenet.onnx"),
    ("efficientnet_b0", {}, "graphs/timm__efficientnet_b0__224.onnx.gz"),
    ("efficientnet_b1", {"resolution": 224}, "graphs/timm__efficientnet_b1__224.onnx.gz"),
    ("resnet50", {}, "models/resnet50.onnx"),
    ("vgg19", {}, "models/light_vgg19.onnx"),
    ("vit_b_16", {}, "models/vit_b16.onnx"),
]


def product_macs(network: Network) -> list[int]:
    sizes = bound(network)
    sizes.update((name, 1) for name in network.sizes if name not in sizes)
    counted = [value_at(layer.cost.macs, sizes) for layer in network.layers if layer.cost]
    return sorted(macs for macs in counted if macs)


@pytest.mark.parametrize(("name", "parameters", "path"), SAME)
def test_layers_are_those_of_an_exported_graph(shared: Path, name: str, parameters: dict[str, Any], path: str) -> None:
    raw = (shared / path).read_bytes()
    exported = load(gzip.decompress(raw) if path.endswith(".gz") else raw)
    assert product_macs(specs.zoo(name, **parameters)) == product_macs(exported)


# -- ONNX -----------------------------------------------------------------------------------------------------------


def session(raw: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])


def inputs_of(network: Network, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Random numbers, and zeros for tokens and their like, which must name a row of a table."""
    shapes = {name: [value_at(extent, sizes) for extent in tensor.dims] for name, tensor in network.inputs.items()}
    return {
        name: np.random.default_rng(0).random(shape, np.float32)
        if network.inputs[name].dtype == "float32"
        else np.zeros(shape, network.inputs[name].dtype)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("name", specs.zoo_names())
def test_reads_back_to_the_same_counts(name: str) -> None:
    network = specs.zoo(name)
    back = load(specs.to_onnx(network, weights="none"))
    assert not back.warnings
    assert list(back.sizes) == list(network.sizes)
    mine, theirs = count(network), count(back)
    assert mine.total == theirs.total
    assert [(a.op, a.quantities) for a in mine.layers] == [(b.op, b.quantities) for b in theirs.layers]


@pytest.mark.parametrize("name", specs.zoo_names())
def test_runs_with_the_shapes_that_were_derived(name: str) -> None:
    network = specs.zoo(name)
    if count(network).at().weight_bytes > 64e6:
        pytest.skip("large weights; a smaller network of its family is run")
    sizes = bound(network, **({"N": 2} if "N" in network.sizes else {}))
    found = session(specs.to_onnx(network).SerializeToString()).run(None, inputs_of(network, sizes))
    assert [y.shape for y in found] == [tuple(value_at(e, sizes) for e in y.dims) for y in network.outputs.values()]
    assert all(np.isfinite(y).all() for y in found)


def test_other_sizes_run_too() -> None:
    network = specs.zoo("mobilenet_v2", width=0.35, classes=10)
    sizes = {"N": 3, "H": 65, "W": 98}
    (y,) = session(specs.to_onnx(network).SerializeToString()).run(None, {"image": np.zeros((3, 3, 65, 98), np.float32)})
    assert y.shape == tuple(value_at(extent, sizes) for extent in next(iter(network.outputs.values())).dims) == (3, 10)


def test_weights_repeat_with_the_seed_and_may_be_left_out() -> None:
    network = specs.zoo("squeezenet1_1")
    first, again, other = (specs.to_onnx(network, seed=seed).SerializeToString() for seed in (0, 0, 1))
    assert first == again != other
    assert len(specs.to_onnx(network, weights="none").SerializeToString()) < 50_000
    zeros = specs.to_onnx(network, weights="zeros").graph.initializer[0]
    assert set(zeros.raw_data) == {0}
    with pytest.raises(InvalidChoice, match="did you mean 'zeros'"):
        specs.to_onnx(network, weights="zero")  # type: ignore[arg-type]


def test_a_saved_model_passes_the_checker(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    specs.save_onnx(specs.zoo("shufflenet_v2_x0_5"), path)
    onnx.checker.check_model(str(path), full_check=True)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    assert count(load(path)).total == count(specs.zoo("shufflenet_v2_x0_5")).total


def test_weights_beyond_one_message_are_external(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costmodel.export.PROTOBUF_LIMIT", 1_000_000)
    path = tmp_path / "net.onnx"
    specs.save_onnx(specs.zoo("squeezenet1_1"), path, weights="zeros")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert path.stat().st_size < 100_000
    (y,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": np.zeros((1, 3, 64, 64), np.float32)})
    assert y.shape == (1, 1000)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    with pytest.raises(MalformedModel, match="open shape"):
        specs.save_onnx(specs.zoo("squeezenet1_1", classes=Dim.size("K")), path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


# -- parameters -----------------------------------------------------------------------------------------------------


def test_a_parameter_may_stay_open() -> None:
    network = specs.zoo("resnet50", classes=Dim.size("K"))
    assert count(network).total.params.at(K=1000) == 25_557_032
    assert count(network).total.params.at(K=10) == 25_557_032 - 990 * 2049


def test_a_width_may_stay_open() -> None:
    """Through rounding to multiples of 8 too: the sum at any width is that of the network built at that width."""
    open_width = count(specs.zoo("vgg11", width=Dim.size("C"), resolution=64)).total.macs
    for width in (8, 33, 64):
        assert open_width.at(N=1, C=width) == count(specs.zoo("vgg11", width=width, resolution=64)).at().macs


def test_numbers_of_numpy_are_numbers() -> None:
    mine = specs.zoo("mobilenet_v2", width=np.float64(0.35), classes=np.int64(10))
    assert count(mine).total == count(specs.zoo("mobilenet_v2", width=0.35, classes=10)).total


def test_resolution_binds_the_open_sizes() -> None:
    assert specs.zoo("mobilenet_v1", resolution=128).defaults == {"N": 1, "H": 128, "W": 128}
    assert specs.benchmark_network("ncnn", "squeezenet").defaults == {"N": 1, "H": 227, "W": 227}


def test_unknown_names() -> None:
    with pytest.raises(UnknownNetwork, match="did you mean 'resnet50'"):
        specs.zoo("resnet5")
    with pytest.raises(InvalidSpec, match=r"no parameter 'widht'; its parameters are .*width.*; did you mean 'width'"):
        specs.zoo("mobilenet_v2", widht=0.5)
    with pytest.raises(UnknownNetwork, match=r"benchmark of ncnn runs no 'mobilenetv2'.*mobilenet_v2"):
        specs.benchmark_network("ncnn", "mobilenetv2")
    for wrong in ("wide", True, [1], float("nan"), None):
        with pytest.raises(InvalidSpec, match=r"parameters\.width: must be a number"):
            specs.zoo("mobilenet_v2", width=wrong)


def test_names_are_sorted_and_stand_once() -> None:
    names = specs.zoo_names()
    assert names == sorted(set(names))
    assert {"resnet50", "mobilenet_v2", "squeezenet1_1", "nanodet_m", "vit_b_32"} <= set(names)


# -- the format -----------------------------------------------------------------------------------------------------

HEAD = 'inputs = { image = ["N", 3, "H", "W"] }\nnetworks.tiny = {}\n'


def written(folder: Path, text: str, name: str = "tiny.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def compiled(folder: Path, text: str, **parameters: Any) -> Network:
    return specs.compile_network(specs.load_spec(written(folder, text)), "tiny", **parameters)


def ops(layers: tuple[Layer, ...]) -> list[str]:
    return [layer.op for layer in layers]


def test_repeats_conditions_and_first(tmp_path: Path) -> None:
    network = compiled(
        tmp_path,
        HEAD
        + """
        parameters = { deep = true }
        blocks.unit = { needs = ["filters"], options = { stride = 1 }, layers = [
          { conv = "filters", stride = "stride", when = "deep" },
          { relu = {}, when = "not deep" },
        ] }
        body.layers = [{ unit = "8 * (i + 1)", repeat = 3, first = { stride = 2 }, name = "stage" }]
        """,
    )
    assert [layer.name for layer in network.layers] == ["stage.0.conv1", "stage.1.conv1", "stage.2.conv1"]
    assert [network.tensors[layer.outputs[0]].dims[1] for layer in network.layers] == [8, 16, 24]
    assert [layer.attributes["strides"] for layer in network.layers] == [(2, 2), (1, 1), (1, 1)]


def test_named_tensors_and_joins(tmp_path: Path) -> None:
    network = compiled(
        tmp_path,
        HEAD
        + """
        body.layers = [
          { conv = 8, as = "stem" },
          { split = [3, 5], as = ["few", "many"] },
          { concat = ["few", [{ relu = {}, from = "many" }], "stem"] },
          { add = [[], ["sigmoid"], { when = "channels == 7", layers = ["relu"] }], as = "sum" },
          { op = "Elu", alpha = 0.5, from = "stem", as = "side" },
        ]
        body.outputs = ["sum", "side"]
        """,
    )
    assert ops(network.layers) == ["Conv", "Split", "Relu", "Concat", "Sigmoid", "Add", "Elu"]
    assert [tensor.dims[1] for tensor in network.outputs.values()] == [16, 8]


def test_an_output_that_only_some_networks_have(tmp_path: Path) -> None:
    text = HEAD + """
    parameters = { side = true }
    body.layers = [
      { conv = 8, as = "stem" },
      { layers = ["sigmoid", "output"], when = "side" },
      { relu = {}, from = "stem" },
    ]
    """
    assert list(compiled(tmp_path, text).outputs) == ["relu1", "sigmoid1"]
    assert list(compiled(tmp_path, text, side=False).outputs) == ["relu1"]


def test_a_join_of_one_branch_is_that_branch(tmp_path: Path) -> None:
    text = HEAD + 'body.layers = [{ add = [["relu"], { when = "channels != 3", layers = [] }] }]'
    assert ops(compiled(tmp_path, text).layers) == ["Relu"]


def test_a_parameter_may_name_a_kind(tmp_path: Path) -> None:
    text = HEAD + 'parameters = { activation = "relu" }\nbody.layers = [{ conv = 8 }, "activation"]'
    assert ops(compiled(tmp_path, text).layers) == ["Conv", "Relu"]
    assert ops(compiled(tmp_path, text, activation="swish").layers) == ["Conv", "Sigmoid", "Mul"]
    assert ops(compiled(tmp_path, text, activation="identity").layers) == ["Conv"]


def test_inputs_on_a_condition_and_more_outputs(tmp_path: Path) -> None:
    text = """
        parameters = { part = "both" }
        choices = { part = ["both", "tail"] }
        inputs.image = { shape = ["N", 3, "H", "W"], when = "part == 'both'" }
        inputs.places = { shape = ["N", "S"], dtype = "int64" }
        networks.tiny = {}
        body.layers = [
          { layers = ["relu", "output"], when = "part == 'both'" },
          { embedding = 9, features = 4, from = "places" },
        ]"""
    both, tail = compiled(tmp_path, text), compiled(tmp_path, text, part="tail")
    assert [list(network.inputs) for network in (both, tail)] == [["image", "places"], ["places"]]
    assert [list(network.outputs) for network in (both, tail)] == [["embedding1", "relu1"], ["embedding1"]]
    assert both.inputs["places"].dtype == "int64"


def test_a_repetition_is_counted_inside_too(tmp_path: Path) -> None:
    unit = '{ layers = [{ add = [[], [{ relu = {}, when = "i % 2 == 1" }, "sigmoid"]] }], repeat = 3 }'
    text = f"{HEAD}body.layers = [{unit}]"
    assert ops(compiled(tmp_path, text).layers) == ["Sigmoid", "Add", "Relu", "Sigmoid", "Add", "Sigmoid", "Add"]


def test_repetitions_may_share_their_weights(tmp_path: Path) -> None:
    unit = '{ layers = [{ conv = 3 }, "bn"], repeat = 4, shared = "same", name = "unit" }'
    text = f"{HEAD}parameters = {{ same = true }}\nbody.layers = [{unit}]"
    once, apart = compiled(tmp_path, text), compiled(tmp_path, text, same=False)
    assert ops(once.layers) == ops(apart.layers)
    assert [layer.name for layer in once.layers] == [layer.name for layer in apart.layers]
    assert 4 * count(once).total.weights == count(apart).total.weights
    assert count(once).total.macs == count(apart).total.macs


def test_blocks_of_another_file(tmp_path: Path) -> None:
    written(tmp_path, 'blocks.pair = { needs = ["n"], layers = [{ conv = "n" }, "relu"] }', "parts.toml")
    text = HEAD + 'use = ["parts"]\nbody.layers = [{ pair = 8, repeat = 2 }]'
    assert ops(compiled(tmp_path, text).layers) == ["Conv", "Relu"] * 2


FAULTS: dict[str, tuple[str, list[str]]] = {
    "no TOML": ("body.layers = [1 2]", ["tiny.toml: is no TOML", "line 3"]),
    "shared weights of two shapes": (
        'body.layers = [{ layers = [{ conv = "8 + i" }], repeat = 2, shared = true, name = "unit" }]',
        ["unit.1.conv1.weight", "shared must have one shape", "[9, 8, 1, 1]", "[8, 3, 1, 1] as 'unit.conv1.weight'"],
    ),
    "unknown option of a group": (
        'body.layers = [{ layers = ["relu"], shaerd = true }]',
        ["layer 1", "layers has no option 'shaerd'", "did you mean 'shared'"],
    ),
    "unknown key of an input": (
        'networks.big.inputs.x = { shape = ["N"], dtyp = "int64" }',
        ["networks.big.inputs.x", "'dtyp'", "did you mean 'dtype'"],
    ),
    "a dtype that is none": ('networks.big.inputs.x = { shape = ["N"], dtype = "text" }', ["inputs.x.dtype", "'int64'"]),
    "choices of no parameter": (
        'parameters = { part = "all" }\nchoices = { prat = ["all"] }',
        ["choices.prat", "no parameter 'prat'", "did you mean 'part'"],
    ),
    "none of the choices": (
        'parameters = { part = "hed" }\nchoices = { part = ["head", "tail"] }\nbody.layers = ["relu"]',
        ["parameters.part", "must be one of head, tail, not 'hed'", "did you mean 'head'"],
    ),
    "a mask that is no tensor": (
        'body.layers = [{ attention = 8, mask = "pad" }]',
        ["layer 1", "no tensor is named 'pad'"],
    ),
    "unknown key": ("input = {}", ["tiny.toml: input: unknown key 'input'", "did you mean 'inputs'"]),
    "unknown key of a network": (
        "networks.big = { paramters = {} }",
        ["networks.big.paramters", "did you mean 'parameters'"],
    ),
    "figures without source": ("networks.big.published = [{ macs = 5 }]", ["networks.big.published, entry 1, source"]),
    "a figure that is none": (
        'networks.big.published = [{ macs = "5 X", source = "s" }]',
        ["macs", "'4.089 G'", "'5 X'"],
    ),
    "layer without kind": (
        'body.layers = [{ from = "image" }]',
        ["entry 1", "first key of a layer is its kind", "'from'"],
    ),
    "join without list": ('body.layers = [{ add = "image" }]', ["entry 1", "'add' takes a list"]),
    "no input": ("networks.tiny = {}\nbody.layers = []", ["network 'tiny'", "has no inputs"]),
    "unknown kind": (
        'body.layers = ["relu", { con = 8 }]',
        ["network 'tiny', body, layer 2, { con = 8 }", "no kind of layer and no block 'con'", "'conv'"],
    ),
    "unknown block": (
        'blocks.stage = { layers = ["relu"] }\nbody.layers = [{ stag = 8 }]',
        ["layer 1", "no block 'stag'", "did you mean 'stage'"],
    ),
    "unknown option": (
        "body.layers = [{ conv = 8, kernal = 3 }]",
        ["conv has no option 'kernal'", "did you mean 'kernel'"],
    ),
    "no main value": ('body.layers = ["conv"]', ["layer 1", "conv needs 'filters'"]),
    "unknown parameter": (
        'parameters = { width = 8 }\nbody.layers = [{ conv = "widht" }]',
        ["layer 1", "filters = 'widht'", "did you mean 'width'"],
    ),
    "unknown name in an expression": (
        'parameters = { width = 8 }\nbody.layers = [{ conv = "2 * widht" }]',
        ["layer 1", "no 'widht' here", "did you mean 'width'"],
    ),
    "block parameter": (
        'blocks.b = { needs = ["n"], layers = ["relu"] }\nbody.layers = [{ b = 1, m = 2 }]',
        ["block 'b' has no parameter 'm'", "'n'"],
    ),
    "block parameter missing": (
        'blocks.b = { needs = ["n"], layers = ["relu"] }\nbody.layers = ["b"]',
        ["block 'b' needs 'n'"],
    ),
    "inside a block": (
        'blocks.b = { layers = ["relu", { conv = 0 }] }\nbody.layers = ["b"]',
        ["blocks.b, layer 2, { conv = 0 }", "at least 1, not 0"],
    ),
    "width rounds to zero": (
        'parameters = { width = 0.01 }\nbody.layers = [{ conv = "floor(64 * width)" }]',
        ["layer 1", "filters must be at least 1, not 0; the width is too small"],
    ),
    "width that is no whole number": (
        'parameters = { width = 0.3 }\nbody.layers = [{ conv = "64 * width" }]',
        ["layer 1", "filters must be a whole number, not 19.2"],
    ),
    "channel mismatch at add": (
        "body.layers = [{ add = [[], [{ conv = 8 }]] }]",
        ["body, layer 1", "one shape", "[N, 3, H, W]", "[N, 8, H, W]"],
    ),
    "extent mismatch at concat": (
        "body.layers = [{ concat = [[], [{ conv = 8, kernel = 3, stride = 2 }]] }]",
        ["body, layer 1", "one shape besides axis 1", "[N, 3, H, W]", "(H + 1)//2 - 1"],
    ),
    "a branch that never joins": (
        'body.layers = [{ conv = 8, as = "a" }, "relu", { sigmoid = {}, from = "a" }]',
        ["body, layer 2", "'relu1'", "never joins", "outputs"],
    ),
    "too few axes": ('body.layers = ["flatten", { conv = 8 }]', ["layer 2", "conv1: reads a tensor of at least 3 axes"]),
    "unknown tensor": (
        'body.layers = [{ conv = 8, as = "stem" }, { relu = {}, from = "stm" }]',
        ["layer 2", "no tensor is named 'stm'", "'stem'"],
    ),
    "unknown output": ('body = { layers = ["relu"], outputs = ["y"] }', ["outputs", "no tensor is named 'y'"]),
    "a name twice": (
        'body.layers = [{ relu = {}, as = "a" }, { relu = {}, as = "a" }]',
        ["layer 2", "tensor 'a' already"],
    ),
    "names that do not match": (
        'body.layers = [{ split = 3, as = ["a", "b"] }]',
        ["2 names (a, b)", "writes 3"],
    ),
    "negative repeat": ("body.layers = [{ conv = 8, repeat = -1 }]", ["repeat must be a whole number from 0 to", "-1"]),
    "when that is no condition": (
        'body.layers = [{ conv = 8, when = "channels" }]',
        ["when = 'channels'", "true or false"],
    ),
    "when on an open size": (
        'body.layers = ["flatten", { linear = 8, when = "channels > 5000" }]',
        ["layer 2", "open sizes"],
    ),
    "endless block": ('blocks.b = { layers = ["b"] }\nbody.layers = ["b"]', ["nested deeper than", "block 'b'"]),
    "block with a kind's name": ('blocks.conv = { layers = ["relu"] }', ["blocks.conv", "give the block another"]),
    "a spec that uses itself": ('use = ["tiny"]', ["'tiny' uses this file in turn"]),
    "no such spec beside": ('use = ["prts"]', ["no spec 'prts' beside it"]),
    "code": ("body.layers = [{ conv = \"__import__('os').getpid()\" }]", ["layer 1", "no function here"]),
    "attribute": ('body.layers = [{ conv = "channels.real" }]', ["layer 1", "Attribute has no place"]),
    "powers": ('body.layers = [{ conv = "9 ** 9 ** 9" }]', ["layer 1", "power must be a whole number from 0 to 16"]),
    "division by zero": ('body.layers = [{ conv = "8 // 0" }]', ["layer 1", "'8 // 0'"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_tell_file_place_and_rule(tmp_path: Path, fault: str) -> None:
    text, parts = FAULTS[fault]
    with pytest.raises(InvalidSpec) as caught:
        compiled(tmp_path, text if "networks.tiny" in text else HEAD + text)
    assert "tiny.toml" in str(caught.value)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_unreadable_and_oversized_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="cannot be read"):
        specs.load_spec(tmp_path / "none.toml")
    with pytest.raises(InvalidSpec, match="bytes are more than"):
        specs.load_spec(written(tmp_path, "#" * 1_000_001, "long.toml"))
    with pytest.raises(InvalidSpec, match="is no TOML"):
        written(tmp_path, "", "deep.toml").write_text("note = " + "[" * 100_000)
        specs.load_spec(tmp_path / "deep.toml")


def test_specs_of_the_zoo_say_where_they_come_from() -> None:
    for path in data_folder("zoo_specs").glob("*.toml"):
        text = path.read_text()
        assert text.startswith("# ") and ("arXiv" in text or "dog-qiuqiu" in text or "/nanodet" in text), path.name
        assert specs.load_spec(path).note


# -- the page that tells how to add a network ------------------------------------------------------------------------

PAGE = Path(__file__).parent.parent / "docs" / "add-a-network.md"


def example(folder: Path) -> Path:
    found = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return written(folder, found.group(1), "tinynet.toml")


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = doctest.DocTestParser().get_doctest(PAGE.read_text(), {}, PAGE.name, str(PAGE), 0)
    results = doctest.DocTestRunner().run(page)
    assert results.attempted >= 5
    assert not results.failed


def test_the_example_of_the_page_keeps_its_own_figures(tmp_path: Path) -> None:
    family = specs.load_spec(example(tmp_path))
    for name, spec in family.networks.items():
        counted = count(specs.compile_network(family, name)).at()
        assert all(f.params is None or f.params.agrees(counted.params) for f in spec.published)


def test_the_page_tells_every_kind_and_option() -> None:
    text = PAGE.read_text()
    rows = [row for row in text.splitlines() if row.startswith("| `")]
    for kind in FIXED_KINDS:
        told = [row for row in rows if f"`{kind}`" in row.split("|")[1]]
        assert told, kind
        if kind in KINDS:
            known, required = options_of(kind)
            missing = [option for option in known if option not in required and f"`{option}`" not in told[0]]
            assert not missing, f"{kind}: {missing}"
