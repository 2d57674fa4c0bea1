"""Network -> its quantised twin, in QDQ form: int8 activations and weights, int32 biases.

As ONNX Runtime's static quantisation does it ("Quantize ONNX models", QDQ format, per channel): batch norms are folded into
the convolutions before them; every op with an integer kernel reads dequantised tensors and is quantised again, which a
runtime runs as one integer op; a rectifier behind such an op is the range of its quantiser. Ops that only move numbers
work on the integers themselves. What has no integer kernel stays in float32.

Nothing is calibrated, as no data is seen: ranges are typical ones, which change nothing that is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from costmodel.dims import product
from costmodel.graph import Layer, Network, Node, Tensor
from costmodel.ops.engine import Engine
from costmodel.precision import node_of, remade
from costmodel.qdq import DEQUANTIZE, INTEGER_KERNELS, QUANTIZE

# ops that carry numbers on as they are, and the scale with them: ONNX has them for int8 as for float
MOVES = frozenset(
    {
        "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Expand", "Tile",
        "Resize", "Identity",
    }
)  # fmt: skip
# Clip and norms have operands that stay float; a quotient of small integers is of no use
COMPUTES = INTEGER_KERNELS - MOVES - {"Clip", "LayerNormalization", "Div"}
WITH_BIAS = frozenset({"Conv", "ConvTranspose", "Gemm"})
WEIGHTED = WITH_BIAS | {"MatMul"}
READ_SHAPES = frozenset({"Shape", "Size"})
CLAMPS = ("Relu", "Clip")
WITHIN_1 = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})

LOWEST, STEPS = -128, 255
SPREAD = 73.6  # standard deviation of whole numbers spread evenly from -127 to 127
TYPICAL_STEP = 1 / 16  # of activations whose standard deviation is near 1


@dataclass(frozen=True, slots=True)
class Range:
    """What int8 stands for: ``step * (q - zero_point)``; the step is None where it is not known."""

    step: float | None = TYPICAL_STEP
    zero_point: int = 0

    @staticmethod
    def between(low: float, high: float) -> Range:
        """The range whose ends are those of int8, so that quantising clamps.

        >>> Range.between(0, 6).zero_point
        -128
        """
        step = (high - low) / STEPS
        return Range(step, LOWEST - round(low / step))


@dataclass(frozen=True, slots=True)
class Integer:
    """An int8 tensor with its scale and zero point; ``axis`` is that of the channels with a scale each."""

    name: str
    scale: str
    zero_point: str
    range: Range
    axis: int | None = None


def quantized(network: Network) -> Network:
    """The int8 twin of a float32 network, of opset 13 or later.

    >>> import costmodel as cm
    >>> before, after = (cm.count(cm.zoo("squeezenet1_1", precision=precision)) for precision in ("fp32", "int8"))
    >>> list(after.macs_by_dtype()), before.total.macs == after.total.macs
    (['int8'], True)
    >>> before.at().weight_bytes / after.at().weight_bytes > 3.8
    True
    """
    return _Quantizing(network).network()


class _Quantizing:
    """One network on its way. An op with an integer kernel writes ``y.float``, its quantiser ``y.int8``, and ``y`` is what
    a dequantiser makes of that for whoever reads it.
    """

    def __init__(self, network: Network) -> None:
        self.before = network
        self.engine = Engine(network.opsets)
        self.integers: dict[str, Integer] = {}
        self.dequantized: dict[str, str] = {}
        self.absorbed: set[int] = set()

    def network(self) -> Network:
        self.engine.tensors.update(self.before.inputs)
        for at, layer in enumerate(self.before.layers):
            if at not in self.absorbed:
                self._lay_out(at, layer)
        for name in self.before.outputs:
            self._real(name)
        return remade(self.before, self.engine)

    def _lay_out(self, at: int, layer: Layer) -> None:
        is_numeric = any(name and self._is_real(name) for name in layer.outputs)
        if layer.cost is None or layer.cost.bodies or not is_numeric or self.before.is_constant(layer):
            self._keep(layer)
        elif layer.op in MOVES and self._is_int8(layer.inputs[0]):
            self._move(layer)
        elif layer.op in COMPUTES:
            self._compute(at, layer)
        else:
            self._keep(layer)

    # -- layers ---------------------------------------------------------------------------------------------------

    def _keep(self, layer: Layer) -> None:
        """As it was, on floats; a shape may be read off integers too."""
        if layer.op in READ_SHAPES and layer.inputs[0] in self.integers:
            self.engine.add(node_of(layer, inputs=(self.integers[layer.inputs[0]].name,)))
        else:
            self.engine.add(node_of(layer, inputs=tuple(map(self._real, layer.inputs))))

    def _move(self, layer: Layer) -> None:
        first, *others = layer.inputs
        moved = self._integer(first)
        written = {name: f"{name}.int8" if self._is_real(name) else name for name in layer.outputs}
        inputs = (moved.name, *map(self._real, others))
        self.engine.add(node_of(layer, inputs=inputs, outputs=tuple(written.values())))
        for name, result in written.items():
            if result != name:
                self.integers[name] = Integer(result, moved.scale, moved.zero_point, moved.range)

    def _compute(self, at: int, layer: Layer) -> None:
        """An op with an integer kernel: its operands dequantised, its result quantised; what it absorbs is left out."""
        norm = self._only_reader(at, "BatchNormalization") if layer.op in WITH_BIAS else None
        end = at if norm is None else norm
        clamp = self._only_reader(end, *CLAMPS)
        found = Range.between(0, 1) if layer.op in WITHIN_1 else Range()
        if clamp is not None and (limits := self._limits(self.before.layers[clamp])):
            end, found = clamp, Range.between(*limits)
        self.absorbed.update(i for i in (norm, end) if i is not None)
        inputs = self._operands(layer, has_norm=norm is not None)
        names = self.before.layers[end].outputs
        written = tuple(f"{name}.float" if self._is_real(name) else name for name in names)
        self.engine.add(node_of(layer, inputs=inputs, outputs=written))
        for name, result in zip(names, written, strict=True):
            if result != name:
                self._quantize(name, result, found)

    def _only_reader(self, at: int, *ops: str) -> int | None:
        """The layer that reads the result of another, where nothing else does and its op is one of these."""
        written, *more = self.before.layers[at].outputs
        readers = self.before.consumers.get(written, ())
        if more or len(readers) != 1 or written in self.before.outputs:
            return None
        reader = self.before.layers[readers[0]]
        return readers[0] if reader.op in ops and reader.inputs[0] == written else None

    def _limits(self, layer: Layer) -> tuple[float, float] | None:
        """Between which numbers a rectifier keeps its result, where both are known. A plain one has no upper limit."""
        if layer.op == "Relu":
            return 0.0, TYPICAL_STEP * STEPS / 2
        known = [self.before.tensors[name].value for name in layer.inputs[1:] if name]
        low, high = (value[0] for value in known if value) if len(known) == 2 and all(known) else (None, None)
        return (float(low), float(high)) if isinstance(low, (int, float)) and isinstance(high, (int, float)) else None

    # -- operands -------------------------------------------------------------------------------------------------

    def _operands(self, layer: Layer, *, has_norm: bool) -> tuple[str, ...]:
        if layer.op not in WEIGHTED or not self._is_stored(layer.inputs[1]):
            return tuple(map(self._operand, layer.inputs))
        x, w, *more = layer.inputs
        weight = self._integer(w, axis=_channel_axis(layer, self.before.tensors[w].rank))
        operands = self._dequantized(x), self._dequantized(w)
        bias = more[0] if more else ""
        if bias and not self._is_stored(bias):
            return (*operands, self._dequantized(bias))
        return (*operands, self._bias(layer, self.integers[x].range, weight)) if bias or has_norm else operands

    def _operand(self, name: str) -> str:
        return self._dequantized(name) if name and self._is_real(name) else self._real(name)

    def _bias(self, layer: Layer, x: Range, weight: Integer) -> str:
        """An int32 bias, in the scale of the products that it is added to."""
        name = f"{layer.name}.bias"
        each = self.before.tensors[layer.outputs[0]].dims[1 if layer.op != "Gemm" else -1 :][:1]
        step = None if x.step is None or weight.range.step is None else x.step * weight.range.step
        scale = self._store(f"{name}.int32.scale", Tensor("float32", each, constant=True, fill=step))
        self._store(f"{name}.int32", Tensor("int32", each, constant=True))
        self._add(DEQUANTIZE, f"{name}.int32", name, (f"{name}.int32", scale), 0)
        return name

    def _real(self, name: str) -> str:
        """Where the floats of a tensor are."""
        if name in self.integers and name not in self.engine.tensors:
            return self._dequantized(name)
        if name and name not in self.engine.tensors:
            self._store(name, self.before.tensors[name])
        return name

    def _dequantized(self, name: str) -> str:
        """The floats that the int8 twin of a tensor stands for."""
        if name not in self.dequantized:
            integer = self._integer(name)
            result = f"{name}.dequantized" if name in self.engine.tensors else name
            self._add(DEQUANTIZE, name, result, (integer.name, integer.scale, integer.zero_point), integer.axis)
            self.dequantized[name] = result
        return self.dequantized[name]

    def _integer(self, name: str, axis: int | None = None) -> Integer:
        """The int8 twin of a tensor; what is stored is stored as such, what is computed is quantised."""
        if name not in self.integers:
            if self._is_stored(name):
                self._store_int8(name, axis)
            else:
                self._quantize(name, self._real(name), Range())
        return self.integers[name]

    def _store_int8(self, name: str, axis: int | None) -> None:
        shape = self.before.tensors[name].dims
        each = () if axis is None else (shape[axis],)
        fan_in = product(shape[:axis] + shape[axis + 1 :]) if axis is not None else product(shape[1:])
        step = sqrt(2 / fan_in) / SPREAD if isinstance(fan_in, int) and fan_in else None
        self._store(f"{name}.int8", Tensor("int8", shape, constant=True))
        scale = self._store(f"{name}.int8.scale", Tensor("float32", each, constant=True, fill=step))
        zero = self._store(f"{name}.int8.zero_point", Tensor("int8", each, constant=True, fill=0))
        self.integers[name] = Integer(f"{name}.int8", scale, zero, Range(step), axis)

    def _quantize(self, name: str, real: str, found: Range) -> None:
        scale = self._store(f"{name}.int8.scale", Tensor("float32", (), constant=True, fill=found.step))
        zero = self._store(f"{name}.int8.zero_point", Tensor("int8", (), constant=True, fill=found.zero_point))
        self._add(QUANTIZE, name, f"{name}.int8", (real, scale, zero), None)
        self.integers[name] = Integer(f"{name}.int8", scale, zero, found)

    # -- small things ---------------------------------------------------------------------------------------------

    def _add(self, op: str, name: str, written: str, inputs: tuple[str, ...], axis: int | None) -> None:
        attributes = {} if axis is None else {"axis": axis}
        label = f"{name}.{op.removesuffix('Linear').lower()}"
        self.engine.add(Node(label, op, inputs, (written,), attributes))

    def _store(self, name: str, tensor: Tensor) -> str:
        self.engine.tensors[name] = tensor
        return name

    def _is_real(self, name: str) -> bool:
        return self.before.tensors[name].dtype == "float32"

    def _is_stored(self, name: str) -> bool:
        return self.before.tensors[name].constant and name not in self.before.producers

    def _is_int8(self, name: str) -> bool:
        """Whether a tensor is there in int8, or may as well be: what is stored, and what comes in."""
        return name in self.integers or name in self.before.inputs or self._is_stored(name)


def _channel_axis(layer: Layer, rank: int) -> int | None:
    """The axis of a weight along which the channels of the result lie. Groups of a ConvTranspose share theirs."""
    if layer.op == "Conv":
        return 0
    if layer.op == "Gemm":
        return 0 if layer.attributes.get("transB") else 1
    return 1 if layer.op == "MatMul" and rank == 2 else None
