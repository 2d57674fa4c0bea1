"""The arguments and options that verbs share, and what they mean: a network, a point, an output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from costmodel.graph import Network
    from costmodel.report.output import Report

Words = Optional[list[str]]


class By(str, Enum):
    """What a table of parts lists."""

    op = "op"
    layer = "layer"


MODEL = (
    "An ONNX file, a network of the zoo, as in resnet50 or mobilenet_v2:width=0.75, "
    "or one of a spec file, as in net.toml:name."
)
Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)]
Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help=MODEL)]
At = Annotated[Words, typer.Option("--at", metavar="N=1,H=224", help="Numbers for open sizes, by name. Repeatable.")]
Sizes = Annotated[
    Words,
    typer.Option(
        "--sizes",
        metavar="INPUT=N,3,H,W",
        help="Free or fix the dimensions of a file's input: names are open, numbers fixed, _ as in the file. Repeatable.",
    ),
]
Parameters = Annotated[
    Words,
    typer.Option("--param", metavar="NAME=VALUE", help="A parameter of a network of the zoo. Repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]

_NEXT_PAIR = re.compile(r",(?=[^,=]+=)")
_SPEC = re.compile(r"\.toml(:|$)")
_OUTSIDE_BRACKETS = re.compile(r",(?![^(]*\))")


# -- words to values --------------------------------------------------------------------------------------------


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """What options of the form ``NAME=TEXT,NAME=TEXT`` say, in order.

    >>> pairs(["N=1,H=224", "W=224"], "--at")
    {'N': '1', 'H': '224', 'W': '224'}
    >>> pairs(["depths=[3,4],width=0.5"], "--param")
    {'depths': '[3,4]', 'width': '0.5'}
    """
    found: dict[str, str] = {}
    for part in (part for text in texts or () for part in _NEXT_PAIR.split(text)):
        name, equals, value = part.partition("=")
        if not (equals and name.strip() and value.strip()):
            raise typer.BadParameter(f"{part!r} is not NAME=VALUE", param_hint=option)
        if name.strip() in found:
            raise typer.BadParameter(f"{name.strip()!r} is given twice; give each once", param_hint=option)
        found[name.strip()] = value.strip()
    return found


def point(texts: Sequence[str] | None) -> dict[str, int]:
    """The numbers of ``--at``.

    >>> point(["N=1,H=224"])
    {'N': 1, 'H': 224}
    """
    return {name: _whole_number(name, value) for name, value in pairs(texts, "--at").items()}


def _whole_number(name: str, text: str, option: str = "--at") -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise typer.BadParameter(f"{name}={text}: a size is a whole number, as in N=1,H=224", param_hint=option)
    return int(text)


def varied(texts: Sequence[str] | None) -> tuple[dict[str, list[int]], list[str]]:
    """The sizes of ``--vary`` with their values, and which size follows which.

    >>> varied(["N=1:4", "H,W=128:256:64", "S=1;8"])
    ({'N': [1, 2, 3, 4], 'H': [128, 192, 256], 'S': [1, 8]}, ['W=H'])
    """
    found: dict[str, list[int]] = {}
    ties: list[str] = []
    for text in texts or ():
        names, equals, values = text.partition("=")
        leader, *followers = (name.strip() for name in names.split(","))
        if not (equals and leader and values.strip() and all(followers)):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUES, as in N=1:64 or H,W=128:512:32", param_hint="--vary")
        if leader in found:
            raise typer.BadParameter(f"{leader!r} is given twice; give each once", param_hint="--vary")
        found[leader] = [value for part in values.split(";") for value in _span(leader, part.strip())]
        ties += [f"{follower}={leader}" for follower in followers]
    return found, ties


def _span(name: str, text: str) -> Iterable[int]:
    """A number, or all from a first to a last one, which is in it, by a step.

    >>> list(_span("H", "128:512:128"))
    [128, 256, 384, 512]
    """
    first, *rest = (_whole_number(name, part.strip(), "--vary") for part in text.split(":"))
    if not rest:
        return [first]
    last, step, *more = (*rest, 1) if len(rest) == 1 else rest
    if more or step < 1 or last < first:
        raise typer.BadParameter(f"{name}={text}: a range is FIRST:LAST or FIRST:LAST:STEP, rising", param_hint="--vary")
    return range(first, last + 1, step)


def freed(texts: Sequence[str] | None) -> dict[str, tuple[int | str | None, ...]]:
    """The dimensions of ``--sizes``: names, numbers, or None for what the file says.

    >>> freed(["input=N,3,max(H, 32),_"])
    {'input': ('N', 3, 'max(H, 32)', None)}
    """
    found: dict[str, tuple[int | str | None, ...]] = {}
    for text in texts or ():
        name, equals, shape = text.partition("=")
        if not (equals and name.strip() and shape.strip()):
            raise typer.BadParameter(f"{text!r} is not INPUT=N,3,H,W", param_hint="--sizes")
        found[name.strip()] = tuple(_extent(part.strip()) for part in _OUTSIDE_BRACKETS.split(shape))
    return found


def _extent(text: str) -> int | str | None:
    if text == "_":
        return None
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else text


def values(texts: Sequence[str] | None) -> dict[str, Any]:
    """The values of ``--param``: numbers, true and false, lists; anything else is a text.

    >>> values(["width=0.75,depths=[3,4],block=basic"])
    {'width': 0.75, 'depths': [3, 4], 'block': 'basic'}
    """
    return {name: _value(text) for name, text in pairs(texts, "--param").items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def listed(texts: Sequence[str] | None) -> Iterator[str]:
    """The parts of repeatable options with commas."""
    return (part.strip() for text in texts or () for part in text.split(",") if part.strip())


# -- models -----------------------------------------------------------------------------------------------------


def network_of(model: str, parameters: Sequence[str] | None = None, sizes: Sequence[str] | None = None) -> Network:
    """The network that MODEL stands for: a file where there is one, or what looks like one; else a name of the zoo."""
    if is_path(model):
        if parameters:
            raise typer.BadParameter(f"{model} is a file; only networks of the zoo have parameters", param_hint="--param")
        from costmodel.read.onnx import load

        return load(model, sizes=freed(sizes))
    if sizes:
        raise typer.BadParameter(f"{model} is no ONNX file; the zoo leaves sizes open, use --at", param_hint="--sizes")
    from costmodel.specs import described, zoo

    name, given = named(model, parameters)
    network = zoo(name, **given)
    _, _, said = described(name)
    return network.with_name(shown_name(network.name, {**said, **given}))


def is_path(model: str) -> bool:
    """Whether MODEL is the path of an ONNX file. Names of networks may have a slash too (ViT-B/16)."""
    name, _ = named(model)
    if _SPEC.search(name):
        return False
    if model.endswith(".onnx") or Path(model).is_file():
        return True
    return ("/" in name or "\\" in name) and not _is_known(name)


def _is_known(name: str) -> bool:
    from costmodel.catalogue import find
    from costmodel.errors import UnknownNetwork

    try:
        find(name)
    except UnknownNetwork:
        return False
    return True


def named(model: str, parameters: Sequence[str] | None = None) -> tuple[str, dict[str, Any]]:
    """The name and the parameters of a network of the zoo, or of one of a spec file.

    >>> named("mobilenet_v2:width=0.75", ["classes=10"])
    ('mobilenet_v2', {'width': 0.75, 'classes': 10})
    >>> named("folder/net.toml:mine:width=2")
    ('folder/net.toml:mine', {'width': 2})
    """
    before, _, _ = model.partition("=")
    name, colon, _ = before.rpartition(":")
    if before == model or not colon:
        name = model
    inline = model[len(name) + 1 :]
    return name, values([*([inline] if inline else []), *(parameters or ())])


def shown_name(name: str, parameters: Mapping[str, Any]) -> str:
    """A name that says how the network differs from the one of the zoo."""
    shown = (f"{key}={json.dumps(value, default=float)}" for key, value in parameters.items())
    return f"{name}:{','.join(shown)}" if parameters else name


# -- output -----------------------------------------------------------------------------------------------------


def show(report: Report, *, as_json: bool, as_csv: bool) -> None:
    """Print a report in the form that was asked for."""
    from costmodel.report import output

    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv", param_hint="--csv")
    output.show(report, as_json=as_json, as_csv=as_csv)


def tell(network: Network) -> None:
    """Say on stderr what the reader of the file had to assume."""
    from costmodel.report.output import note

    for warning in network.warnings:
        note(f"{network.name}: {warning}")
