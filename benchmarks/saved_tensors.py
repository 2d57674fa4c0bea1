"""What PyTorch keeps of each operation for its backward: which of its tensors, and how many bytes besides.

    python -m benchmarks.saved_tensors

Writes tests/data/saved_tensors.json. Operations go by the names of ONNX; x, w and z are their inputs, y is the result.
Needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 - as torch's documentation calls it

FACTS = Path(__file__).parent.parent / "tests" / "data" / "saved_tensors.json"
IMAGE, FILTER, CHANNELS, HEADS = (2, 8, 6, 6), (8, 8, 3, 3), (8,), (2, 4, 16, 8)
NAMES = "xwz"

Function = Callable[..., torch.Tensor]
UNARY: Mapping[str, Function] = {
    "Abs": torch.abs, "Acos": torch.acos, "Asin": torch.asin, "Atan": torch.atan, "Cos": torch.cos, "Sin": torch.sin,
    "Cosh": torch.cosh, "Sinh": torch.sinh, "Tan": torch.tan, "Tanh": torch.tanh, "Erf": torch.erf, "Exp": torch.exp,
    "Log": torch.log, "Sqrt": torch.sqrt, "Reciprocal": torch.reciprocal, "Neg": torch.neg, "Sign": torch.sign,
    "Floor": torch.floor, "Round": torch.round, "Ceil": torch.ceil, "Relu": F.relu, "Clip": F.relu6,
    "LeakyRelu": F.leaky_relu,
    "Elu": F.elu, "Celu": F.celu, "Selu": F.selu, "Sigmoid": torch.sigmoid, "HardSigmoid": F.hardsigmoid,
    "HardSwish": F.hardswish, "Gelu": F.gelu, "Mish": F.mish, "Softplus": F.softplus, "Softsign": F.softsign,
    "Softmax": lambda x: F.softmax(x, 1), "LogSoftmax": lambda x: F.log_softmax(x, 1),
    "MaxPool": lambda x: F.max_pool2d(x, 2), "AveragePool": lambda x: F.avg_pool2d(x, 2),
    "GlobalAveragePool": lambda x: F.adaptive_avg_pool2d(x, 1), "GlobalMaxPool": lambda x: F.adaptive_max_pool2d(x, 1),
    "ReduceMean": lambda x: x.mean((2, 3)), "ReduceSum": lambda x: x.sum((2, 3)), "ReduceMax": lambda x: x.amax((2, 3)),
    "ReduceL2": lambda x: x.norm(dim=(2, 3)), "ReduceLogSumExp": lambda x: x.logsumexp((2, 3)),
    "DepthToSpace": lambda x: F.pixel_shuffle(x, 2), "LRN": lambda x: F.local_response_norm(x, 5),
}  # fmt: skip
IN_PLACE: Mapping[str, Function] = {
    "Relu": lambda x: F.relu(x, inplace=True), "LeakyRelu": lambda x: F.leaky_relu(x, inplace=True),
    "Elu": lambda x: F.elu(x, inplace=True), "Celu": lambda x: F.celu(x, inplace=True),
    "Selu": lambda x: F.selu(x, inplace=True),
}  # fmt: skip
BINARY: Mapping[str, Function] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Max": torch.maximum, "Min": torch.minimum,
    "Concat": lambda x, w: torch.cat([x, w], 1),
}  # fmt: skip
WITH_WEIGHTS: Mapping[str, tuple[tuple[int, ...], Function]] = {
    "Conv": (FILTER, F.conv2d), "ConvTranspose": (FILTER, F.conv_transpose2d), "PRelu": (CHANNELS, F.prelu),
}  # fmt: skip
NORMS: Mapping[str, Function] = {
    "BatchNormalization": lambda x, w, z: F.batch_norm(x, None, None, w, z, training=True),
    "LayerNormalization": lambda x, w, z: F.layer_norm(x, IMAGE[-1:], w[: IMAGE[-1]], z[: IMAGE[-1]]),
}


def kept(function: Function, *shapes: tuple[int, ...], in_place: bool = False) -> dict[str, object]:
    """The names of the tensors that are kept, and the bytes of all other memory that is."""
    inputs = [torch.rand(shape, requires_grad=True) * 1.0 for shape in shapes]
    found: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function(*inputs)
    names = dict(zip((x.untyped_storage()._cdata for x in inputs), NAMES, strict=False))
    names.update({result.untyped_storage()._cdata: "y"} if in_place or result.untyped_storage()._cdata not in names else {})
    besides = sum(tensor.untyped_storage().nbytes() for key, tensor in found.items() if key not in names)
    return {"kept": sorted(names[key] for key in found if key in names), "besides_bytes": besides}


def main() -> None:
    facts: dict[str, object] = {"torch": torch.__version__, "command": "python -m benchmarks.saved_tensors"}
    facts["unary"] = {op: kept(function, IMAGE) for op, function in UNARY.items()}
    facts["in place"] = {op: kept(function, IMAGE, in_place=True) for op, function in IN_PLACE.items()}
    facts["binary"] = {op: kept(function, IMAGE, IMAGE) for op, function in BINARY.items()}
    facts["with weights"] = {op: kept(function, IMAGE, shape) for op, (shape, function) in WITH_WEIGHTS.items()}
    facts["norms"] = {op: kept(function, IMAGE, CHANNELS, CHANNELS) for op, function in NORMS.items()}
    facts["attention"] = {"Attention": kept(F.scaled_dot_product_attention, HEADS, HEADS, HEADS)}
    FACTS.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
