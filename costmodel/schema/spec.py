"""The format of network specs: one TOML file for a family of networks, written by hand (docs/add-a-network).

The records here check the frame: keys, types, that each layer states its kind first. What a layer's options mean is
checked where the spec is compiled, against the builder's methods and the blocks of the file.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from costmodel.errors import InvalidSpec, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

JOINS = ("add", "mul", "concat")
COMMON_KEYS = ("when", "repeat", "first", "from", "as", "name")
PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MAX_BYTES = 1_000_000

_FIGURE = re.compile(r"(\d+(?:\.(\d+))?)(?: ± (\d+(?:\.\d+)?))? ?([kMGT]?)")


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Figure(Record):
    """A published count with the rounding that it was printed with, or the error that it was read off a chart with.

    >>> Figure.read("4.089 G").agrees(4_089_184_256), Figure.read(25_557_032).agrees(25_557_033)
    (True, False)
    >>> Figure.read("1.25 ± 0.03 G").agrees(1_279_000_000)
    True
    """

    value: Fraction
    half_unit: Fraction

    @classmethod
    def read(cls, given: Any) -> Figure:
        if isinstance(given, Figure):
            return given
        if isinstance(given, int) and not isinstance(given, bool):
            return cls(value=Fraction(given), half_unit=Fraction(0))
        match = _FIGURE.fullmatch(given) if isinstance(given, str) else None
        if match is None:
            raise ValueError(f"must be a whole number, or a text such as '4.089 G' for a rounded one, not {given!r}")
        number, decimals, error, prefix = match.groups()
        unit = PREFIXES[prefix]
        rounding = Fraction(1, 2 * 10 ** len(decimals or ""))
        return cls(value=Fraction(number) * unit, half_unit=Fraction(error or rounding) * unit)

    def agrees(self, count: int) -> bool:
        """Whether the count, rounded as the figure was, is the figure."""
        return abs(count - self.value) <= self.half_unit

    def __int__(self) -> int:
        return int(self.value)


PublishedFigure = Annotated[Figure, BeforeValidator(Figure.read)]


class Published(Record):
    """Figures that somebody else published for a network, and where they stand.

    ``params`` are what training learns, ``weights`` all that is stored, the statistics of batch norms among them.
    ``macs`` holds at the network's default sizes, or at ``sizes``; all of them for the default parameters, or for
    ``parameters``. ``note`` tells the convention where that is not plain.
    """

    source: str
    params: PublishedFigure | None = None
    weights: PublishedFigure | None = None
    macs: PublishedFigure | None = None
    top1: float | Fraction | None = None
    top5: float | Fraction | None = None
    parameters: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    note: str = ""


class Benchmark(Record):
    """Under which names a runtime's benchmark runs this network, at which sizes and with which parameters.

    ``grid`` lists values of parameters. Every combination of them is run, under names in which ``{parameter}`` stands for
    its value.

    >>> wide = Benchmark(names=("net_{width}_{resolution}",), grid={"width": (0.5, 1.0), "resolution": (96, 128)})
    >>> [run.names for run in wide.runs()]
    [('net_0.5_96',), ('net_0.5_128',), ('net_1.0_96',), ('net_1.0_128',)]
    """

    names: tuple[str, ...] = Field(min_length=1)
    sizes: dict[str, int] = {}
    parameters: dict[str, Any] = {}
    grid: dict[str, tuple[Any, ...]] = {}
    note: str = ""

    def runs(self) -> Iterator[Benchmark]:
        """One benchmark for each combination of the grid."""
        for values in itertools.product(*self.grid.values()):
            chosen = dict(zip(self.grid, values, strict=True))
            names = tuple(_filled_in(name, chosen) for name in self.names)
            parameters = {**self.parameters, **chosen}
            yield self.model_copy(update={"names": names, "parameters": parameters, "grid": {}})


def _filled_in(name: str, values: Mapping[str, Any]) -> str:
    for parameter, value in values.items():
        name = name.replace(f"{{{parameter}}}", str(float(value) if isinstance(value, Fraction) else value))
    return name


def _listed_alone(given: Any) -> Any:
    return (given,) if isinstance(given, Mapping) else given


def _spread(benchmarks: tuple[Benchmark, ...]) -> tuple[Benchmark, ...]:
    return tuple(run for benchmark in benchmarks for run in benchmark.runs())


# One table, or a list of tables where a runtime runs a network in several ways.
Benchmarks = Annotated[tuple[Benchmark, ...], BeforeValidator(_listed_alone), AfterValidator(_spread)]


class Input(Record):
    """An input of a network: its extents alone, or with the type of its elements and the condition on which it is there."""

    shape: tuple[int | str, ...]
    dtype: Literal["float32", "float16", "int64", "int32", "bool"] = "float32"
    when: str | bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _unfolded(cls, given: Any) -> Any:
        return {"shape": given} if isinstance(given, (list, tuple)) else given


class Step(Record):
    """One entry of a list of layers: its kind, its main value, its options, and what every kind understands.

    ``branches`` holds what a join joins, ``steps`` what a group groups.
    """

    kind: str
    value: Any = None
    options: dict[str, Any] = {}
    branches: tuple[Branch, ...] = ()
    steps: tuple[Step, ...] = ()
    when: str | bool | None = None
    repeat: str | int | None = None
    first: dict[str, Any] = {}
    source: str | tuple[str, ...] | None = None
    names: str | tuple[str, ...] | None = None
    name: str | None = None
    text: str = ""

    @model_validator(mode="before")
    @classmethod
    def _unfolded(cls, given: Any) -> Any:
        """From what a person writes: a kind alone as a text, or a table whose first key is the kind."""
        if isinstance(given, str):
            return {"kind": given, "text": repr(given)}
        if not isinstance(given, Mapping) or not given:
            raise ValueError(f"a layer is a text or a table whose first key is its kind, not {_shown(given)}")
        (kind, value), *rest = given.items()
        if kind in COMMON_KEYS:
            raise ValueError(f"the first key of a layer is its kind, and {kind!r} is none: {_shown(given)}")
        options = dict(rest)
        common = {_FIELDS.get(key, key): options.pop(key) for key in COMMON_KEYS if key in options}
        step = {"kind": kind, "options": options, "text": _shown(given), **common}
        if kind in JOINS:
            return {**step, "branches": _listed(kind, value)}
        if kind == "layers":
            return {**step, "steps": _listed(kind, value)}
        return {**step, "value": value}


class Branch(Record):
    """One side of a join: a named tensor, or layers that start where the join stands; left out where ``when`` fails."""

    tensor: str | None = None
    steps: tuple[Step, ...] = ()
    when: str | bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _unfolded(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"tensor": given}
        if isinstance(given, (list, tuple)):
            return {"steps": given}
        if isinstance(given, Mapping) and given.keys() <= {"layers", "when"}:
            return {"steps": given.get("layers", []), "when": given.get("when")}
        raise ValueError(
            f"a branch is a list of layers, the name of a tensor, or a table of layers and when, not {_shown(given)}"
        )


class Block(Record):
    """Layers with parameters, to be used as a kind of layer of its own.

    ``needs`` must be given, the first of them as the main value; ``options`` may be. ``let`` computes more from these.
    ``inline`` blocks put no name before those of their layers.
    """

    needs: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    let: dict[str, Any] = {}
    layers: tuple[Step, ...] = Field(min_length=1)
    inline: bool = False
    note: str = ""


class Body(Record):
    """The layers from the first input on, and the named tensors that are the outputs (else the last one is)."""

    layers: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ()


class NetworkSpec(Record):
    """One network of a family: what differs from the family, and what is known about it."""

    note: str = ""
    parameters: dict[str, Any] = {}
    inputs: dict[str, Input] | None = None
    defaults: dict[str, int | str] | None = None
    body: Body | None = None
    published: tuple[Published, ...] = ()
    benchmarks: dict[Literal["ncnn", "tflite", "onnxruntime", "torch", "tensorrt", "mlperf"], Benchmarks] = {}


class Family(Record):
    """All networks of one file, with the blocks, parameters and layers that they share.

    ``choices`` lists the values that a parameter of few may have.
    """

    path: Path
    note: str = ""
    use: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    choices: dict[str, tuple[str, ...]] = {}
    inputs: dict[str, Input] = {}
    defaults: dict[str, int | str] = {}
    blocks: dict[str, Block] = {}
    body: Body = Body()
    networks: dict[str, NetworkSpec] = Field(default={})

    @model_validator(mode="after")
    def _choices_are_of_parameters(self) -> Family:
        for name in self.choices.keys() - self.parameters.keys():
            raise ValueError(f"choices.{name}: there is no parameter {name!r}; {nearest(name, self.parameters)}")
        return self


_FIELDS = {"from": "source", "as": "names"}


def read_table(path: Path) -> dict[str, Any]:
    """The file as TOML has it; fractions stay exact. Raises InvalidSpec with the line of a fault."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidSpec(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise InvalidSpec(f"{path}: {len(raw)} bytes are more than the {MAX_BYTES} that a spec may have")
    try:
        return tomllib.loads(raw.decode("utf-8"), parse_float=Fraction)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidSpec(f"{path}: is no TOML: {error}") from None


