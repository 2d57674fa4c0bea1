"""Modules of torch against torch's own counter of flops and the modules' own parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from costmodel.counts import Counts, count
from costmodel.errors import CannotExport, UnknownSize
from costmodel.read.torch import from_torch

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
Dim = torch.export.Dim


class Residual(nn.Module):
    """Strided, depthwise and dilated convolutions with batch norms, and an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        dilated = nn.Conv2d(16, 16, 3, padding="same", dilation=2)
        self.branch = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), dilated)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        return self.head((x + self.branch(x)).mean((2, 3)))


class Decoder(nn.Module):
    """A language model whose last weights are those of its embedding, with causal attention and optional inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(3))
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Any, mask: Any = None, *, past: Any = (), scale: float = 1.0) -> Any:
        x = self.embed(ids) * scale
        for earlier in past:
            x = torch.cat((earlier, x), dim=1)
        query, key, value = (layer(x).unflatten(-1, (4, 8)).transpose(1, 2) for layer in self.layers)
        x = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)
        return self.head(x if mask is None else x * mask[..., None])


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)


def upsampler() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(3, 8, 4, 2, 1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 4, 3, groups=2))


def tokens(*shape: int) -> Any:
    return torch.zeros(shape, dtype=torch.int64)


Build = Callable[[], nn.Module]
# module, example inputs by name, what is open, sizes, at which the counter runs
CASES: dict[str, tuple[Build, dict[str, tuple[int, ...]], dict[str, Any], Mapping[str, int]]] = {
    "perceptron": (
        lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)),
        {"input": (1, 8)}, {"input": ("N", None)}, {"N": 5},
    ),
    "residual": (Residual, {"x": (1, 3, 32, 32)}, {"x": ("N", None, "H", "W")}, {"N": 2, "H": 41, "W": 56}),
    "upsampler": (upsampler, {"input": (2, 3, 9, 9)}, {"input": {0: "N", 2: "H", 3: "W"}}, {"N": 3, "H": 12, "W": 7}),
    "volume": (
        lambda: nn.Conv3d(2, 4, 3), {"input": (1, 2, 8, 8, 8)}, {"input": ("N", None, "D", None, None)}, {"N": 2, "D": 5},
    ),
    "encoder": (encoder, {"src": (1, 7, 32)}, {"src": ("N", "S", None)}, {"N": 2, "S": 11}),
    "attention to another sequence": (
        lambda: nn.MultiheadAttention(32, 4, batch_first=True),
        {"query": (1, 7, 32), "key": (1, 9, 32), "value": (1, 9, 32)},
        {"query": ("N", "S", None), "key": ("N", "T", None), "value": ("N", "T", None)}, {"N": 2, "S": 3, "T": 13},
    ),
    "gated recurrent": (lambda: nn.GRU(16, 32), {"input": (5, 2, 16)}, {"input": (None, "N", None)}, {"N": 4}),
    "long short-term": (
        lambda: nn.LSTM(16, 32, 2, batch_first=True, bidirectional=True),
        {"input": (1, 5, 16)}, {"input": ("N", None, None)}, {"N": 3},
    ),
    "grouped sequence": (
        lambda: nn.Conv1d(6, 12, 5, stride=2, groups=3),
        {"input": (1, 6, 40)}, {"input": ("N", None, "S")}, {"N": 3, "S": 77},
    ),
}  # fmt: skip


def flops(module: nn.Module, *args: Any, **kwargs: Any) -> FlopCounterMode:
    """The counter of torch after one run without the fused kernels, which it does not count."""
    was_on = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    plain = nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter, plain, torch.backends.mkldnn.flags(enabled=False):
            module.eval()(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(was_on)
    return counter


def at(shape: tuple[int, ...], stated: Any, sizes: Mapping[str, int]) -> Any:
    """An input for the counter: the example with numbers for what is open."""
    names = stated if isinstance(stated, dict) else dict(enumerate(stated))
    return torch.zeros([sizes.get(names.get(axis) or "", extent) for axis, extent in enumerate(shape)])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", CASES)
def test_counts_equal_torchs(name: str) -> None:
    build, shapes, dynamic, sizes = CASES[name]
    module = build()
    counts = count(from_torch(module, {key: torch.empty(shape) for key, shape in shapes.items()}, dynamic=dynamic))
    counter = flops(module, **{key: at(shape, dynamic[key], sizes) for key, shape in shapes.items()})
    assert not counts.unsupported
    assert counts.network.sizes.keys() == sizes.keys()
    assert 2 * counts.at(sizes).macs == counter.get_total_flops()
    assert counts.total.params == parameters(module)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_b_16"])
def test_networks_of_torchvision(name: str) -> None:
    models = torchvision_models()
    with torch.device("meta"):
        module = getattr(models, name)()
    counts = count(from_torch(module, torch.empty(1, 3, 224, 224), dynamic={"x": ("N", None, None, None)}))
    stated = models.get_model_weights(name).DEFAULT.meta
    assert round(counts.at(N=1).macs / 1e9, 3) == stated["_ops"]
    assert counts.total.params == stated["num_params"]


def torchvision_models() -> Any:
    from tests.torch_networks import imported

    try:
        return imported("torchvision.models")
    except ImportError:
        pytest.skip("torchvision is not installed")
    return pytest.importorskip("torchvision.models", reason="torchvision is not installed")


@pytest.mark.parametrize("build", [Residual, encoder], ids=["residual", "encoder"])
def test_modules_equal_those_of_torchs_counter(build: Build) -> None:
    module = build()
    x = torch.zeros(2, 3, 32, 32) if build is Residual else torch.zeros(2, 7, 32)
    by_module = count(from_torch(module, x)).by_module()
    counted = flops(module, x).get_flop_counts()
    for path in (path for path, part in module.named_modules() if not isinstance(part, nn.ModuleList)):
        inside = sum(int(q.macs) for key, q in by_module.items() if not path or key == path or key.startswith(f"{path}."))
        assert 2 * inside == sum(counted.get(f"{type(module).__name__}.{path}".rstrip("."), {}).values()), path


def decoder_counts(example: Any, **options: Any) -> Counts:
    return count(from_torch(Decoder(), example, **options))


def test_inputs_by_name_in_any_order_and_the_tied_weight_once() -> None:
    example = {"mask": torch.ones(1, 5), "ids": tokens(1, 5)}
    counts = decoder_counts(example, dynamic={"ids": ("N", "S"), "mask": ("N", "S")})
    at_point = {"mask": torch.ones(3, 8), "ids": tokens(3, 8)}
    assert 2 * counts.at(N=3, S=8).macs == flops(Decoder(), **at_point).get_total_flops()
    assert counts.total.params == parameters(Decoder())
    assert {name: str(tensor.shape) for name, tensor in counts.network.inputs.items()} == {
        "mask": "(Dim('N'), Dim('S'))", "ids": "(Dim('N'), Dim('S'))",
    }  # fmt: skip


def test_positional_inputs_with_others_by_name_and_lists_of_tensors() -> None:
    past = [torch.ones(1, 4, 32), torch.ones(1, 6, 32)]
    dynamic = {"ids": ("N", "S"), "past": [("N", "P", None), ("N", None, None)]}
    counts = decoder_counts((tokens(1, 5),), kwargs={"past": past, "scale": 2.0}, dynamic=dynamic)
    given = [torch.ones(3, 9, 32), torch.ones(3, 6, 32)]
    assert 2 * counts.at(N=3, S=8, P=9).macs == flops(Decoder(), tokens(3, 8), past=given).get_total_flops()


def test_dims_of_torch_expressions_and_numbers() -> None:
    def macs(example: Any, stated: Any) -> str:
        return str(count(from_torch(nn.Linear(4, 5), example, dynamic={"input": stated})).total.macs)

    assert macs(torch.empty(3, 4), {0: Dim("batch")}) == "20*batch"
    assert macs(torch.empty(3, 4), (Dim.AUTO, Dim.STATIC)) == "20*input_dim0"
    assert macs(torch.empty(3, 4), (7, None)) == "140"
    assert macs(torch.empty(2, 6, 4), ("N", "2*N + 2", None)) == "40*N**2 + 40*N"


def test_a_module_on_the_meta_device_needs_no_memory() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(2**20, 2**20), nn.BatchNorm1d(2**20))  # 4 TiB
    counts = count(from_torch(module, torch.empty(4, 2**20, device="meta"), dynamic={"input": ("N", None)}))
    assert str(counts.total.macs) == f"{2**40}*N"
    assert counts.total.params == 2**40 + 3 * 2**20


def test_the_module_is_left_as_it_was() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4))
    module[1].eval()
    before = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    from_torch(module, torch.empty(2, 4))
    after = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert {name: id(tensor) for name, tensor in after.items()} == {name: id(tensor) for name, tensor in before.items()}
    assert [part.training for part in module.modules()] == [True, True, False, True]
    with pytest.raises(CannotExport):
        from_torch(module, torch.empty(2, 5))
    assert module[0].weight is before["0.weight"]
    assert module.training


def test_dropout_and_batch_norm_are_those_of_inference() -> None:
    network = from_torch(nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4)).train(), torch.empty(2, 4))
    assert [layer.op for layer in network.layers] == ["BatchNormalization"]


def test_the_name() -> None:
    assert from_torch(nn.Linear(4, 5), torch.empty(3, 4)).name == "Linear"
    assert from_torch(nn.Linear(4, 5), torch.empty(3, 4), name="classifier").name == "classifier"


class Branching(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + 1 if x.sum() > 0 else x - 1


class Spectral(nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.linalg.eigvals(x)


ERRORS: list[tuple[Build, dict[str, Any], type[Exception], str]] = [
    (Residual, {"dynamic": {"y": ("N",)}}, UnknownSize, "dynamic: no example input is called 'y'; known: 'x'"),
    (Residual, {"dynamic": {"x": ("N", 3)}}, UnknownSize, "dynamic: 'x' has 4 axes; ('N', 3) is given for them"),
    (Residual, {"dynamic": {"x": {4: "N"}}}, UnknownSize, "dynamic: 'x' has 4 axes; {4: 'N'} is given for them"),
    (Residual, {"dynamic": {"x": ("N", "C", None, None)}}, UnknownSize, "size C: the module fixes axis 1 of 'x' at 3;"),
    (Residual, {"dynamic": {"x": ("N", "N", None, None)}}, UnknownSize, "dynamic: size N is 1 in 'x' and 3 in 'x'"),
    (Residual, {"kwargs": {"scale": 2}}, CannotExport, "torch cannot trace Residual: "),
    (Branching, {}, CannotExport, "torch cannot trace Branching: Could not guard on data-dependent expression"),
    (Spectral, {}, CannotExport, "torch cannot write Spectral as ONNX: No ONNX function found for <OpOverload(op='aten."),
]  # fmt: skip


@pytest.mark.parametrize(("build", "options", "kind", "words"), ERRORS)
def test_refusals_say_what_and_where(build: Build, options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        from_torch(build(), torch.empty(1, 3, 32, 32), **options)


def test_the_length_of_a_recurrent_layer_is_fixed_by_torch() -> None:
    with pytest.raises(UnknownSize, match=re.escape("size S: the module fixes axis 0 of 'input' at 5; leave it")):
        from_torch(nn.GRU(16, 32), torch.empty(5, 2, 16), dynamic={"input": ("S", "N", None)})


def test_a_part_of_an_input_needs_an_entry_of_its_own() -> None:
    with pytest.raises(UnknownSize, match=re.escape("'past' is a list, for which ('N', 'P') is given; give the axes")):
        from_torch(Decoder(), (tokens(1, 5),), kwargs={"past": [torch.ones(1, 4, 32)]}, dynamic={"past": ("N", "P")})


def test_too_many_inputs() -> None:
    with pytest.raises(CannotExport, match=r"do not fit Linear.forward: too many positional arguments"):
        from_torch(nn.Linear(4, 5), (torch.empty(3, 4), torch.empty(3, 4)))
