"""Putting nodes into an order in which they can run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from costmodel.errors import MalformedModel
from costmodel.graph import Node, Subgraph


def in_running_order(nodes: Sequence[Node], given: Iterable[str]) -> Sequence[Node]:
    """The nodes such that each comes after what it reads; as they are where the file already does so.

    Names that no node writes are left to the engine, which knows the outer scope. Raises MalformedModel on a cycle.
    """
    available = set(given)
    written = {name for node in nodes for name in node.outputs if name}
    for node in nodes:
        for name in needed(node) if bodies(node) else node.inputs:
            if name not in available and name in written:
                return _sorted(nodes, written)
        available.update(node.outputs)
    return nodes


def needed(node: Node) -> set[str]:
    """What must exist before the node runs: its inputs, and what its bodies take from the outer scope."""
    names = {name for name in node.inputs if name}
    for body in bodies(node):
        names |= captured(body)
    return names


def bodies(node: Node) -> list[Subgraph]:
    return [attribute for attribute in node.attributes.values() if isinstance(attribute, Subgraph)]


def captured(body: Subgraph) -> set[str]:
    """Names that a body reads and does not define."""
    defined = {*body.inputs, *body.initializers, *(name for node in body.nodes for name in node.outputs)}
    read = {name for node in body.nodes for name in needed(node)} | set(body.outputs)
    return read - defined


def _sorted(nodes: Sequence[Node], written: set[str]) -> Sequence[Node]:
    waiting = [len(needed(node) & written) for node in nodes]
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in needed(node) & written:
            readers.setdefault(name, []).append(i)
    ready = [i for i, count in enumerate(waiting) if not count]
    order = []
    for i in ready:  # grows while it is read
        order.append(nodes[i])
        for name in nodes[i].outputs:
            for reader in readers.pop(name, ()):
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
    if len(order) < len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting, strict=True) if count)
        raise MalformedModel(f"{stuck.op} (node {stuck.name!r}): lies on a cycle; no node may depend on itself")
    return order
