"""How ptflops counts.

Its backend of old, ``pytorch``, has formulas for modules by their exact class and for functions that it replaces while the
module runs, so a module that calls such a function counts twice. Its backend ``aten`` counts torch's operations.
"""

from __future__ import annotations

from costmodel.conventions.call import (
    ADAPTIVE_POOL,
    AVERAGE_POOL,
    BATCH_NORM,
    CONVOLUTION,
    INSTANCE_NORM,
    MAX_POOL,
    SDPA,
    TRANSPOSED,
    Call,
    Formula,
    Table,
    by_module,
    each_input,
    each_output,
    macs,
    normalized,
    nothing,
    outside_sdpa,
    recurrent,
    with_bias,
)
from costmodel.dims import Extent

HELD_GELU = "transformers.activations.GELUActivation"  # keeps torch's function from before ptflops replaces it
# modules with a formula of their own, in which what is inside does not count again
ATTENTION = {
    "MultiheadAttention": "torch.nn.modules.activation.MultiheadAttention",
    "timm.layers.attention.Attention": "timm.layers.attention.Attention",
}


def _hooked(formula: Formula) -> Formula:
    """What counts unless a module with a formula of its own is around."""
    return lambda call: 0 if call.is_within(ATTENTION.values()) else formula(call)


def _twice(modules: str) -> Formula:
    """One per element of the input for the module, one for the function that it calls; the function alone counts too."""
    return _hooked(by_module({modules: each_input(2)}, otherwise=each_input(1)))


def _mean(call: Call) -> Extent:
    return _twice(ADAPTIVE_POOL)(call) if call.is_adaptive_pool else 0


def _times(call: Call) -> int:
    """Attention that returns its weights calls functions that count for themselves once more."""
    return 2 if call.function in ("bmm", "baddbmm", "softmax") else 1


def _product(call: Call) -> Extent:
    """Linear layers, and products that are called by name; in attention the scaling of the queries too."""
    if call.module in ATTENTION:
        weighted = call.producer(0)
        scaled = call.y.size if weighted is not None and weighted.op == "Softmax" else 0
        return _times(call) * call.macs + scaled
    return 0 if call.function == SDPA or (call.function == "linear" and call.module != "Linear") else call.macs


def _bias(call: Call) -> Extent:
    return call.y.size if call.is_bias and (call.module == "Linear" or call.module in ATTENTION) else 0


def _gemm(call: Call) -> Extent:
    """``addmm`` that is called by name adds a bias of its own size, whatever it is spread over."""
    if call.function == "addmm":
        added = call.input(2)
        return call.macs + (0 if added is None else added.size)
    return by_module({"Linear MultiheadAttention": with_bias(macs)})(call)


def _softmax_of_ptflops(call: Call) -> Extent:
    if call.module in ATTENTION:
        return _times(call) * call.y.size
    return 0 if call.function == SDPA else call.y.size


def _silu(call: Call) -> Extent:
    return call.y.size if call.is_silu else 0


PTFLOPS: Table = {
    "Add": _hooked(_bias),
    "AveragePool": _twice(f"{AVERAGE_POOL} {ADAPTIVE_POOL}"),
    "BatchNormalization": by_module({BATCH_NORM: normalized(2, 1)}),
    "Clip": lambda call: call.x.size if call.module == "ReLU6" or call.function == "relu6" else 0,
    "Conv": _hooked(by_module({CONVOLUTION: with_bias(macs)})),
    "ConvTranspose": _hooked(by_module({TRANSPOSED: with_bias(macs)})),
    "Elu": _twice("ELU"),
    "GRU": by_module({"GRU": recurrent(elementwise=7, gates=3, biases=2)}),
    "Gelu": _hooked(by_module({"GELU": each_input(2), HELD_GELU: nothing}, otherwise=each_input(1))),
    "Gemm": _hooked(_gemm),
    "GlobalAveragePool": _twice(ADAPTIVE_POOL),
    "GlobalMaxPool": _twice(MAX_POOL),
    "GroupNormalization": by_module({"GroupNorm": normalized(2, 1)}),
    "InstanceNormalization": by_module({"GroupNorm": each_input(2), INSTANCE_NORM: normalized(2, 1)}),
    "LSTM": by_module({"LSTM": recurrent(elementwise=10, gates=4, biases=2)}),
    "LayerNormalization": by_module({"LayerNorm": each_input(1)}),
    "LeakyRelu": by_module({"LeakyReLU": each_input(1)}),
    "MatMul": _hooked(_product),
    "MaxPool": _twice(MAX_POOL),
    "Mul": _silu,
    "PRelu": _twice("PReLU"),
    "RNN": by_module({"RNN": recurrent(elementwise=1, gates=1, biases=2)}),
    "ReduceMax": by_module({MAX_POOL: each_input(2)}),
    "ReduceMean": _mean,
    "Relu": _twice("ReLU"),
    "Resize": _hooked(by_module({"Upsample": each_output(2)}, otherwise=each_output(1))),
    "Sigmoid": _silu,
    "Softmax": _softmax_of_ptflops,
    "Swish": each_output(1),
    "Upsample": _hooked(by_module({"Upsample": each_output(2)}, otherwise=each_output(1))),
}
PTFLOPS_ATEN: Table = {
    "Add": lambda call: call.y.size if call.is_bias else 0,
    "Conv": with_bias(macs),
    "ConvTranspose": with_bias(macs),
    "Einsum": macs,
    "GRU": recurrent(elementwise=0, gates=3, biases=2),
    "Gemm": with_bias(macs),
    "LSTM": recurrent(elementwise=0, gates=4, biases=2),
    "MatMul": outside_sdpa(macs),
    "RNN": recurrent(elementwise=0, gates=1, biases=2),
}
