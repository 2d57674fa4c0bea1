"""Running the rules over the nodes of a graph, in order.

The engine unpacks a node, checks its arity, picks the rule of its opset version, and puts the node's name on any
error. A rule runs once per distinct layer: networks repeat nearly all of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from costmodel.dims import Dim, Extent
from costmodel.errors import CostModelError, MalformedModel, ShapeMismatch, UnsupportedOp
from costmodel.graph import Body, Container, Cost, Layer, Node, Subgraph, Tensor
from costmodel.ops import registry
from costmodel.ops.assumptions import Assumptions

DEFAULT_OPSET = 1
FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
RANDOM_OPS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
MEMO_LIMIT = 50_000  # distinct layers, of some kilobytes each

# facts that make a rule's answer that of one node
OF_THE_NODE = frozenset({"input_names", "run_body", "layers_between", "assume"})

Derived = tuple[Cost, tuple[Tensor, ...]]  # what a layer costs and what it gives, marked as constant where it is

_MEMO: dict[Any, Derived] = {}


class Engine:
    """Derives tensors and costs node by node. ``tensors`` maps a name to what is known of it.

    ``declared`` holds shapes that the file states; they stand in only for what no rule, or no rule here, can tell.
    ``agreements`` replaces sizes that turned out not to be free. ``known`` holds costs by layer and is added to; where none
    is given, the engines of a process share one. ``assumptions`` says which way to go between branches, and notes it. The
    engine of a subgraph sees the names of the one around it, ``outer``, and lists those that it took in ``captures``.
    """

    def __init__(
        self,
        opsets: Mapping[str, int],
        declared: Mapping[str, Tensor] | None = None,
        agreements: Mapping[str, Extent] | None = None,
        known: dict[Any, Derived] | None = None,
        outer: Engine | None = None,
        assumptions: Assumptions | None = None,
    ) -> None:
        self.opsets = opsets
        self.declared = declared or {}
        self.agreements = agreements or {}
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self._seen: dict[tuple[Any, ...], Derived] = {}
        self._known: dict[Any, Derived] = _MEMO if known is None else known
        self.outer = outer
        self.captures: dict[str, Tensor] = {}
        self.captured_as: Mapping[Extent, Extent] = {}
        self.assumptions = Assumptions() if assumptions is None else assumptions

    def add(self, node: Node) -> Layer:
        """Derive one node's outputs. Raises MalformedModel where the node breaks the specification."""
        find = self.tensors.get
        inputs = tuple([find(name) or self._input(node, name) for name in node.inputs])
        # the same op on the very same tensors: most layers of a deep network, told without comparing any value
        seen = (node.op, node.domain, node.opset, id(node.attributes), len(node.outputs), *map(id, inputs))
        found = self._seen.get(seen)
        cost, outputs, problem = (*found, None) if found else self._derived(node, inputs, seen)
        for name, tensor in zip(node.outputs, outputs, strict=False):
            if name in self.tensors:
                raise MalformedModel(f"{_label(node)}: tensor {name!r} is written twice; each name stands for one tensor")
            if name:
                self.tensors[name] = tensor
        layer = Layer(
            node.name, node.op, node.inputs, node.outputs, node.attributes, node.domain, cost, problem, node.place
        )
        self.layers.append(layer)
        return layer

    def _derived(
        self, node: Node, inputs: tuple[Tensor | None, ...], seen: tuple[Any, ...]
    ) -> tuple[Cost | None, tuple[Tensor, ...], str | None]:
        """The cost and the outputs by the rule, or why there are none; noted where the next such node may share them."""
        try:
            (cost, outputs), is_shared = self._cost(node, inputs)
        except UnsupportedOp as missing:
            unknown = Tensor("float32", None)
            return None, tuple(self.agreed(self.declared.get(name, unknown)) for name in node.outputs), str(missing)
        if len(outputs) < len(node.outputs):
            raise MalformedModel(f"{_label(node)}: has {len(node.outputs)} outputs, the op gives {len(outputs)}")
        if not all(tensor.is_known for tensor in outputs):
            is_shared = False
            found = zip(node.outputs, outputs, strict=False)
            outputs = tuple(tensor if tensor.is_known else self.declared.get(name, tensor) for name, tensor in found)
        if self.agreements:
            outputs = tuple(map(self.agreed, outputs))
        if is_shared:
            self._seen[seen] = cost, outputs
        return cost, outputs, next((problem for body in cost.bodies for problem in body.problems), None)

    def agreed(self, tensor: Tensor) -> Tensor:
        """The tensor with the sizes replaced that had to agree with something else."""
        if not self.agreements:
            return tensor

        def settled(extent: Extent) -> Extent:
            while isinstance(extent, Dim) and not extent.names.isdisjoint(self.agreements):
                extent = extent.subs(self.agreements)
            return extent

        return tensor.mapped(settled)

    def run_body(
        self,
        node: Node,
        graph: Subgraph,
        inputs: Sequence[Tensor],
        *,
        called: str,
        knowing: Mapping[Extent, Extent] | None = None,
    ) -> Body:
        """One run of a node's subgraph on these inputs, inside this graph. Its layers are named after the node.

        ``knowing`` tells extents that are another inside than around, because a branch is only taken where they are.
        """
        if len(inputs) != len(graph.inputs):
            raise MalformedModel(f"{called} takes {len(graph.inputs)} inputs; {len(inputs)} are there for it")
        inner = Engine(self.opsets, self.declared, self.agreements, self._known, self, self.assumptions)
        inner.captured_as = knowing or {}
        inner.tensors.update(graph.initializers)
        inner.tensors.update(zip(graph.inputs, map(self.agreed, inputs), strict=True))
        for part in graph.nodes:
            name = f"{node.name}/{called}/{part.name}"
            inner.add(part._replace(name=name, place=part.place.within(node.place)))
        results = tuple(inner.find(name) for name in graph.outputs)
        missing = [name for name, tensor in zip(graph.outputs, results, strict=True) if tensor is None]
        if missing:
            raise MalformedModel(f"{called}: nothing produces its output {missing[0]!r}")
        found = tuple(tensor for tensor in results if tensor is not None)
        return Body(
            name=called,
            layers=tuple(inner.layers),
            tensors={**inner.captures, **inner.tensors},
            outputs=graph.outputs,
            results=found,
            captures=tuple(inner.captures),
        )

    def layers_between(self, sources: Sequence[str], target: str) -> tuple[Layer, ...]:
        """The layers so far on any way from these tensors to that one."""
        reached = set(sources)
        forwards = []
        for layer in self.layers:
            if not reached.isdisjoint(layer.inputs):
                reached.update(layer.outputs)
                forwards.append(layer)
        needed, found = {target}, []
        for layer in reversed(forwards):
            if not needed.isdisjoint(layer.outputs):
                needed.update(layer.inputs)
                found.append(layer)
        return tuple(reversed(found))

    def find(self, name: str) -> Tensor | None:
        """The tensor of this name, here or in the graph around; None if there is none."""
        if name in self.tensors or self.outer is None:
            return self.tensors.get(name)
        found = self.outer.find(name)
        if found is None:
            return None
        if self.captured_as:
            found = found.mapped(lambda extent: self.captured_as.get(extent, extent))
        self.captures[name] = found
        return found

    def _input(self, node: Node, name: str) -> Tensor | None:
        found = self.find(name) if name else None
        if name and found is None:
            raise MalformedModel(f"{_label(node)}: nothing produces its input {name!r}; the graph is incomplete")
        return found

    def _cost(self, node: Node, inputs: tuple[Tensor | None, ...]) -> tuple[Derived, bool]:
        """What the rule says, and whether it holds for every node with this op, these attributes and these inputs."""
        opset = node.opset or self.opsets.get(node.domain, DEFAULT_OPSET)
        known = registry.find(node.op, node.domain, opset)
        if known is None:
            where = f" in domain {node.domain!r}" if node.domain else ""
            raise UnsupportedOp(f"{_label(node)}: no cost rule{where} at opset {opset}. Add one, see docs/add-an-op")
        for name, tensor in zip(node.inputs, inputs, strict=True):
            if tensor is not None and not tensor.is_known:
                raise UnsupportedOp(f"{_label(node)}: the shape of its input {name!r} is unknown")
        if not known.facts.isdisjoint(OF_THE_NODE):
            return self._run(node, known, inputs, opset), False
        key = _key(node, known, inputs)
        try:
            derived = self._known.get(key)
        except TypeError:  # an attribute that cannot be compared
            return self._run(node, known, inputs, opset), False
        if derived is None:
            derived = self._run(node, known, inputs, opset)
            if "name" in known.facts and _bears_name(derived[0], node.name):
                return derived, False
            if len(self._known) >= MEMO_LIMIT:
                self._known.clear()
            self._known[key] = derived
        return derived, True

    def _run(self, node: Node, known: registry.Rule, inputs: tuple[Tensor | None, ...], opset: int) -> Derived:
        cost = self._called(node, known, inputs, opset)
        return cost, _constants(cost.outputs) if _is_constant(node, inputs, cost) else cost.outputs

    def _called(self, node: Node, known: registry.Rule, inputs: tuple[Tensor | None, ...], opset: int) -> Cost:
        given = _trimmed(inputs)
        _check_arity(node, known, given)
        attributes = dict(node.attributes)
        facts = {"op": node.op, "opset": opset, "n_outputs": len(node.outputs), "name": node.name} if known.facts else {}
        if not known.facts.isdisjoint(OF_THE_NODE):
            facts |= {
                "input_names": node.inputs,
                "run_body": partial(self.run_body, node),
                "layers_between": self.layers_between,
                "assume": partial(self.assumptions.take, node.name),
            }
        try:
            return registry.call(known, given, attributes, facts)
        except ShapeMismatch as error:
            raise ShapeMismatch(f"{_label(node)}: {error}", error.left, error.right) from error
        except CostModelError as error:
            raise type(error)(f"{_label(node)}: {error}") from error
        except FAULTS as error:
            shapes = ", ".join("none" if tensor is None else f"{tensor.dtype}{_shape_text(tensor)}" for tensor in given)
            raise MalformedModel(f"{_label(node)}: its inputs ({shapes}) do not fit the op: {error}") from error


