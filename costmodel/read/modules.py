"""Where a node stood in the program that was exported: the path of its module, as in ``layer1.0.conv1``; and what it was.

torch's exporters leave it in the file. The present one writes the modules around a node into the node's metadata, each by
its whole path, and the node itself last; the former one writes them into the node's name, each by the name that its parent
gives it. onnxscript's builder writes them into the metadata, relative to each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from costmodel.graph import Place
from costmodel.read.wire import encoded, varint

_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_CALL = re.compile(r"@\d+$")  # torch numbers the further calls of a module
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"  # what torch writes where it has lost the module


class Exported(Place):
    """The place of a node, from its name and the metadata that its message in the file ends with."""

    __slots__ = ("_metadata", "_name")

    def __init__(self, name: str, metadata: bytes) -> None:
        self._name, self._metadata = name, metadata

    @property
    def module(self) -> str:
        return module_of(self._name, self._properties)

    @property
    def origin(self) -> tuple[str, ...]:
        return origin_of(self._properties)

    @property
    def _properties(self) -> dict[str, str]:
        """What of the metadata tells the place; exporters leave kilobytes of other texts beside it.

        An entry is found by its key between the marks that protocol buffers put around it, not by reading all entries.
        """
        found = {}
        for key, mark in _MARKS.items():
            at = self._metadata.find(mark)
            if at >= 0:
                length, body = varint(self._metadata, at + len(mark), len(self._metadata))
                found[key] = self._metadata[body : body + length].decode("utf-8", "replace")
        return found


def module_of(name: str, properties: Mapping[str, str]) -> str:
    """The path of a node's module from its name and metadata; empty for the outermost, and where the file does not say.

    >>> module_of("node_relu", {"pkg.torch.onnx.name_scopes": "['', 'layer1', 'layer1.0', 'relu']"})
    'layer1.0'
    >>> module_of("/layer1/layer1.0/conv1/Conv", {})
    'layer1.0.conv1'
    """
    for key, path in _PATHS.items():
        if key in properties:
            return path(properties[key])
    return _joined(name.split("/")[1:-1]) if name.startswith("/") else ""


def origin_of(properties: Mapping[str, str]) -> tuple[str, ...]:
    """What a node was: the classes of the modules around it, from the outermost on, and the operation.

    >>> origin_of({"pkg.torch.onnx.class_hierarchy": "['Net', 'torch.nn.modules.linear.Linear', 'aten.linear.default']"})
    ('Net', 'torch.nn.modules.linear.Linear', 'aten.linear.default')
    """
    return _classes(properties.get(_CLASSES, ""))


@lru_cache(maxsize=4096)
def _classes(hierarchy: str) -> tuple[str, ...]:
    return tuple(_listed(hierarchy)) if hierarchy else ()


def _innermost(scopes: str) -> str:
    """Of a printed list, the last but one: the last is the node."""
    return _path(_listed(scopes))


def _innermost_of_namespace(namespace: str) -> str:
    """The same of ``path: class/path: class/node: target``."""
    return _path([part.partition(":")[0] for part in namespace.split("/")])


def _path(scopes: Sequence[str]) -> str:
    module = scopes[-2] if len(scopes) > 1 else ""
    if module == _NO_MODULE:
        return ""
    return _CALL.sub("", module) if "@" in module else module


def _listed(text: str) -> list[str]:
    """The texts of a list that Python printed; most hold no quotes, and are split four times as fast."""
    if '"' not in text and "\\" not in text:
        return text.strip("[]")[1:-1].split("', '")
    return [single or double for single, double in _QUOTED.findall(text)]


def _joined(names: Sequence[str]) -> str:
    """One path of the names from the outermost on; the child of a list or Sequential repeats its parent's name.

    >>> _joined(["features", "features.1", "conv", "conv.0", "conv.0.0"])
    'features.1.conv.0.0'
    """
    path: list[str] = []
    for name in filter(None, names):
        if path and name.startswith(f"{path[-1]}."):
            path.pop()
        path.append(name)
    return ".".join(path)


_PATHS: Mapping[str, Callable[[str], str]] = {
    "pkg.torch.onnx.name_scopes": _innermost,
    "pkg.onnxscript.name_scopes": lambda scopes: _joined(_listed(scopes)),
    "namespace": _innermost_of_namespace,
}
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_MARKS = {key: b"\n" + encoded(len(key)) + key.encode() + b"\x12" for key in (*_PATHS, _CLASSES)}
