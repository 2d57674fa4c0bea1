"""What the backward of each operation needs: the tensors that eager PyTorch keeps from the forward pass until then.

One table by op, after PyTorch's own list of derivatives (tools/autograd/derivatives.yaml). Its lines differ from what
mathematics needs: the average pooling of PyTorch, for one, keeps its input. What no line names keeps its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from costmodel.dims import Extent, floor_divide, product
from costmodel.graph import Layer, Tensor

FLOAT32, INT64 = 4, 8  # bytes of a statistic, and of an index

# their gradients follow from that of the result and from shapes
KEEP_NOTHING = frozenset(
    {
        "Add", "Sub", "Sum", "Mean", "Neg", "Identity", "Cast", "CastLike", "Concat", "Reshape", "Flatten", "Squeeze",
        "Unsqueeze", "Transpose", "Slice", "Split", "Expand", "Tile", "ReduceSum", "ReduceMean", "GlobalAveragePool",
        "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "Floor", "Ceil", "Round", "Sign", "CumSum", "Trilu", "Dropout",
        "TopK", "Shape", "Size",
    }
)  # fmt: skip
KEEP_OUTPUT = frozenset({"Relu", "Sigmoid", "Tanh", "Tan", "Exp", "Sqrt", "Reciprocal", "Softmax", "LogSoftmax"})
# they may overwrite what they read, as nn.ReLU(inplace=True) does, since their results tell the gradient then
IN_PLACE = frozenset({"Relu", "LeakyRelu", "Elu", "Celu", "Selu"})
# each operand is the gradient of the others
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "Mul"})
# positions of the inputs that say where an element came from
KEEP_PLACES: Mapping[str, tuple[int, ...]] = {
    "Gather": (1,), "GatherND": (1,), "ScatterElements": (1,), "ScatterND": (1,), "Where": (0,),
    "MaxUnpool": (1,), "RoiAlign": (1, 2),
}  # fmt: skip
KEEP_BOTH = frozenset(
    {
        "Attention", "MultiHeadAttention", "GroupQueryAttention", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
        "ReduceProd", "ReduceLogSumExp",
    }
)  # fmt: skip
# the gradient of an input is that of the result, or a view of it
PASS_ON = frozenset({"Add", "Sub", "Sum", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})
PASS_ON_PARTS = frozenset({"Concat", "ReduceSum"})


def channels(x: Tensor) -> Extent:
    return x.dims[1] if x.rank > 1 else 1


def _rows(x: Tensor, layer: Layer) -> Extent:
    axis = layer.attributes.get("axis", -1)
    return product(x.dims[:axis]) if isinstance(axis, int) else x.size


def _neighbours(x: Tensor, layer: Layer) -> Extent:
    """Squares with zeros on either side of the channels, sums over neighbours, and their powers."""
    size = layer.attributes["size"]
    around = size - 1 if isinstance(size, int) else 0
    return x.nbytes * 2 + floor_divide(x.nbytes * (channels(x) + around), channels(x))


def _every_step(y: Tensor, gates: int) -> Extent:
    """The gates of every step, the state that they change, and its tanh."""
    return y.nbytes * (gates + 2)


class Around(NamedTuple):
    """A layer with its first input and its first result."""

    x: Tensor
    y: Tensor
    layer: Layer


# what is kept besides activations: statistics, indices of maxima, masks, the gates of every step
BESIDES: Mapping[str, Callable[[Around], Extent]] = {
    "BatchNormalization": lambda at: 2 * FLOAT32 * channels(at.x),
    "InstanceNormalization": lambda at: 2 * FLOAT32 * product(at.x.dims[:2]),
    "LayerNormalization": lambda at: 2 * FLOAT32 * _rows(at.x, at.layer),
    "MaxPool": lambda at: INT64 * at.y.size,
    "GlobalMaxPool": lambda at: INT64 * at.y.size,
    "TopK": lambda at: INT64 * at.y.size,
    "Dropout": lambda at: at.x.size,  # a mask of a byte, as on a GPU
    "Softsign": lambda at: at.y.nbytes,
    "LRN": lambda at: _neighbours(at.x, at.layer),
    "LSTM": lambda at: _every_step(at.y, 4),
    "GRU": lambda at: _every_step(at.y, 3),
    "RNN": lambda at: _every_step(at.y, 1),
}
