"""Network -> kernels as PyTorch launches them: eager, and compiled by inductor.

Eager PyTorch runs a kernel for each of its own operations, of which an exported file tells the names (a graph's LayerNorm,
GELU or attention may be many nodes); where it tells none, patterns do. Slices and most transposes are views with strides.
Inductor launches convolutions and products as they are and generates one kernel for whatever elementwise operations,
reductions and copies are connected between them.

An exporter that optimises folds batch norms into convolutions. PyTorch runs them, so they are put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from costmodel.dims import Extent
from costmodel.graph import Layer, Network
from costmodel.kernels import Kernel, is_launched, kernel_of

PRODUCTS = frozenset({"MatMul", "Gemm"})
STRIDED = frozenset({"Slice", "Split", "Expand"})  # views of other strides
SCALES = frozenset({"Mul", "Div", "Add"})  # what may stand between scores and their softmax
REDUCTIONS = frozenset(
    {
        "LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization", "Softmax", "LogSoftmax",
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "GlobalAveragePool", "GlobalMaxPool", "LpNormalization",
    }
)  # fmt: skip
# PyTorch reduces a whole map as it reduces any axes
MEANS = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}
# operations that read rows one after the other: before them a transposed tensor is copied
IN_ORDER = frozenset(
    {
        "Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "LayerNormalization", "InstanceNormalization",
        "GroupNormalization", "Reshape", "Flatten",
    }
)  # fmt: skip
ARITHMETIC = frozenset({"add", "sub", "mul", "div"})  # one kernel for each, also where a module has several in a row


def eager_kernels(network: Network) -> tuple[Kernel, ...]:
    """The kernels of PyTorch as it runs a module.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> x = b.relu(b.bn(b.conv(b.input("x", (1, 3, 8, 8)), 8, kernel=3, padding=1)))
    >>> [kernel.op for kernel in eager_kernels(b.finish(b.mul(x, b.sigmoid(x))))]
    ['Conv', 'BatchNormalization', 'Relu', 'Sigmoid']
    """
    program = _Program(network)
    kernels = []
    for members in program.operations():
        run = [i for i in members if program.is_run(i)]
        if run:
            kernels.append(program.kernel(members, run))
            kernels += program.unfolded(run)
    return tuple(kernels)


def compiled_kernels(network: Network) -> tuple[Kernel, ...]:
    """The kernels of torch.compile: products as they are, and what is connected between them as one.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> x = b.relu(b.bn(b.conv(b.input("x", (1, 3, 8, 8)), 8, kernel=3, padding=1)))
    >>> [kernel.op for kernel in compiled_kernels(b.finish(b.mul(x, b.sigmoid(x))))]
    ['Conv', 'Relu']
    """
    program = _Program(network)
    kernels = []
    products = [members for members in program.operations() if any(program.macs(i) != 0 for i in members)]
    for members in products:
        run = [i for i in members if program.is_run(i)]
        kernels.append(program.kernel(members, run))
    outside = {i for members in products for i in members}
    for members in _between(program, outside):
        run = [i for i in members if program.is_run(i)]
        if run:
            kernels.append(program.kernel(members, run))
    for members in products:
        kernels += program.unfolded([i for i in members if program.readers(i) & outside])
    return tuple(kernels)


def torch_operations(network: Network, *, fused_attention: bool = True) -> tuple[tuple[Layer, ...], ...]:
    """The layers by the operation of PyTorch that they are of, views among them, in the order in which they end.

    ``fused_attention``: whether attention that a graph writes out is one operation, as scaled_dot_product_attention is.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> x = b.linear(b.input("x", (1, 8)), 8)
    >>> [[layer.op for layer in layers] for layers in torch_operations(b.finish(b.mul(x, b.sigmoid(x))))]
    [['Gemm'], ['Sigmoid', 'Mul']]
    """
    program = _Program(network)
    members = sorted(program.operations(fused_attention=fused_attention), key=max)
    return tuple(tuple(map(program.layer, positions)) for positions in members)


def is_norm_folded(layer: Layer) -> bool:
    """Whether an exporter folded a batch norm into a convolution, which PyTorch runs all the same."""
    return layer.op in ("Conv", "ConvTranspose") and bool(layer.origin) and "batch_norm" in layer.origin[-1]


def _between(program: _Program, products: set[int]) -> list[list[int]]:
    """Layers without products, in parts: connected, and with equally many products before them.

    Else a part could wait for a product that waits for the part.
    """
    depth: dict[int, int] = {}
    groups = _Groups()
    for i in program.alive:
        before = program.writers(i)
        depth[i] = max((depth[j] + (j in products) for j in before), default=0)
        if i not in products:
            groups.join(i, (j for j in before if j not in products and depth[j] == depth[i]))
    return groups.found()


class _Groups:
    """Positions that belong together, found pair by pair."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def _root(self, i: int) -> int:
        self._parent.setdefault(i, i)
        while self._parent[i] != i:
            self._parent[i] = i = self._parent[self._parent[i]]
        return i

    def join(self, i: int, others: Iterable[int]) -> None:
        root = self._root(i)
        for other in others:
            self._parent[self._root(other)] = root

    def found(self) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for i in self._parent:
            groups.setdefault(self._root(i), []).append(i)
        return sorted((sorted(members) for members in groups.values()), key=lambda members: members[0])


