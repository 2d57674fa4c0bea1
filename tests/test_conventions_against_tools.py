"""The conventions against the tools themselves, on networks and on modules of one layer."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest

from costmodel.counts import count
from costmodel.graph import Network
from costmodel.read.onnx import load
from costmodel.read.torch import from_torch
from tests.counting_tools import PACKAGES, TOOLS, counted, onnx_tool_macs, published_macs
from tests.test_conventions import CASES, model, node
from tests.torch_networks import NETWORKS, TORCHVISION, imported, network

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
F, nn = torch.nn.functional, torch.nn

pytestmark = pytest.mark.filterwarnings("ignore")


def needs(*tools: str) -> None:
    """Skip where a tool, or the library that a network is from, is not installed or does not import."""
    for tool in tools:
        try:
            imported(PACKAGES.get(tool, tool))
        except ImportError as error:
            pytest.skip(f"{tool} cannot be imported: {error}")


LIBRARIES = {**dict.fromkeys(TORCHVISION, "torchvision"), **dict.fromkeys(("bert", "gpt2"), "transformers")}
BY_NAME = "ptflops counts some spellings of a function, and the graph does not tell how it was spelt"
LEARNED = "torch takes a fused attention apart where its mask is learned, and then ptflops' aten backend sees the products"
TRANSPOSED = "torch multiplies and adds apart where the input of a linear layer is transposed; then the bias does not count"
DIFFERENT: Mapping[tuple[str, str], str] = {
    ("coatnet_pico_rw_224", "ptflops-aten"): LEARNED,
    ("levit_128s", "ptflops"): BY_NAME,
    ("mixer_s32_224", "ptflops-aten"): TRANSPOSED,
}


@cache
def read(name: str) -> Network:
    return from_torch(*network(name))


def pairs(names: Iterable[str], different: Mapping[tuple[str, str], str]) -> list[Any]:
    """Every name with every tool; those that are known to differ must do so."""

    def pair(name: str, tool: str) -> Any:
        reason = different.get((name, tool))
        return pytest.param(name, tool, marks=[pytest.mark.xfail(reason=reason, strict=True)] if reason else [])

    return [pair(name, tool) for name in names for tool in TOOLS]


@pytest.mark.parametrize(("name", "tool"), pairs(NETWORKS, DIFFERENT))
def test_networks(name: str, tool: str) -> None:
    needs(LIBRARIES.get(name, "timm"), tool)
    assert count(read(name), convention=tool).total.macs == counted(tool, *network(name))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_tables(name: str) -> None:
    needs("torchvision")
    imported("torchvision.models")
    published = published_macs(name)
    if published is None:
        pytest.skip(f"there are no weights of {name} for 224 pixels")
    assert round(int(count(read(name), convention="torchvision").total.macs), -6) == published


# -- onnx-tool reads files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_files_with_onnx_tool(name: str) -> None:
    needs(LIBRARIES.get(name, "timm"), "onnx-tool")
    module, x = network(name)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = str(Path(folder) / "network.onnx")
        torch.onnx.export(module, (x,), path, dynamo=True, external_data=False, verbose=False)
        assert count(load(path), convention="onnx-tool").total.macs == onnx_tool_macs(path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_layers_with_onnx_tool(case: Any) -> None:
    needs("onnx-tool")
    op, shape, stored, attributes, expected = case
    made = node(op, ["x", *stored], "y", **attributes)
    made.output.extend({"GRU": ["state"]}.get(op, []))  # it does not read one without
    proto = onnx.shape_inference.infer_shapes(model([made], shape, stored))
    assert onnx_tool_macs(proto) == expected.get("onnx-tool", 0)


@pytest.mark.parametrize("name", ["light_resnet50", "light_shufflenet", "light_squeezenet", "light_vgg19", "light_zfnet512"])
def test_reference_files_with_onnx_tool(name: str, shared: Path) -> None:
    needs("onnx-tool")
    path = shared / "models" / f"{name}.onnx"
    assert count(load(path), convention="onnx-tool").total.macs == onnx_tool_macs(str(path))


# -- modules of one layer ------------------------------------------------------------------------------------------------


class Calling(nn.Module):
    """A function of the input and of modules."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Any) -> Any:
        return self.function(x, *self.parts)


