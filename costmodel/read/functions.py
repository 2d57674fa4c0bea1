"""Model-local functions (ONNX IR, "Functions"): each call is replaced by the nodes of the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from costmodel.errors import MalformedModel
from costmodel.graph import Attribute, Node, Subgraph

MAX_CALL_DEPTH = 64
MAX_NODES = 2_000_000


class Reference(str):
    """The name of an attribute of the call, in the place of a value inside a function's body."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the file states it; an attribute that is a Reference stands for an attribute of the call."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    defaults: Mapping[str, Attribute]
    nodes: tuple[Node, ...]
    opsets: Mapping[str, int]


Functions = Mapping[tuple[str, str, str], Function]


def inline(nodes: Sequence[Node], functions: Functions) -> tuple[Node, ...]:
    """The nodes with every call expanded, calls inside bodies too.

    Raises MalformedModel for functions that call themselves.
    """
    expanded: list[Node] = []
    _expand(nodes, functions, expanded, ())
    return tuple(expanded)


def _expand(nodes: Sequence[Node], functions: Functions, into: list[Node], calls: tuple[str, ...]) -> None:
    for node in nodes:
        function = functions.get((node.domain, node.op, ""))
        if function is None:
            into.append(_with_inlined_bodies(node, functions))
            continue
        if node.op in calls or len(calls) >= MAX_CALL_DEPTH:
            raise MalformedModel(f"function {node.op!r} (node {node.name!r}) calls itself; functions must not be recursive")
        if len(into) > MAX_NODES:
            raise MalformedModel(f"the functions expand to more than {MAX_NODES} nodes")
        _expand(_called(node, function), functions, into, (*calls, node.op))


def _called(call: Node, function: Function) -> Sequence[Node]:
    names = dict.fromkeys(function.inputs, "") | dict(zip(function.inputs, call.inputs, strict=False))
    names |= dict(zip(function.outputs, call.outputs, strict=False))
    attributes = {**function.defaults, **call.attributes}
    body = [_renamed(node, names, attributes, call.name) for node in function.nodes]
    return [
        node._replace(opset=function.opsets.get(node.domain, node.opset), place=node.place.within(call.place))
        for node in body
    ]


def _renamed(node: Node, names: Mapping[str, str], attributes: Mapping[str, Attribute], prefix: str) -> Node:
    def named(name: str) -> str:
        return names.get(name, f"{prefix}/{name}" if name else "")

    return node._replace(
        name=f"{prefix}/{node.name}",
        inputs=tuple(map(named, node.inputs)),
        outputs=tuple(map(named, node.outputs)),
        attributes=_bound(node.attributes, names, attributes, prefix),
    )


def _bound(
    own: Mapping[str, Attribute], names: Mapping[str, str], attributes: Mapping[str, Attribute], prefix: str
) -> dict[str, Attribute]:
    """Attributes with references resolved (left out where the call does not give them) and bodies renamed."""
    bound: dict[str, Attribute] = {}
    for key, value in own.items():
        if isinstance(value, Reference):
            if value in attributes:
                bound[key] = attributes[value]
        elif isinstance(value, Subgraph):
            bound[key] = _renamed_body(value, names, attributes, prefix)
        else:
            bound[key] = value
    return bound


def _renamed_body(body: Subgraph, names: Mapping[str, str], attributes: Mapping[str, Attribute], prefix: str) -> Subgraph:
    own = {*body.inputs, *body.initializers, *(name for node in body.nodes for name in node.outputs)}
    scope = {**names, **{name: name for name in own}}
    nodes = tuple(_renamed(node, scope, attributes, prefix)._replace(name=node.name) for node in body.nodes)
    return replace(body, nodes=nodes, outputs=tuple(scope.get(name, f"{prefix}/{name}") for name in body.outputs))


def _with_inlined_bodies(node: Node, functions: Functions) -> Node:
    bodies = {key: value for key, value in node.attributes.items() if isinstance(value, Subgraph)}
    if not bodies:
        return node
    inlined = {key: replace(body, nodes=inline(body.nodes, functions)) for key, body in bodies.items()}
    return node._replace(attributes={**node.attributes, **inlined})