def read_family(path: Path) -> Family:
    """One spec file, its frame checked. Raises InvalidSpec with the file, the place and the rule."""
    table = read_table(path)
    if "path" in table:
        raise InvalidSpec(f"{path}: unknown key 'path'; {nearest('path', _keys(Family))}")
    try:
        return Family.model_validate({**table, "path": path})
    except ValidationError as error:
        raise InvalidSpec(f"{path}: {_explained(error)}") from None
    except RecursionError:
        raise InvalidSpec(f"{path}: layers are nested too deep") from None


def _explained(error: ValidationError) -> str:
    """The first fault, with its place in the file."""
    fault = error.errors()[0]
    place = _place(fault["loc"])
    if fault["type"] == "extra_forbidden":
        wrong = str(fault["loc"][-1])
        return f"{place}: unknown key {wrong!r}; {nearest(wrong, _keys_at(fault['loc']))}"
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}"


def _keys(model: type[BaseModel]) -> list[str]:
    return [name for name in model.model_fields if name != "path"]


def _keys_at(where: Sequence[int | str]) -> list[str]:
    homes: dict[str, type[BaseModel]] = {
        "published": Published, "inputs": Input, "benchmarks": Benchmark, "body": Body, "blocks": Block,
        "networks": NetworkSpec,
    }  # fmt: skip
    for part, model in homes.items():
        if part in where[:-1]:
            return _keys(model)
    return _keys(Family)


def _place(where: Sequence[int | str]) -> str:
    """Where a fault is, as a person would point at it; layers are numbered from 1.

    >>> _place(("networks", "resnet18", "published", 0, "source"))
    'networks.resnet18.published, entry 1, source'
    """
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f", entry {part + 1}"
        else:
            text += (", " if text.rpartition(", ")[2].startswith("entry") else ".") * bool(text) + part
    return text


def _listed(kind: str, value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{kind!r} takes a list, not {_shown(value)}")
    return value


def _shown(value: Any, limit: int = 100) -> str:
    """A value of a spec much as it stands in the file."""
    text = _toml(value)
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Fraction):
        return repr(float(value))
    return f'"{value}"' if isinstance(value, str) else str(value)
