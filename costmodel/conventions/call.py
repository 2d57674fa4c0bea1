"""What a convention sees of one layer, and the formulas that conventions are put together from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from costmodel.dims import Extent, product
from costmodel.graph import Layer, Shape, Tensor

TORCH_MODULES = "torch.nn.modules."
TORCH_OPERATIONS = "aten."
SDPA = "scaled_dot_product_attention"

# What torch calls the module that a layer stands for, where the graph does not say what it was. A Softmax is none: those
# of attention are function calls.
USUAL_MODULE: Mapping[str, str] = {
    "AveragePool": "AvgPool2d",
    "BatchNormalization": "BatchNorm2d",
    "Clip": "ReLU6",
    "Conv": "Conv2d",
    "ConvTranspose": "ConvTranspose2d",
    "Elu": "ELU",
    "GRU": "GRU",
    "Gelu": "GELU",
    "Gemm": "Linear",
    "GlobalAveragePool": "AdaptiveAvgPool2d",
    "GlobalMaxPool": "AdaptiveMaxPool2d",
    "GroupNormalization": "GroupNorm",
    "InstanceNormalization": "InstanceNorm2d",
    "LSTM": "LSTM",
    "LayerNormalization": "LayerNorm",
    "LeakyRelu": "LeakyReLU",
    "MaxPool": "MaxPool2d",
    "PRelu": "PReLU",
    "RNN": "RNN",
    "Relu": "ReLU",
    "Resize": "Upsample",
    "Upsample": "Upsample",
}
CONVOLUTION = "Conv1d Conv2d Conv3d"
TRANSPOSED = "ConvTranspose1d ConvTranspose2d ConvTranspose3d"
BATCH_NORM = "BatchNorm1d BatchNorm2d BatchNorm3d"
INSTANCE_NORM = "InstanceNorm1d InstanceNorm2d InstanceNorm3d"
AVERAGE_POOL = "AvgPool1d AvgPool2d AvgPool3d"
ADAPTIVE_POOL = "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d"
MAX_POOL = "MaxPool1d MaxPool2d MaxPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d"
UPSAMPLE = "Upsample UpsamplingNearest2d UpsamplingBilinear2d"
POOLED_AXES = (-1, -2)  # as torch writes a pool to one element; a mean has them in the order that the program gave


@dataclass(frozen=True, slots=True)
class Call:
    """A layer with its tensors, and what it was in the program that was exported."""

    layer: Layer
    tensors: Mapping[str, Tensor]
    producers: Mapping[str, Layer]
    learnable: frozenset[str] | None

    def input(self, i: int) -> Tensor | None:
        return self.tensors[self.layer.inputs[i]] if self.has(i) else None

    def has(self, i: int) -> bool:
        """Whether the input is given."""
        return i < len(self.layer.inputs) and bool(self.layer.inputs[i])

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.tensors[self.layer.inputs[0]]

    @property
    def y(self) -> Tensor:
        """The first output."""
        return self.tensors[self.layer.outputs[0]]

    @property
    def macs(self) -> Extent:
        return self.layer.cost.macs if self.layer.cost else 0

    def producer(self, i: int) -> Layer | None:
        """The layer that writes an input."""
        return self.producers.get(self.layer.inputs[i]) if self.has(i) else None

    def number(self, name: str, default: int = 0) -> int:
        """An attribute that is a number."""
        value = self.layer.attributes.get(name, default)
        return int(value) if isinstance(value, (int, float)) else default

    @property
    def mode(self) -> str:
        """How Resize finds what lies between elements."""
        return str(self.layer.attributes.get("mode", "nearest"))

    def extents_but(self, axis: int) -> Shape:
        """The extents of the first input without that of one axis."""
        return tuple(extent for i, extent in enumerate(self.x.dims) if i != axis % self.x.rank)

    @property
    def kernel(self) -> Shape:
        """The extents of the window."""
        stated = self.layer.attributes.get("kernel_shape", ())
        return tuple(extent for extent in stated if isinstance(extent, int)) if isinstance(stated, tuple) else ()

    @property
    def weights(self) -> Tensor:
        """The second input."""
        return self.tensors[self.layer.inputs[1]]

    @property
    def is_affine(self) -> bool:
        """Whether a norm has weights of its own; exporters store ones and zeros where it has none."""
        if not self.has(1):
            return False
        return self.learnable is None or self.layer.inputs[1] in self.learnable or self.producer(1) is not None

    @property
    def takes_moments(self) -> bool:
        """Whether a batch norm is by the moments of its own input, as those of weights are."""
        return self.function == "_native_batch_norm_legit"

    @property
    def is_group_norm(self) -> bool:
        """Whether it is the part of a group norm without its weights, which follow apart."""
        return self.function == "group_norm"

    # -- what the layer was ----------------------------------------------------------------------------------------

    @property
    def function(self) -> str:
        """The operation of torch, as in ``linear``; empty where the graph does not say."""
        last = self.layer.origin[-1] if self.layer.origin else ""
        return last.removeprefix(TORCH_OPERATIONS).partition(".")[0] if last.startswith(TORCH_OPERATIONS) else ""

    @property
    def module(self) -> str:
        """The innermost module around the layer: torch's own by its name, another with the path of its class.

        Where the graph does not say, the layer is taken for the module that it usually is.
        """
        if not self.layer.origin:
            return self._usual_module
        return self.layer.origin[-2].removeprefix(TORCH_MODULES).rpartition(".")[2] if self._is_torchs else self._class

    @property
    def _class(self) -> str:
        return self.layer.origin[-2] if len(self.layer.origin) > 1 else ""

    @property
    def _is_torchs(self) -> bool:
        return self._class.startswith(TORCH_MODULES)

    @property
    def _usual_module(self) -> str:
        if self.layer.op == "MatMul" or self.is_bias:
            return "Linear" if self.is_bias or self.by_weights else ""
        if self.layer.op == "ReduceMean":
            return "AdaptiveAvgPool2d" if self.keeps_pooled_axes else ""
        return USUAL_MODULE.get(self.layer.op, "")

    def is_within(self, classes: Collection[str]) -> bool:
        """Whether one of these stands around the innermost module."""
        return any(name in classes for name in self.layer.origin[:-2])

    @property
    def by_weights(self) -> bool:
        """Whether the second factor of a product is stored."""
        return self.has(1) and self.tensors[self.layer.inputs[1]].constant

    @property
    def is_bias(self) -> bool:
        """Whether an addition adds the bias of a linear layer, which exporters write as a product and an addition."""
        if self.layer.op != "Add":
            return False
        if self.layer.origin:
            return self.function == "linear"
        factors = [self.producer(i) for i in (0, 1) if self.tensors[self.layer.inputs[1 - i]].constant]
        return any(factor is not None and factor.op == "MatMul" for factor in factors)

    @property
    def is_silu(self) -> bool:
        """Whether a SiLU ends here: exporters write it as a sigmoid and the product with its input."""
        if self.layer.origin:
            return self.layer.op == "Sigmoid" and self.function == "silu"
        x, gate = self.layer.inputs if self.layer.op == "Mul" else ("", "")
        return any(
            layer is not None and layer.op == "Sigmoid" and layer.inputs[0] == other
            for layer, other in ((self.producers.get(gate), x), (self.producers.get(x), gate))
        )

    @property
    def keeps_pooled_axes(self) -> bool:
        """Whether a mean is what torch makes of pooling to one element: over the two spatial axes, and keeps them."""
        axes = self.input(1)
        over = axes.value if axes is not None else self.layer.attributes.get("axes")
        return self.x.rank == 4 and over == POOLED_AXES and self.layer.attributes.get("keepdims", 1) == 1

    @property
    def is_adaptive_pool(self) -> bool:
        """Whether it pools to a given number of elements by their mean."""
        if self.layer.op == "ReduceMean":
            return self.keeps_pooled_axes
        return self.layer.op == "GlobalAveragePool" or self.module.startswith("AdaptiveAvgPool")


Formula = Callable[[Call], Extent]
Table = Mapping[str, Formula]


def macs(call: Call) -> Extent:
    """The multiply-adds as counted here."""
    return call.macs


def nothing(call: Call) -> Extent:
    return 0


def each_input(times: int) -> Formula:
    """So many for each element of the first input."""
    return lambda call: times * call.x.size


def each_output(times: int) -> Formula:
    """So many for each element of the first output."""
    return lambda call: times * call.y.size


def normalized(affine: int, plain: int) -> Formula:
    """So many for each element of the input of a norm, with weights of its own and without."""
    return lambda call: (affine if call.is_affine else plain) * call.x.size


def outside_sdpa(formula: Formula) -> Formula:
    """Nothing inside torch's fused attention, which is one operation that neither fvcore nor ptflops' aten backend knows."""
    return lambda call: 0 if call.function == SDPA else formula(call)


def with_bias(formula: Formula) -> Formula:
    """One more for each element of the output where a third input is added."""
    return lambda call: formula(call) + (call.y.size if call.has(2) else 0)


def by_module(formulas: Mapping[str, Formula], otherwise: Formula = nothing) -> Formula:
    """The formula of the module that the layer comes from; each key names one or more."""
    by_name = {name: formula for names, formula in formulas.items() for name in names.split()}
    return lambda call: by_name.get(call.module, otherwise)(call)


def recurrent(elementwise: int, gates: int, biases: int) -> Formula:
    """The products, and for each step and element of the state its elementwise operations and the biases of its gates."""

    def formula(call: Call) -> Extent:
        steps, batch, _ = call.x.dims
        weights = call.tensors[call.layer.inputs[2]]
        directions, _, hidden = weights.dims
        added = elementwise + (biases * gates if call.has(3) else 0)
        return call.macs + product((steps, batch, directions, hidden)) * added

    return formula