class _Program:
    """A network with what PyTorch makes of its layers, by their positions."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.alive = [i for i, layer in enumerate(network.layers) if _does_something(network, layer)]
        self._alive = frozenset(self.alive)
        self._fused: frozenset[int] = frozenset()  # layers of attention

    def layer(self, i: int) -> Layer:
        return self.network.layers[i]

    def macs(self, i: int) -> Extent:
        cost = self.layer(i).cost
        return cost.macs if cost else 0

    def writers(self, i: int) -> set[int]:
        producers = self.network.producers
        return {producers[name] for name in self.layer(i).inputs if name in producers} & self._alive

    def readers(self, i: int) -> set[int]:
        return {j for name in self.layer(i).outputs for j in self.network.consumers.get(name, ())} & self._alive

    def is_run(self, i: int) -> bool:
        """Whether a kernel runs a layer: not where it is a view."""
        layer = self.layer(i)
        if not is_launched(self.network, layer) or layer.op in STRIDED:
            return False
        if layer.op == "Gather":
            index = self.network.tensors[layer.inputs[1]]
            return index.shape != () or not index.constant
        return layer.op != "Transpose" or i in self._fused or self._is_copied(i)

    def _is_copied(self, i: int) -> bool:
        """Whether what reads a transposed tensor takes it in order; attention reads and writes it as it lies."""
        if any(j in self._fused for j in self._through_views(i, self.writers)):
            return False
        swaps_last = _swaps_last_two(self.layer(i))
        return any(
            self.layer(j).op in IN_ORDER and not (swaps_last and self.layer(j).op == "MatMul")
            for j in self._through_views(i, self.readers)
            if j not in self._fused
        )

    def _through_views(self, i: int, step: Callable[[int], set[int]]) -> Iterator[int]:
        """The next layers in a direction that are no views of strides; a reshape is one of them."""
        for j in step(i):
            cost = self.layer(j).cost
            is_view = self.layer(j).op in STRIDED or (cost is not None and cost.view_of is not None)
            if is_view and (self.layer(j).op != "Reshape" or step == self.writers):
                yield from self._through_views(j, step)
            else:
                yield j

    def operations(self, *, fused_attention: bool = True) -> list[list[int]]:
        """The layers by the operation of PyTorch that they are of."""
        groups, attention = _Groups(), set()
        for i in self.alive:
            told = _operation(self.layer(i))
            groups.join(i, [j for j in self.writers(i) if told and _operation(self.layer(j)) == told])
            if not told:
                groups.join(i, self._pattern(i))
            if fused_attention and (not told or "attention" in told[-1]):
                chain = self._attention(i)
                groups.join(i, chain)
                attention.update(chain)
        found = groups.found()
        self._fused = frozenset(i for members in found if not attention.isdisjoint(members) for i in members)
        return found

    def _attention(self, i: int) -> list[int]:
        """Scores, what scales and masks them, their softmax and the product with the values; empty if this is none."""
        chain = [i]
        if self.layer(i).op != "MatMul":
            return []
        while len(readers := self.readers(chain[-1])) == 1:
            (following,) = readers
            op = self.layer(following).op
            if op == "MatMul" and self.layer(chain[-1]).op == "Softmax":
                return [*chain, following]
            if op not in SCALES | {"Softmax"} or self.layer(chain[-1]).op == "Softmax":
                return []
            chain.append(following)
        return []

    def _pattern(self, i: int) -> list[int]:
        """A bias after a product, or the product of a SiLU after its sigmoid."""
        layer, readers = self.layer(i), self.readers(i)
        if len(readers) != 1 or layer.op not in PRODUCTS | {"Sigmoid"}:
            return []
        (following,) = readers
        after = self.layer(following)
        beside = {name for name in after.inputs if name} - set(layer.outputs)
        if layer.op == "Sigmoid":
            return [following] if after.op == "Mul" and beside == set(layer.inputs) else []
        is_bias = after.op == "Add" and all(self.network.tensors[name].constant for name in beside)
        return [following] if is_bias else []

    def kernel(self, members: Sequence[int], run: Sequence[int]) -> Kernel:
        """One kernel of these layers, views among them; what it is comes first."""
        first = min(run, key=self._rank)
        others = [self.layer(i) for i in run if i != first]
        views = [self.layer(i) for i in members if i not in run]
        kernel = kernel_of(self.network, [self.layer(first), *others], views)
        return replace(kernel, op=MEANS.get(kernel.op, kernel.op))

    def _rank(self, i: int) -> tuple[bool, bool, bool, int]:
        """What a kernel is called by: its product, else its reduction, else any but a batch norm, which may be folded."""
        op = self.layer(i).op
        return self.macs(i) == 0, op not in REDUCTIONS, op == "BatchNormalization", i

    def unfolded(self, positions: Iterable[int]) -> Iterator[Kernel]:
        """The kernels of batch norms that an exporter folded into these convolutions."""
        for i in positions:
            layer = self.layer(i)
            if is_norm_folded(layer):
                y = self.network.tensors[layer.outputs[0]]
                yield Kernel(layer.name, "BatchNormalization", (layer,), 0, y.size * 2, y.nbytes, y.nbytes, 0)


def _does_something(network: Network, layer: Layer) -> bool:
    is_known = all(network.tensors[name].value is not None for name in layer.outputs if name)
    return layer.cost is not None and not network.is_constant(layer) and not is_known


def _operation(layer: Layer) -> tuple[str, ...]:
    """The operation of PyTorch that a layer is of, by the modules around it; empty where the file does not say."""
    origin = layer.origin
    if not origin or not origin[-1].startswith("aten.") or origin[-1].split(".")[1] in ARITHMETIC:
        return ()
    return (layer.module, *origin)


def _swaps_last_two(layer: Layer) -> bool:
    perm = layer.attributes.get("perm")
    if not isinstance(perm, tuple):
        return False
    rank = len(perm)
    return perm == (*range(rank - 2), rank - 1, rank - 2)
