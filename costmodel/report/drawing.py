"""Networks as graphs to look at: Mermaid and DOT, with the scopes that layers stand in as nested boxes.

What lies deeper than asked is one node, so that a network of hundreds of layers stays readable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from costmodel.dims import value_at
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Layer, Network

DEPTH = 2
FORMS = ("mermaid", "dot")
MOST_OPS = 4  # of a node that stands for many layers


@dataclass(slots=True)
class Node:
    """A layer, an input or output, or all layers of a scope."""

    key: str
    lines: list[str]
    layers: list[Layer] = field(default_factory=list)


@dataclass(slots=True)
class Box:
    """A scope: its name, and what stands in it, in order of appearance."""

    name: str
    parts: dict[str, Node | Box] = field(default_factory=dict)


def draw(network: Network, form: str, *, depth: int = DEPTH) -> str:
    """The graph of a network as text for Mermaid or Graphviz. ``depth`` says how many scopes are opened: with 2,
    ``stage1.0.conv1`` is part of a node ``stage1.0`` in a box ``stage1``.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> print(draw(b.finish(b.relu(b.input("x", ("N", 8)))), "mermaid"))
    flowchart TD
      n0(["x<br/>N x 8"])
      n1["relu1<br/>Relu<br/>N x 8"]
      n2(["relu1<br/>N x 8"])
      n0 --> n1
      n1 --> n2
    <BLANKLINE>

    Raises InvalidChoice for another form.
    """
    if form not in FORMS:
        raise InvalidChoice(f"a graph is drawn as {' or '.join(FORMS)}, not as {form!r}; {nearest(form, FORMS)}")
    drawing = _Drawing(network, depth)
    return _mermaid(drawing) if form == "mermaid" else _dot(drawing)


class _Drawing:
    """Boxes with nodes, and the pairs of nodes between which tensors pass."""

    def __init__(self, network: Network, depth: int) -> None:
        self.network, self.depth = network, depth
        self.sizes = network.bind({}, complete=False)
        self.root = Box("")
        self.ends: set[str] = set()
        self.count = 0
        self.writers = {name: self._end(name) for name in network.inputs}
        owners = [(layer, self._owner(layer)) for layer in network.running_layers]
        for layer, node in owners:
            node.layers.append(layer)
            self.writers.update(dict.fromkeys(layer.outputs, node))
        self.edges = dict.fromkeys(self._edges(owners))
        for _, node in owners:
            node.lines = self._told(node)

    def _edges(self, owners: Sequence[tuple[Layer, Node]]) -> Iterator[tuple[str, str]]:
        for layer, node in owners:
            for name in layer.reads:
                writer = self.writers.get(name)
                if writer is not None and writer is not node:
                    yield writer.key, node.key
        for name in self.network.outputs:
            if name in self.writers:
                yield self.writers[name].key, self._end(name).key

    def _end(self, name: str) -> Node:
        """An input or an output."""
        node = self._node([name, self._shape(name)])
        self.ends.add(node.key)
        self.root.parts[f" {node.key}"] = node  # no scope begins with a blank
        return node

    def _owner(self, layer: Layer) -> Node:
        """The node that stands for a layer: of its own, or of the scope at which the drawing ends."""
        path = scope_of(layer)
        box = self.root
        for name in path[: self.depth - 1] if len(path) >= self.depth else path:
            found = box.parts.setdefault(f"{name}.", Box(name))
            assert isinstance(found, Box)
            box = found
        is_deeper = len(path) >= self.depth
        key = path[self.depth - 1] if is_deeper else f"{layer.name}\n"
        node = box.parts.get(key) or self._node([".".join(path[: self.depth])] if is_deeper else [layer.name])
        box.parts[key] = node
        assert isinstance(node, Node)
        return node

    def _node(self, lines: list[str]) -> Node:
        self.count += 1
        return Node(f"n{self.count - 1}", lines)

    def _told(self, node: Node) -> list[str]:
        name = node.lines[0]
        shape = self._shape(node.layers[-1].outputs[0])
        if len(node.layers) == 1:
            return [node.layers[0].name, node.layers[0].op, shape]
        ops = Counter(layer.op for layer in node.layers).most_common()
        shown = [f"{times} {op}" for op, times in ops[:MOST_OPS]] + ["..."] * (len(ops) > MOST_OPS)
        return [name, ", ".join(shown), shape]

    def _shape(self, name: str) -> str:
        """The extents of a tensor, as numbers where the defaults give them; the batch stays open."""
        dims = self.network.tensors[name].shape
        if dims is None:
            return "?"
        known = {size: number for size, number in self.sizes.items() if size != "N"}
        return " x ".join(
            str(value_at(extent, known)) if isinstance(extent, int) or extent.names <= known.keys() else str(extent)
            for extent in dims
        )


def scope_of(layer: Layer) -> tuple[str, ...]:
    """The scopes that a layer stands in, outermost first: its module where a file names one, else what its name says."""
    return tuple(layer.module.split(".")) if layer.module else tuple(layer.name.split(".")[:-1])


# -- forms ------------------------------------------------------------------------------------------------------


def _mermaid(drawing: _Drawing) -> str:
    def lines(box: Box, indent: str) -> Iterator[str]:
        for part in box.parts.values():
            if isinstance(part, Box):
                yield f'{indent}subgraph s{next(numbers)}["{_escaped(part.name, MERMAID)}"]'
                yield from lines(part, indent + "  ")
                yield f"{indent}end"
            else:
                label = "<br/>".join(_escaped(line, MERMAID) for line in part.lines)
                opening, closing = ('(["', '"])') if part.key in drawing.ends else ('["', '"]')
                yield f"{indent}{part.key}{opening}{label}{closing}"

    numbers = iter(range(len(drawing.network.layers) + 1))
    edges = [f"  {source} --> {target}" for source, target in drawing.edges]
    return "\n".join(["flowchart TD", *lines(drawing.root, "  "), *edges, ""])


def _dot(drawing: _Drawing) -> str:
    def lines(box: Box, indent: str) -> Iterator[str]:
        for part in box.parts.values():
            if isinstance(part, Box):
                yield f"{indent}subgraph cluster_{next(numbers)} {{"
                yield f'{indent}  label="{_escaped(part.name, DOT)}"'
                yield from lines(part, indent + "  ")
                yield f"{indent}}}"
            else:
                label = "\\n".join(_escaped(line, DOT) for line in part.lines)
                shape = ", style=rounded" if part.key in drawing.ends else ""
                yield f'{indent}{part.key} [label="{label}"{shape}]'

    numbers = iter(range(len(drawing.network.layers) + 1))
    edges = [f"  {source} -> {target}" for source, target in drawing.edges]
    opening = f'digraph "{_escaped(drawing.network.name, DOT)}" {{'
    return "\n".join([opening, "  node [shape=box]", *lines(drawing.root, "  "), *edges, "}", ""])


MERMAID: Mapping[str, str] = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;"}
DOT: Mapping[str, str] = {"\\": "\\\\", '"': '\\"'}


def _escaped(text: str, signs: Mapping[str, str]) -> str:
    return "".join(signs.get(sign, sign) for sign in text)