def calling(function: Callable[..., Any], *parts: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Calling(function, *(part() for part in parts))


def attention() -> nn.Module:
    return nn.MultiheadAttention(32, 4, batch_first=True)


def standardized(w: Any, scale: Any = None) -> Any:
    """Weights with the mean 0 and the variance 1 (or another) in every filter, as torch's batch norm makes them."""
    return F.batch_norm(w.reshape(1, len(w), -1), None, None, weight=scale, training=True).reshape(w.shape)


IMAGE, ROWS = (1, 4, 8, 8), (1, 6, 32)
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3), (1, 4, 9)),
    "Conv2d": (lambda: nn.Conv2d(4, 8, 3), IMAGE),
    "Conv2d grouped": (lambda: nn.Conv2d(4, 8, 3, bias=False, groups=2, dilation=2), IMAGE),
    "Conv2d padded by name": (lambda: nn.Conv2d(4, 8, 3, padding="same"), IMAGE),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 2), (1, 2, 4, 5, 6)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=2), IMAGE),
    "Linear": (lambda: nn.Linear(32, 5), ROWS),
    "Linear of a matrix": (lambda: nn.Linear(32, 5), (1, 32)),
    "Linear without bias": (lambda: nn.Linear(32, 5, bias=False), ROWS),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), IMAGE),
    "BatchNorm2d plain": (lambda: nn.BatchNorm2d(4, affine=False), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm(32), ROWS),
    "LayerNorm plain": (lambda: nn.LayerNorm(32, elementwise_affine=False), ROWS),
    "LayerNorm without bias": (lambda: nn.LayerNorm(32, bias=False), ROWS),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "GroupNorm plain": (lambda: nn.GroupNorm(2, 4, affine=False), IMAGE),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "InstanceNorm2d plain": (lambda: nn.InstanceNorm2d(4), IMAGE),
    "ReLU": (nn.ReLU, IMAGE),
    "ReLU6": (nn.ReLU6, IMAGE),
    "PReLU": (lambda: nn.PReLU(4), IMAGE),
    "LeakyReLU": (nn.LeakyReLU, IMAGE),
    "ELU": (nn.ELU, IMAGE),
    "GELU": (nn.GELU, IMAGE),
    "GELU by tanh": (lambda: nn.GELU("tanh"), IMAGE),
    "SiLU": (nn.SiLU, IMAGE),
    "Hardswish": (nn.Hardswish, IMAGE),
    "Sigmoid": (nn.Sigmoid, IMAGE),
    "Tanh": (nn.Tanh, ROWS),
    "Softmax": (lambda: nn.Softmax(-1), ROWS),
    "Dropout": (nn.Dropout, ROWS),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), IMAGE),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), IMAGE),
    "AdaptiveAvgPool2d to 1": (lambda: nn.AdaptiveAvgPool2d(1), IMAGE),
    "AdaptiveAvgPool2d to 4": (lambda: nn.AdaptiveAvgPool2d(4), IMAGE),
    "AdaptiveMaxPool2d to 1": (lambda: nn.AdaptiveMaxPool2d(1), IMAGE),
    "AdaptiveMaxPool2d to 4": (lambda: nn.AdaptiveMaxPool2d(4), IMAGE),
    "Upsample nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "Upsample bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "Upsample bicubic": (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), IMAGE),
    "Upsample linear": (lambda: nn.Upsample(scale_factor=2, mode="linear"), ROWS),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "LSTM": (lambda: nn.LSTM(32, 8, batch_first=True), ROWS),
    "LSTM of two layers and directions": (lambda: nn.LSTM(32, 8, 2, bidirectional=True, batch_first=True), ROWS),
    "LSTM without bias": (lambda: nn.LSTM(32, 8, bias=False, batch_first=True), ROWS),
    "GRU": (lambda: nn.GRU(32, 8, batch_first=True), ROWS),
    "RNN": (lambda: nn.RNN(32, 8, batch_first=True), ROWS),
    "MultiheadAttention": (calling(lambda x, m: m(x, x, x, need_weights=False)[0], attention), ROWS),
    "MultiheadAttention with weights": (calling(lambda x, m: m(x, x, x)[0], attention), ROWS),
    "relu": (calling(lambda x: F.relu(x)), IMAGE),
    "relu6": (calling(lambda x: F.relu6(x)), IMAGE),
    "torch.relu": (calling(lambda x: torch.relu(x)), IMAGE),
    "gelu": (calling(lambda x: F.gelu(x)), IMAGE),
    "linear": (calling(lambda x, m: F.linear(x, m.weight, m.bias), lambda: nn.Linear(32, 5)), ROWS),
    "addmm": (calling(lambda x, m: torch.addmm(m.bias, x, m.weight.t()), lambda: nn.Linear(32, 5)), (6, 32)),
    "adaptive_avg_pool2d": (calling(lambda x: F.adaptive_avg_pool2d(x, 1)), IMAGE),
    "mean": (calling(lambda x: x.mean((2, 3))), IMAGE),
    "mean that keeps its axes": (calling(lambda x: x.mean((2, 3), keepdim=True)), IMAGE),
    "conv2d of what is stored": (calling(lambda x, m: x + m(torch.ones(1, 4, 8, 8)), lambda: nn.Conv2d(4, 4, 1)), IMAGE),
    "conv2d by weights of unit variance": (
        calling(lambda x, m: F.conv2d(x, standardized(m.weight)), lambda: nn.Conv2d(4, 8, 3)), IMAGE,
    ),
    "conv2d by weights of learned variance": (
        calling(lambda x, m: F.conv2d(x, standardized(m.weight, m.bias * 2)), lambda: nn.Conv2d(4, 8, 3)), IMAGE,
    ),
    "grid_sample": (calling(lambda x: F.grid_sample(x, torch.zeros(1, 5, 5, 2))), IMAGE),
    "matmul": (calling(lambda x: torch.matmul(x, x.transpose(1, 2))), ROWS),
    "@": (calling(lambda x: x @ x.transpose(1, 2)), ROWS),
    "bmm": (calling(lambda x: torch.bmm(x, x.transpose(1, 2))), ROWS),
    "einsum": (calling(lambda x: torch.einsum("bik,bjk->bij", x, x)), ROWS),
    "+": (calling(lambda x: x + x), ROWS),
    "add": (calling(lambda x: x.add(x)), ROWS),
}
ONES = "the exporter writes the weights of a group norm apart, as ones where it has none"
LENGTHWISE = "torch exports it as gathers and products"
UNROLLED = "torch exports it unrolled, as linear layers and activations; the tools see one operation, or one module"
DIFFERENT_LAYERS: dict[tuple[str, str], str] = {
    **dict.fromkeys([("torch.relu", "ptflops"), ("@", "ptflops"), ("add", "ptflops")], BY_NAME),
    **dict.fromkeys([("GroupNorm plain", "fvcore"), ("GroupNorm plain", "ptflops")], ONES),
    **dict.fromkeys([("Upsample linear", "thop"), ("Upsample linear", "ptflops")], LENGTHWISE),
    **dict.fromkeys([("RNN", tool) for tool in ("fvcore", "ptflops", "thop")], UNROLLED),
}


@pytest.mark.parametrize(("name", "tool"), pairs(LAYERS, DIFFERENT_LAYERS))
def test_layers(name: str, tool: str) -> None:
    needs(tool)
    build, shape = LAYERS[name]
    x = torch.zeros(shape)
    assert count(read_layer(name), convention=tool).total.macs == counted(tool, build().eval(), x)


@cache
def read_layer(name: str) -> Network:
    build, shape = LAYERS[name]
    return from_torch(build(), torch.zeros(shape))
