"""The builder, against ONNX Runtime: what it runs has the shapes that the builder says, and the values that the docs say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from costmodel.build import Builder
from costmodel.counts import count
from costmodel.dims import Dim, value_at
from costmodel.errors import InvalidSpec, UnsupportedOp
from costmodel.export import to_onnx
from costmodel.graph import Network
from costmodel.read.onnx import load

IMAGE = ("N", 12, "H", "W")
TOKENS = ("N", "S", 24)
WINDOWS = ("N", 4, 16, 24)
SIZES = {"N": 2, "H": 17, "W": 22, "S": 5}

LAYERS: dict[str, tuple[tuple[Any, ...], Callable[[Builder, str], Any]]] = {
    "conv": (IMAGE, lambda b, x: b.conv(x, 8, kernel=3, stride=2, padding=1)),
    "conv without bias": (IMAGE, lambda b, x: b.conv(x, 8, bias=False)),
    "conv by axis": (IMAGE, lambda b, x: b.conv(x, 8, kernel=(1, 7), stride=(2, 1), padding=(0, 3))),
    "conv by side": (IMAGE, lambda b, x: b.conv(x, 8, kernel=5, stride=2, padding=(1, 1, 2, 2))),
    "conv, half the kernel": (IMAGE, lambda b, x: b.conv(x, 8, kernel=5, stride=2, padding="half")),
    "conv, dilated by half": (IMAGE, lambda b, x: b.conv(x, 8, kernel=3, dilation=2, padding="half")),
    "conv, same": (IMAGE, lambda b, x: b.conv(x, 8, kernel=3, stride=2, padding="same")),
    "conv in groups": (IMAGE, lambda b, x: b.conv(x, 8, groups=4)),
    "depthwise": (IMAGE, lambda b, x: b.conv(x, 12, kernel=3, padding=1, groups=12)),
    "conv along a line": (("N", 4, "W"), lambda b, x: b.conv(x, 8, kernel=3, stride=2)),
    "deconv": (IMAGE, lambda b, x: b.deconv(x, 8, kernel=4, stride=2, padding=1)),
    "deconv in groups": (IMAGE, lambda b, x: b.deconv(x, 6, kernel=3, stride=2, output_padding=1, groups=6)),
    "linear": (("N", 24), lambda b, x: b.linear(x, 7)),
    "linear over tokens": (TOKENS, lambda b, x: b.linear(x, 7)),
    "linear without bias": (TOKENS, lambda b, x: b.linear(x, 7, bias=False)),
    "bn": (IMAGE, lambda b, x: b.bn(x)),
    "layer_norm": (TOKENS, lambda b, x: b.layer_norm(x)),
    "prelu": (IMAGE, lambda b, x: b.prelu(x)),
    "add_weight": (TOKENS, lambda b, x: b.add_weight(x, (24,))),
    "mul_weight": (IMAGE, lambda b, x: b.mul_weight(x, (12, 1, 1))),
    "prepend_token": (TOKENS, lambda b, x: b.prepend_token(x)),
    "prepend_token to one": ((1, 5, 24), lambda b, x: b.prepend_token(x)),
    "attention": (TOKENS, lambda b, x: b.attention(x, 4)),
    "window attention": (WINDOWS, lambda b, x: b.window_attention(x, 3, window=4)),
    "window attention, shifted": (WINDOWS, lambda b, x: b.window_attention(x, 3, window=4, shifted=8)),
    "window attention by cosine": (WINDOWS, lambda b, x: b.window_attention(x, 3, window=4, shifted=8, cosine=True)),
    "attention with shared keys": (TOKENS, lambda b, x: b.attention(x, 4, kv_heads=2, depth=5)),
    "attention, causal": (TOKENS, lambda b, x: b.attention(x, 4, causal=True)),
    "attention, rotary": (TOKENS, lambda b, x: b.attention(x, 4, kv_heads=1, causal=True, rotary=10_000)),
    "attention with distances": (TOKENS, lambda b, x: b.attention(x, 4, scaled=False, relative="distances")),
    "attention with distances, causal": (TOKENS, lambda b, x: b.attention(x, 4, causal=True, relative="distances")),
    "attention to a memory": (TOKENS, lambda b, x: b.attention(x, 4, bias=["query", "output"], memory=b.relu(x))),
    "experts": (TOKENS, lambda b, x: b.experts(x, 3, hidden=8)),
    "experts, gated": (TOKENS, lambda b, x: b.experts(x, 3, hidden=8, top=2, gated=True, activation="swish")),
    "experts by token": (TOKENS, lambda b, x: b.experts(x, 3, hidden=8, top=2, by_token=True)),
    "rms_norm": (TOKENS, lambda b, x: b.rms_norm(x)),
    "positions": (TOKENS, lambda b, x: b.positions(x, 9, offset=2)),
    "scale_by_width": (TOKENS, lambda b, x: b.scale_by_width(x, 0.5)),
    "padding_mask": (("N", "S"), lambda b, x: b.padding_mask(x)),
    "relu": (IMAGE, lambda b, x: b.relu(x)),
    "relu6": (IMAGE, lambda b, x: b.relu6(x)),
    "leaky_relu": (IMAGE, lambda b, x: b.leaky_relu(x, alpha=0.1)),
    "sigmoid": (IMAGE, lambda b, x: b.sigmoid(x)),
    "hardsigmoid": (IMAGE, lambda b, x: b.hardsigmoid(x)),
    "hardswish": (IMAGE, lambda b, x: b.hardswish(x)),
    "swish": (IMAGE, lambda b, x: b.swish(x)),
    "gelu": (TOKENS, lambda b, x: b.gelu(x)),
    "softmax": (TOKENS, lambda b, x: b.softmax(x)),
    "add of three": (IMAGE, lambda b, x: b.add(x, b.relu(x), b.sigmoid(x))),
    "add, stretched": (IMAGE, lambda b, x: b.add(x, b.global_average_pool(x), broadcast=True)),
    "mul": (IMAGE, lambda b, x: b.mul(x, b.global_average_pool(x))),
    "concat": (IMAGE, lambda b, x: b.concat(x, b.relu(x))),
    "max_pool": (IMAGE, lambda b, x: b.max_pool(x, 2)),
    "max_pool, partial windows": (IMAGE, lambda b, x: b.max_pool(x, 3, stride=2, ceil=True)),
    "max_pool, padded": (IMAGE, lambda b, x: b.max_pool(x, 3, stride=2, padding=1)),
    "avg_pool": (IMAGE, lambda b, x: b.avg_pool(x, 3, stride=2, padding=1, count_padding=True)),
    "global_average_pool": (IMAGE, lambda b, x: b.global_average_pool(x)),
    "lrn": (IMAGE, lambda b, x: b.lrn(x)),
    "upsample": (IMAGE, lambda b, x: b.upsample(x, 2)),
    "upsample by half": (IMAGE, lambda b, x: b.upsample(x, 0.5, mode="linear")),
    "flatten": (IMAGE, lambda b, x: b.flatten(x)),
    "reshape, rest": (IMAGE, lambda b, x: b.reshape(x, (0, 12, -1))),
    "reshape, axes kept": (IMAGE, lambda b, x: b.reshape(x, (0, 3, 4, -1))),
    "reshape, open sizes": (IMAGE, lambda b, x: b.reshape(x, ("N", 3, 4, "H", "W"))),
    "transpose": (IMAGE, lambda b, x: b.transpose(x, (0, 2, 3, 1))),
    "shuffle": (IMAGE, lambda b, x: b.shuffle(x, 3)),
    "shuffle, nothing open": ((1, 12, 4, 5), lambda b, x: b.shuffle(x, 2)),
    "split evenly": (IMAGE, lambda b, x: b.split(x, 3)),
    "split in parts": (IMAGE, lambda b, x: b.split(x, (5, 7))),
    "slice": (IMAGE, lambda b, x: b.slice(x, 2, 9)),
    "pad": (IMAGE, lambda b, x: b.pad(x, (0, 0, 1, 1, 0, 4, 2, 2))),
    "any op": (IMAGE, lambda b, x: b.op("Elu", x, alpha=1)),
    "any op with outputs": (TOKENS, lambda b, x: b.op_with_outputs("TopK", x, b.constant([3]), outputs=2)),
}  # fmt: skip


def built(shape: tuple[Any, ...], layer: Callable[[Builder, str], Any]) -> Network:
    b = Builder("layer")
    written = layer(b, b.input("x", shape))
    return b.finish(*((written,) if isinstance(written, str) else written))


def run(network: Network, x: np.ndarray | None = None) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(network).SerializeToString(), options, providers=["CPUExecutionProvider"])
    if x is None:
        (tensor,) = network.inputs.values()
        x = np.random.default_rng(0).random([value_at(extent, SIZES) for extent in tensor.dims], np.float32)
    return list(session.run(None, {"x": x}))


def stored(network: Network) -> dict[str, np.ndarray]:
    """The random weights that a run of the network has."""
    dtypes = {1: np.float32, 7: np.int64}
    return {
        tensor.name: np.frombuffer(tensor.raw_data, dtypes[tensor.data_type]).reshape(tuple(tensor.dims))
        for tensor in to_onnx(network).graph.initializer
    }


@pytest.mark.parametrize("case", LAYERS)
def test_shapes_are_those_of_a_run(case: str) -> None:
    network = built(*LAYERS[case])
    expected = [tuple(value_at(extent, SIZES) for extent in tensor.dims) for tensor in network.outputs.values()]
    assert expected == [y.shape for y in run(network)]


@pytest.mark.parametrize("case", LAYERS)
def test_reads_back_to_the_same_counts(case: str) -> None:
    network = built(*LAYERS[case])
    back = load(to_onnx(network, weights="none"))
    assert not back.warnings
    assert count(back).total == count(network).total
    assert [(layer.name, layer.op) for layer in back.layers] == [(layer.name, layer.op) for layer in network.layers]


def test_shuffle_interleaves_groups() -> None:
    x = np.random.default_rng(1).random((2, 12, 3, 4), np.float32)
    (y,) = run(built(IMAGE, lambda b, x: b.shuffle(x, 3)), x)
    assert np.array_equal(y, x.reshape(2, 3, 4, 3, 4).swapaxes(1, 2).reshape(x.shape))


def test_attention_is_the_formula() -> None:
    network = built((1, 5, 24), lambda b, x: b.attention(x, 4))
    weights = {tensor.name: tensor for tensor in to_onnx(network).graph.initializer}
    x = np.random.default_rng(2).random((1, 5, 24), np.float32)

    def project(part: str, y: np.ndarray) -> np.ndarray:
        stored = (np.frombuffer(weights[f"attention1.{part}.{which}"].raw_data, np.float32) for which in ("weight", "bias"))
        weight, bias = stored
        return y @ weight.reshape(24, 24) + bias

    query, key, value = (project(part, x[0]).reshape(5, 4, 6).swapaxes(0, 1) for part in ("query", "key", "value"))
    scores = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(6))
    mixed = (scores / scores.sum(-1, keepdims=True)) @ value
    expected = project("output", mixed.swapaxes(0, 1).reshape(5, 24))
    np.testing.assert_allclose(run(network, x)[0][0], expected, rtol=1e-3, atol=1e-4)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("shift", [0, 2])
def test_window_attention_is_the_formula(shift: int, cosine: bool) -> None:
    """Pixel by pixel: in the same window, and on the same side of the edges over which the map was rolled."""
    window, extent, heads, depth = 4, 8, 2, 3
    width, reach = heads * depth, 2 * window - 1
    options: dict[str, Any] = {"window": window, "shifted": extent if shift else 0, "cosine": cosine}
    network = built((1, 4, 16, width), lambda b, x: b.window_attention(x, heads, **options))
    stored = {
        tensor.name.removeprefix("window_attention1."): onnx.numpy_helper.to_array(tensor)
        for tensor in to_onnx(network).graph.initializer
    }
    x = np.random.default_rng(4).random((1, 4, 16, width), np.float32)
    qkv = (x[0] @ stored["qkv.weight"] + stored["qkv.bias"]).reshape(4, 16, 3, heads, depth)

    def bias(head: int, rows: int, columns: int) -> float:
        if not cosine:
            return stored["bias"][(rows + window - 1) * reach + columns + window - 1, head]
        spaced = np.array([np.sign(step) * np.log(1 + abs(step)) for step in (rows, columns)])
        hidden = np.maximum(stored["offsets.weight"] @ spaced + stored["offsets.bias"], 0)
        return 16 / (1 + np.exp(-stored["bias.weight"][head] @ hidden))

    def score(head: int, at: int, one: int, other: int) -> float:
        (row, column), (row2, column2) = divmod(one, window), divmod(other, window)
        top, left = (part * window for part in divmod(at, extent // window))
        sides = {
            ((top + i + shift) % extent < shift, (left + j + shift) % extent < shift)
            for i, j in ((row, column), (row2, column2))
        }
        query, key = qkv[at, one, 0, head], qkv[at, other, 1, head]
        likeness = query @ key
        if cosine:
            likeness *= stored["temperature.weight"][head, 0, 0] / np.linalg.norm(query) / np.linalg.norm(key)
        else:
            likeness /= np.sqrt(depth)
        return likeness + bias(head, row - row2, column - column2) if len(sides) == 1 else -100.0

    mixed = np.zeros((4, 16, heads, depth))
    for at, one, head in np.ndindex(4, 16, heads):
        shares = softmax(np.array([score(head, at, one, other) for other in range(16)]))
        mixed[at, one, head] = shares @ qkv[at, :, 2, head]
    expected = mixed.reshape(4, 16, width) @ stored["output.weight"] + stored["output.bias"]
    np.testing.assert_allclose(run(network, x)[0][0], expected, rtol=1e-3, atol=1e-4)


def test_a_shared_table_is_counted_once() -> None:
    b = Builder()
    words = b.input("words", ("N", "S"), dtype="int64")
    x = b.add(b.embedding(words, 100, features=16, table="words"), b.embedding(words, 100, features=16, table="words"))
    counted = count(b.finish(b.tied_linear(x, "words", bias=True)))
    assert counted.total.params.at() == counted.total.weights.at() == 100 * 16 + 100
    assert counted.total.macs.at(N=2, S=3) == 2 * 3 * 16 * 100


def test_upsample_repeats_pixels() -> None:
    x = np.random.default_rng(3).random((1, 12, 2, 3), np.float32)
    (y,) = run(built(IMAGE, lambda b, x: b.upsample(x, 2)), x)
    assert np.array_equal(y, x.repeat(2, axis=2).repeat(2, axis=3))


def test_names() -> None:
    b = Builder()
    x = b.input("x", (1, 8, 4, 4))
    with b.scope("stage1"), b.scope("0"):
        assert b.relu(b.conv(x, 8)) == "stage1.0.relu1"
        assert b.conv(x, 8) == "stage1.0.conv2"
        assert b.conv(x, 8, name="shortcut") == "stage1.0.shortcut"
    assert b.conv(x, 8) == "conv1"
    assert "stage1.0.conv1.weight" in b.finish("conv1").tensors


def test_a_shared_memo_changes_nothing() -> None:
    def network(memo: dict[Any, Any] | None) -> Network:
        b = Builder("n", memo=memo)
        x = b.input("x", ("N", 3, "H", "W"))
        for _ in range(3):
            x = b.add(b.conv(x, 8, kernel=3, padding=1), b.conv(x, 8))
        return b.finish(x)

    memo: dict[Any, Any] = {}
    network(memo)
    assert memo
    again, alone = network(memo), network(None)
    assert again.layers == alone.layers
    assert again.tensors == alone.tensors


def test_widths_may_stay_open() -> None:
    width = Dim.size("C")
    b = Builder()
    y = b.conv(b.input("x", ("N", 3, 8, 8)), width, kernel=3, padding=1)
    y = b.linear(b.flatten(b.global_average_pool(b.relu(b.bn(y)))), 10)
    counted = count(b.finish(y))
    assert counted.total.macs.at(N=1, C=16) == 16 * 27 * 64 + 16 * 10
    assert counted.total.params.at(C=16) == 16 * 27 + 16 + 32 + 16 * 10 + 10


def tokens(b: Builder, layer: Callable[[str], Any]) -> Any:
    return layer(b.input("tokens", ("N", 5, 24)))


def conv(**options: Any) -> Callable[[Builder, str], Any]:
    return lambda b, x: b.conv(x, **options)


@pytest.mark.parametrize(
    ("layer", "parts"),
    [
        (conv(filters=0), ["conv1", "filters must be at least 1, not 0", "width is too small"]),
        (conv(filters=1.5), ["conv1", "filters must be a whole number, not 1.5"]),
        (conv(filters=8, groups=5), ["conv1", "12 channels do not form 5 equal groups"]),
        (conv(filters=8, groups=6), ["conv1", "8 filters do not form 6 equal groups"]),
        (conv(filters=8, kernel=0), ["kernel (0, 0)", "at least 1"]),
        (conv(filters=8, kernel=(3, 3, 3)), ["(3, 3, 3)", "one for each of 2 axes"]),
        (conv(filters=8, padding="haf"), ["padding 'haf'", "did you mean 'half'?"]),
        (lambda b, x: b.linear(b.flatten(x), 0), ["features must be at least 1"]),
        (lambda b, x: b.add(x, b.conv(x, 8)), ["add1", "one shape", "[N, 12, H, W]", "[N, 8, H, W]"]),
        (lambda b, x: b.concat(x, b.max_pool(x, 2)), ["concat1", "one shape besides axis 1", "H//2"]),
        (lambda b, x: b.conv(b.flatten(x), 8), ["conv1", "at least 3 axes", "[N, 12*H*W]"]),
        (lambda b, x: b.attention(x, 4), ["attention1", "a tensor of 3 axes", "[N, 12, H, W]"]),
        (lambda b, x: b.window_attention(x, 4, window=3), ["window_attention1", "3 has 9 tokens", "[N, 12, H, W]"]),
        (
            lambda b, x: b.window_attention(b.reshape(x, (0, 4, 9, -1)), 3, window=3, shifted=9),
            ["window_attention1", "a map of 9", "the 4 windows of 3"],
        ),
        (lambda b, x: b.attention(b.flatten(x), 4), ["attention1", "a tensor of 3 axes"]),
        (
            lambda b, x: tokens(b, lambda t: b.attention(t, 8, kv_heads=3)),
            ["attention1", "8 heads do not form 3 equal groups"],
        ),
        (
            lambda b, x: tokens(b, lambda t: b.attention(t, 8, bias=["qurey"])),
            ["attention1", "bias 'qurey'", "did you mean 'query'"],
        ),
        (lambda b, x: tokens(b, lambda t: b.tied_linear(t, "words")), ["no tensor 'words.weight'"]),
        (
            lambda b, x: tokens(b, lambda t: (b.embedding(t, 9, features=8, table="w"), b.tied_linear(t, "w"))[1]),
            ["tied_linear1", "rows of 'w' have 8 features", "[N, 5, 24]"],
        ),
        (
            lambda b, x: tokens(b, lambda t: [b.embedding(t, rows, features=8, table="w") for rows in (9, 7)][1]),
            ["embedding2", "table 'w' is [9, 8], not [7, 8]"],
        ),
        (lambda b, x: tokens(b, lambda t: b.positions(t, 4)), ["positions1", "5 tokens do not fit 4 positions"]),
        (
            lambda b, x: tokens(b, lambda t: b.experts(t, 4, hidden=8, activation="silu")),
            ["experts1", "no activation 'silu'"],
        ),
        (lambda b, x: b.split(x, 2, axis=4), ["split1", "at least 5 axes"]),
        (lambda b, x: b.add(x), ["joins at least two tensors, not 1"]),
        (lambda b, x: b.shuffle(x, 5), ["12 channels do not form 5 equal groups"]),
        (lambda b, x: b.reshape(x, ("N", "K", 12)), ["asks for K", "no axis of 'x' [N, 12, H, W]"]),
        (lambda b, x: b.relu("y"), ["'y'"]),
        (lambda b, x: b.input("x", (1,)), ["tensor 'x'", "made twice"]),
    ],
)
def test_faults(layer: Callable[[Builder, str], Any], parts: list[str]) -> None:
    from costmodel.errors import CostModelError

    with pytest.raises(CostModelError) as caught:
        built(IMAGE, layer)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_unknown_outputs_and_ops() -> None:
    b = Builder()
    x = b.input("x", (1, 8))
    with pytest.raises(InvalidSpec, match="no tensor 'y'"):
        b.finish("y")
    with pytest.raises(UnsupportedOp, match=r"nothing is known of tensor 'warp1': Warp .* no cost rule"):
        b.linear(b.op("Warp", x), 4)
