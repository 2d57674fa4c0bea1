"""What the five families share: their input, their layers, their end, their laws and the form of their configurations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from costmodel.build import Builder, block
from costmodel.errors import InvalidChoice, nearest
from costmodel.spaces.space import Text, frozen

CLASSES = 10
Law = TypeVar("Law")


def image(b: Builder) -> str:
    return b.input("x", ("N", 3, 32, 32))


def conv_bn(
    b: Builder, x: str, filters: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False
) -> str:
    return b.bn(b.conv(x, filters, kernel=kernel, stride=stride, padding="half", groups=groups, bias=bias))


@block
def conv_bn_relu(b: Builder, x: str, filters: int, *, kernel: int = 1, bias: bool = False) -> str:
    return b.relu(conv_bn(b, x, filters, kernel=kernel, bias=bias))


@block
def classify(b: Builder, x: str, pool: int, stride: int | None = None) -> str:
    """Mean over what is left of the image, then the classes."""
    return b.linear(b.flatten(b.avg_pool(x, pool, stride=stride)), CLASSES)


def law_named(laws: Mapping[str, Law], law: str, family: str) -> Law:
    if law not in laws:
        raise InvalidChoice(f"iotnets_{family}: there is no law {law!r}; {nearest(law, laws)}")
    return laws[law]


def config_text(read: Callable[[Any], Any], write: Callable[[Any], Any]) -> Text:
    """The form of the published configurations, ``{"args": ...}``, from and to which the functions translate."""

    def parsed(text: str) -> Any:
        return read(frozen_arguments(json.loads(text)["args"]))

    return Text('{"args": ...}', parsed, lambda candidate: json.dumps({"args": write(candidate)}))


def frozen_arguments(arguments: Any) -> Any:
    return {name: frozen(value) for name, value in arguments.items()} if isinstance(arguments, dict) else frozen(arguments)
