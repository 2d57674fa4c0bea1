"""Activations with a bias or a gate, and dropouts with a bias, as ONNX Runtime fuses them.

Its kernels for CPUs hold the sum with the bias in scratch memory.
"""

from __future__ import annotations

from costmodel.dims import ceil_divide
from costmodel.graph import Cost, Tensor
from costmodel.ops.activations import activation_flops
from costmodel.ops.elementwise import elementwise, towards_first
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.normalization import softmax
from costmodel.ops.shapes import broadcast, normal_axis, reusable, same
from costmodel.ops.value_layout import extent_of

WORD = 32  # bits of a bit mask's word


@microsoft("Gelu")
def gelu(x):
    """5 per element: divide, error function, add, multiply, multiply."""
    return elementwise(x, flops=activation_flops("Gelu"))


@microsoft("BiasGelu")
def bias_gelu(a, b):
    """6 per element: add the bias, then as Gelu."""
    return _with_bias(a, b, "Gelu")


@microsoft("FastGelu")
def fast_gelu(x, bias=None):
    """8 per element: power, multiply, add, multiply, tanh, add, multiply, multiply; 1 more for a bias."""
    return _with_bias(x, bias, "FastGelu")


@microsoft("QuickGelu")
def quick_gelu(x, *, alpha=1.702):
    """6 per element: multiply, then the sigmoid's 4, multiply."""
    return elementwise(x, flops=activation_flops("QuickGelu"))


@microsoft("ScaledSiLU")
def scaled_silu(x, scale=None, *, alpha=1.0):
    """6 per element: multiply, then the sigmoid's 4, multiply."""
    return elementwise(x, flops=activation_flops("QuickGelu"))


@microsoft("QOrderedGelu")
def quantized_ordered_gelu(x, scale_x, scale_y, *, order_X=None, order_Y=None):  # noqa: N803 - ONNX Runtime's names
    """7 per element: multiply by the scale, then as Gelu, divide by the scale."""
    y = x.to(x.dims)
    return Cost((y,), other_flops=y.size * (2 + activation_flops("Gelu")), not_learnable=(1, 2))


@microsoft("SwiGLU")
def swiglu(
    gate, up=None, *, activation_alpha=1.0, activation_beta=0.0, limit=0.0, round_activation=0
):
    """7 per element of the result: multiply, sigmoid (4), two products; 3 for a limit, 1 for a beta.

    Without ``up`` the gate holds both halves.
    """
    *rows, width = gate.dims
    y = gate.to(gate.dims if up is not None else (*rows, width // 2))
    return Cost((y,), other_flops=y.size * swiglu_flops(limit, activation_beta))


def swiglu_flops(limit: float, beta: float) -> int:
    """Operations per element of the result."""
    return 3 + activation_flops("Sigmoid") + (3 if limit > 0 else 0) + (beta != 0)


def _with_bias(x: Tensor, bias: Tensor | None, activation: str) -> Cost:
    if bias is not None:
        towards_first(x, bias)
    y = x.to(x.dims)
    if bias is None:
        return Cost((y,), other_flops=y.size * activation_flops(activation), in_place=reusable(y, x))
    return Cost((y,), other_flops=y.size * (activation_flops(activation) + 1), scratch_bytes=y.nbytes)


@microsoft("BiasSplitGelu")
def bias_split_gelu(x, bias):
    """Per element of the result: two additions for the bias, a Gelu (5) of one half, a product with the other."""
    *rows, width = x.dims
    same(bias.size, width, "the bias and the last extent")
    y = x.to((*rows, width // 2))
    return Cost((y,), other_flops=y.size * (3 + activation_flops("Gelu")))


@microsoft("BiasAdd")
def bias_add(x, bias, skip):
    """2 per element: add the bias, add the skipped tensor."""
    towards_first(x, bias, skip)
    y = x.to(x.dims)
    return Cost((y,), other_flops=2 * y.size, in_place=reusable(y, x))


@microsoft("GatedAdd")
def gated_add(x, y, gate):
    """2 per element: multiply by the gate, add."""
    towards_first(x, y, gate)
    return Cost((x.to(x.dims),), other_flops=2 * x.size)


@microsoft("BiasSoftmax")
def bias_softmax(data, bias, *, axis=1, is_inner_broadcast):
    """6 per element: add the bias, then as Softmax."""
    normal_axis(axis, data.rank)
    plain = softmax(data, axis=axis)
    return Cost(plain.outputs, other_flops=plain.other_flops + data.size, in_place=reusable(plain.outputs[0], data))


@microsoft("LinearAttentionGate")
def linear_attention_gate(a, dt_bias, decay_scale, b=None):
    """5 per element of the decay: add, softplus (3), multiply; a sigmoid (4) per element of beta."""
    towards_first(a, dt_bias, decay_scale)
    second = a if b is None else b
    beta = 0 if b is None else b.size * activation_flops("Sigmoid")
    flops = a.size * (2 + activation_flops("Softplus"))
    return Cost((a.to(a.dims), second.to(second.dims)), other_flops=flops + beta)


# -- dropout ------------------------------------------------------------------------------------------------------


@microsoft("BiasDropout")
def bias_dropout(data, bias, residual=None, ratio=None, training_mode=None, *, seed=None):
    """1 per element for the bias, 1 for a residual; 2 more in training: compare, multiply."""
    return _dropout(data, bias, residual, training_mode, mask=data.to(data.dims, dtype="bool"))


@microsoft("BitmaskBiasDropout")
def bitmask_bias_dropout(data, bias, residual=None, ratio=None, training_mode=None, *, seed=None):
    """As BiasDropout; the mask has a bit per element."""
    return _dropout(data, bias, residual, training_mode, mask=_bits(data))


@microsoft("BitmaskDropout")
def bitmask_dropout(data, ratio=None, training_mode=None, *, seed=None):
    """Nothing but a copy; 2 per element in training: compare, multiply. The mask has a bit per element."""
    return _dropout(data, None, None, training_mode, mask=_bits(data))


def _bits(data: Tensor) -> Tensor:
    return data.to((ceil_divide(data.size, WORD),), dtype="uint32")


def _dropout(data: Tensor, bias: Tensor | None, residual: Tensor | None, training: Tensor | None, *, mask: Tensor) -> Cost:
    shape = broadcast(data.dims, *(other.dims for other in (bias, residual) if other is not None))
    y = data.to(shape)
    per_element = (bias is not None) + (residual is not None) + (2 if extent_of(training) else 0)
    return Cost((y, mask), other_flops=y.size * per_element, in_place=reusable(y, data))