def forget() -> None:
    """Empty the memo that the engines of this process share, as a measurement from cold needs."""
    _MEMO.clear()


def _label(node: Node) -> str:
    return f"{node.op} (node {node.name!r})"


def _shape_text(tensor: Tensor) -> str:
    if isinstance(tensor, Container):
        return f" {tensor.kind}"
    return "[?]" if tensor.shape is None else "[" + ", ".join(str(extent) for extent in tensor.shape) + "]"


def _is_constant(node: Node, inputs: tuple[Tensor | None, ...], cost: Cost) -> bool:
    for tensor in inputs:
        if tensor is not None and not tensor.constant:
            return False
    return node.op not in RANDOM_OPS and all(tensor.constant for body in cost.bodies for tensor in body.results)


def _constants(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(replace(tensor, constant=True) for tensor in outputs)


def _trimmed(inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Without the omitted optional inputs at the end."""
    count = len(inputs)
    while count and inputs[count - 1] is None:
        count -= 1
    return inputs[:count]


def _check_arity(node: Node, known: registry.Rule, given: tuple[Tensor | None, ...]) -> None:
    if len(given) < known.required or any(tensor is None for tensor in given[: known.required]):
        needed = ", ".join(known.inputs[: known.required])
        raise MalformedModel(f"{_label(node)}: needs the inputs {needed}, has {len(given)}")
    if len(given) > len(known.inputs) and not known.variadic:
        raise MalformedModel(f"{_label(node)}: takes at most {len(known.inputs)} inputs, has {len(given)}")
    unknown = node.attributes.keys() - known.attributes - known.facts
    if unknown:
        raise MalformedModel(f"{_label(node)}: {known.op} (opset {known.since}) has no attribute {sorted(unknown)[0]!r}")
    missing = known.required_attributes - node.attributes.keys()
    if missing:
        raise MalformedModel(f"{_label(node)}: the attribute {sorted(missing)[0]!r} is required")


def _key(node: Node, known: registry.Rule, inputs: tuple[Tensor | None, ...]) -> tuple[Any, ...]:
    """What a rule's answer depends on."""
    attributes = tuple(sorted(node.attributes.items())) if node.attributes else ()
    return node.op, known.function, inputs, attributes, len(node.outputs)


def _bears_name(cost: Cost, name: str) -> bool:
    """Whether a rule made new sizes, which bear the node's name, so that no other node may share the answer."""
    if cost.bounds:
        return True
    for tensor in cost.outputs:
        for extent in (*(tensor.shape or ()), *(tensor.value or ())):
            if isinstance(extent, Dim):
                if any(size.startswith(f"{name}.") for size in extent.names):
                    return True
            elif not isinstance(extent, (int, float, str, type(None))):
                return True
    return False


def fresh(name: str, what: str) -> Extent:
    """A new size for an extent that depends on data: the node's name and what is counted.

    >>> fresh("nms_3", "selected")
    Dim("'nms_3.selected'")
    """
    return Dim.size(f"{name}.{what}")
