"""How onnx-tool counts: every instruction as one, by a table of what operations take on an x86 processor."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.conventions.call import Call, Formula, Table, macs, with_bias
from costmodel.dims import Extent, product
from costmodel.graph import Tensor

DIVIDE, EXP, LOG, SINE, SQUARE_ROOT = 4, 32, 43, 39, 24  # onnx_tool/node.py
TANH = EXP + 2 + DIVIDE  # (e^2x - 1) / (e^2x + 1)
ARC_TANGENT = SQUARE_ROOT + 4 + DIVIDE

# per element of the output
ELEMENTWISE: Mapping[str, int] = {
    **dict.fromkeys(("Abs", "Add", "And", "Ceil", "CumSum", "Equal", "Floor", "Greater", "GreaterOrEqual", "Hardmax"), 1),
    **dict.fromkeys(("Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Relu", "Round"), 1),
    **dict.fromkeys(("Sign", "Sub", "Xor"), 1),
    "Atan": 2 * ARC_TANGENT,
    "BatchNormalization": 3 + SQUARE_ROOT + DIVIDE,
    "Clip": 2,
    "Cos": SINE,
    "DequantizeLinear": 2,
    "Div": DIVIDE,
    "Elu": 3 + EXP,
    "Exp": EXP,
    "Gelu": 2 + EXP,
    "HardSigmoid": 4,
    "HardSwish": 5,
    "InstanceNormalization": 3 + DIVIDE,
    "LeakyRelu": 2,
    "Log": LOG,
    "LogSoftmax": EXP + DIVIDE + 1 + LOG,
    "LpNormalization": EXP + 1,
    "PRelu": 2,
    "Pow": EXP,
    "QuantizeLinear": 2,
    "Reciprocal": DIVIDE,
    "Sigmoid": EXP,
    "Sin": SINE,
    "Softmax": EXP + DIVIDE,
    "Softplus": EXP + 1 + LOG,
    "Sqrt": SQUARE_ROOT,
    "Tanh": 2 * TANH,
}
# per element of the input
REDUCTIONS: Mapping[str, int] = {
    "ReduceL2": 1 + SQUARE_ROOT,
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), 1),
}


def _elements(tensor: Tensor) -> Extent:
    """A scalar has none."""
    return tensor.size if tensor.rank else 0


def _each(times: int) -> Formula:
    return lambda call: times * _elements(call.y)


def _reduced(times: int) -> Formula:
    return lambda call: times * _elements(call.x)


def _sum(call: Call) -> Extent:
    return (len(call.layer.inputs) - 1) * _elements(call.y)


def _filtered(call: Call) -> Extent:
    """A multiply-add per output element and weight of its filter, taken from the second axis of the weights on."""
    return call.y.size * product(call.weights.dims[1:])


def _quantized_filtered(call: Call) -> Extent:
    return call.y.size * product(call.tensors[call.layer.inputs[3]].dims[1:]) + (call.y.size if call.has(8) else 0)


def _pool(call: Call) -> Extent:
    return call.y.size * product(call.kernel[:2])


def _global_mean(call: Call) -> Extent:
    return call.x.size + DIVIDE * call.y.size


def _layer_norm(call: Call) -> Extent:
    """Seven per element, and for each row an addition, a root and a division."""
    return 7 * call.x.size + (1 + SQUARE_ROOT + DIVIDE) * product(call.extents_but(call.number("axis", -1)))


def _local_norm(call: Call) -> Extent:
    return call.y.size * (DIVIDE + EXP + 1 + call.number("size"))


def _resized(call: Call) -> Extent:
    return {"linear": 4, "cubic": 8}.get(call.mode, 0) * call.y.size


def _recurrent(gates: int, per_state: int) -> Formula:
    """The products and biases of all directions; the gates of one."""

    def formula(call: Call) -> Extent:
        steps, batch, _ = call.x.dims
        _, w, r, b = (call.tensors[name] for name in call.layer.inputs[:4])
        hidden = w.dims[1] // gates
        return (w.size + r.size + b.size + hidden * per_state) * batch * steps

    return formula


ONNX_TOOL: Table = {
    **{op: _each(times) for op, times in ELEMENTWISE.items()},
    **{op: _reduced(times) for op, times in REDUCTIONS.items()},
    "AveragePool": _pool,
    "Conv": with_bias(_filtered),
    "ConvInteger": _filtered,
    "ConvTranspose": with_bias(_filtered),
    "Einsum": macs,
    "GRU": _recurrent(3, 3 + 2 * EXP + TANH + 5),
    "Gemm": with_bias(macs),
    "GlobalAveragePool": _global_mean,
    "LRN": _local_norm,
    "LSTM": _recurrent(4, 4 + 3 * EXP + 2 * TANH + 4),
    "LayerNormalization": _layer_norm,
    "MatMul": macs,
    "MatMulInteger": with_bias(macs),
    "MaxPool": _pool,
    "QLinearConv": _quantized_filtered,
    "QLinearMatMul": macs,
    "Resize": _resized,
    "Sum": _sum,
    "Upsample": _resized,
}
