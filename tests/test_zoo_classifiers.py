"""The image classifiers of the zoo, beyond their published figures: other libraries' graphs, and small ones that run."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from costmodel import specs
from costmodel.counts import count
from costmodel.dims import value_at
from costmodel.graph import Network
from costmodel.read.onnx import load
from tests.test_specs import bound, session

GRAPHS: list[tuple[str, dict[str, Any], str]] = [
    ("densenet121", {}, "timm__densenet121__224"),
    ("densenet161", {}, "timm__densenet161__224"),
    ("densenet169", {}, "timm__densenet169__224"),
    ("densenet201", {}, "timm__densenet201__224"),
    ("resnext50_32x4d", {"resolution": 160}, "timm__resnext50_32x4d__160"),
    ("resnext101_32x4d", {}, "timm__resnext101_32x4d__224"),
    ("resnext101_32x8d", {"resolution": 176}, "timm__resnext101_32x8d__176"),
    ("resnext101_64x4d", {}, "timm__resnext101_64x4d__224"),
    ("wide_resnet50_2", {"resolution": 176}, "timm__wide_resnet50_2__176"),
    ("wide_resnet101_2", {"resolution": 176}, "timm__wide_resnet101_2__176"),
    ("seresnet50", {"resolution": 160}, "timm__seresnet50__160"),
    ("seresnet50", {"caffe": True}, "timm__legacy_seresnet50__224"),
    ("seresnet101", {}, "timm__seresnet101__224"),
    ("seresnet152", {"caffe": True}, "timm__legacy_seresnet152__224"),
    ("seresnext50_32x4d", {}, "timm__legacy_seresnext50_32x4d__224"),
    ("seresnext101_32x4d", {}, "timm__legacy_seresnext101_32x4d__224"),
    ("inception_v3", {}, "timm__inception_v3__299"),
    ("mnasnet0_5", {}, "timm__mnasnet_050__224"),
    ("mnasnet0_75", {}, "timm__mnasnet_075__224"),
    ("efficientnet_lite0", {}, "timm__efficientnet_lite0__224"),
    ("efficientnet_v2_s", {"resolution": 288}, "timm__efficientnetv2_s__288"),
    ("efficientnet_v2_m", {"resolution": 320}, "timm__efficientnetv2_m__320"),
    ("efficientnet_v2_l", {"resolution": 384}, "timm__efficientnetv2_l__384"),
    ("regnet_x_800mf", {}, "timm__regnetx_008__224"),
    ("regnet_x_1_6gf", {}, "timm__regnetx_016__224"),
    ("regnet_x_3_2gf", {}, "timm__regnetx_032__224"),
    ("regnet_y_1_6gf", {}, "timm__regnety_016__224"),
    ("regnet_y_3_2gf", {}, "timm__regnety_032__224"),
    ("proxylessnas_gpu", {}, "phone__proxylessnas_gpu__224"),
    ("proxylessnas_mobile_14", {}, "phone__proxylessnas_mobile14__224"),
    ("convnext_tiny", {}, "timm__convnext_tiny__224"),
    ("swin_t", {}, "timm__swin_tiny_patch4_window7_224__224"),
    ("swin_s", {}, "timm__swin_small_patch4_window7_224__224"),
    ("swin_b", {}, "timm__swin_base_patch4_window7_224__224"),
    ("swin_v2_t", {}, "timm__swinv2_tiny_window8_256__256"),
    ("mobilevit_s", {}, "timm__mobilevit_s__256"),
    ("mobilevit_xs", {}, "timm__mobilevit_xs__256"),
    ("mobilevit_xxs", {}, "timm__mobilevit_xxs__256"),
]
ONE_PRODUCT = ("mobilevit",)  # their graphs make query, key and value by one product, the zoo by three


def running_macs(network: Network) -> list[int]:
    """MACs layer by layer, without layers that read no input and so run once."""
    sizes = bound(network)
    sizes.update((name, 1) for name in network.sizes if name not in sizes)
    counted = [value_at(layer.quantities.macs, sizes) for layer in count(network).layers]
    return sorted(macs for macs in counted if macs)


@pytest.mark.parametrize(("name", "parameters", "graph"), GRAPHS)
def test_layers_are_those_of_an_exported_graph(shared: Path, name: str, parameters: dict[str, Any], graph: str) -> None:
    exported = load(gzip.decompress((shared / "graphs" / f"{graph}.onnx.gz").read_bytes()))
    ours, theirs = running_macs(specs.zoo(name, **parameters)), running_macs(exported)
    if name.startswith(ONE_PRODUCT):
        ours, theirs = [sum(ours)], [sum(theirs)]
    assert ours == theirs


@pytest.mark.parametrize(("name", "published"), [("swin_v2_t", "5.940"), ("swin_v2_s", "11.546"), ("swin_v2_b", "20.325")])
def test_published_macs_of_swin_v2_run_the_networks_of_biases(name: str, published: str) -> None:
    """For each layer of attention two products over the (2 * 8 - 1)**2 offsets, which read no image."""
    network = specs.zoo(name)
    tables = [t.dims for key, t in network.tensors.items() if key.endswith("window_attention1.bias.weight")]
    biases = sum(15**2 * hidden * (2 + heads) for heads, hidden in tables)
    assert len(tables) in (12, 24)
    assert f"{(count(network).at().macs + biases) / 1e9:.3f}" == published


NARROW = {"width": 12, "heads": [1, 2, 3, 6], "depths": [2, 2, 2, 2], "resolution": 100}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "ResNeXt": ("resnext50_32x4d", {"width": 16, "resolution": 64}),
    "wide ResNet": ("wide_resnet50_2", {"width": 8, "resolution": 64}),
    "SE-ResNeXt": ("seresnext50_32x4d", {"width": 16, "resolution": 64}),
    "SE-ResNet, Caffe": ("seresnet50", {"width": 16, "resolution": 64, "caffe": True}),
    "GoogLeNet, auxiliary": ("googlenet", {"aux": True}),
    "Inception-v3, auxiliary": ("inception_v3", {"aux": True}),
    "EfficientNetV2": ("efficientnet_v2_m", {"width": 0.25, "resolution": 64}),
    "ConvNeXt": ("convnext_tiny", {"widths": [8, 16, 24, 32], "resolution": 64}),
    "ViT": ("vit_h_14", {"width": 48, "depth": 2, "heads": 3, "resolution": 56}),
    "Swin, padded": ("swin_t", NARROW),
    "Swin v2, padded": ("swin_v2_t", NARROW),
    "MaxViT": ("maxvit_t", {"widths": [32, 32, 64, 64], "depths": [1, 1, 2, 1]}),
}


@pytest.mark.parametrize("family", SMALL)
def test_small_members_run_with_the_shapes_that_were_derived(family: str) -> None:
    """Of families whose networks are large: the same layers with fewer channels."""
    name, parameters = SMALL[family]
    network = specs.zoo(name, **parameters)
    model = specs.to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    assert count(load(specs.to_onnx(network, weights="none"))).total == count(network).total
    sizes = {**network.defaults, "N": 2}
    (image,) = network.inputs.values()
    x = np.random.default_rng(0).random([value_at(extent, sizes) for extent in image.dims], np.float32)
    found = session(model.SerializeToString()).run(None, {"image": x})
    assert [y.shape for y in found] == [tuple(value_at(e, sizes) for e in y.dims) for y in network.outputs.values()]
    assert all(np.isfinite(y).all() for y in found)


@pytest.mark.parametrize(
    ("name", "without", "of_training"),
    [
        # torchvision's auxiliary heads: 1x1 to 128, then 2048 to 1024 to 1000; 1x1 to 128, 5x5 to 768, then to 1000
        ("googlenet", 6_624_904, (512 + 528 + 2 * 2) * 128 + 2 * (2049 * 1024 + 1025 * 1000)),
        ("inception_v3", 23_834_568, (768 + 2) * 128 + (128 * 25 + 2) * 768 + 769 * 1000),
    ],
)
def test_auxiliary_classifiers_are_outputs_of_their_own(name: str, without: int, of_training: int) -> None:
    plain, training = specs.zoo(name), specs.zoo(name, aux=True)
    assert count(plain).at().params == without
    assert count(training).at().params == without + of_training
    (classifier,) = plain.outputs
    assert next(iter(training.outputs)) == classifier
    assert {tensor.dims[1] for tensor in training.outputs.values()} == {1000}
