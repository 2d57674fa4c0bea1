"""How thop counts: modules by their exact class, never functions."""

from __future__ import annotations

from costmodel.conventions.call import (
    ADAPTIVE_POOL,
    AVERAGE_POOL,
    BATCH_NORM,
    CONVOLUTION,
    INSTANCE_NORM,
    TRANSPOSED,
    UPSAMPLE,
    Call,
    Table,
    by_module,
    each_input,
    each_output,
    macs,
    normalized,
    recurrent,
)
from costmodel.dims import Extent, product


def _per_output(call: Call) -> Extent:
    """A transposed convolution as if it were none: output elements by input channels of a group and filter elements."""
    channels, _, *kernel = call.weights.dims
    return call.y.size * (channels // call.number("group", 1)) * product(kernel)


def _softmax(call: Call) -> Extent:
    """Of n numbers n exponentials, n - 1 additions, n divisions."""
    return 3 * call.x.size - product(call.extents_but(call.number("axis", -1)))


def _pooled_to(call: Call) -> Extent:
    """For each element of the output, as many additions as elements of the input come to it, and a division."""
    return call.x.size + call.y.size


def _upsampled(call: Call) -> Extent:
    """Of volumes nothing is counted but the nearest element."""
    linear = {3: 5, 4: 11}.get(call.x.rank, 0)
    return {"nearest": 1, "linear": linear, "cubic": 224 + 35}.get(call.mode, 0) * call.y.size


THOP: Table = {
    "AveragePool": by_module({AVERAGE_POOL: each_output(1), ADAPTIVE_POOL: _pooled_to}),
    "BatchNormalization": by_module({BATCH_NORM: normalized(4, 2)}),
    "Conv": by_module({CONVOLUTION: macs}),
    "ConvTranspose": by_module({TRANSPOSED: _per_output}),
    "GRU": by_module({"GRU": recurrent(elementwise=7, gates=3, biases=2)}),
    "Gemm": by_module({"Linear": macs}),
    "GlobalAveragePool": by_module({ADAPTIVE_POOL: _pooled_to}),
    "InstanceNormalization": by_module({INSTANCE_NORM: normalized(4, 2)}),
    "LSTM": by_module({"LSTM": recurrent(elementwise=8, gates=4, biases=2)}),
    "LayerNormalization": by_module({"LayerNorm": normalized(4, 2)}),
    "MatMul": by_module({"Linear": macs}),
    "PRelu": by_module({"PReLU": each_input(1)}),
    "RNN": by_module({"RNN": recurrent(elementwise=1, gates=1, biases=2)}),
    "ReduceMean": by_module({ADAPTIVE_POOL: _pooled_to}),
    "Resize": by_module({UPSAMPLE: _upsampled}),
    "Softmax": by_module({"Softmax": _softmax}),
    "Upsample": by_module({UPSAMPLE: _upsampled}),
}
