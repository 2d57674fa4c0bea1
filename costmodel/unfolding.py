"""Spec -> network: repeats, branches, conditions and blocks unfolded, layer by layer, through the builder.

The kinds of layers are the builder's methods, their options the methods' parameters; blocks add to them.
"""

from __future__ import annotations

import inspect
import math
import numbers
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from costmodel.build import Builder
from costmodel.dims import Dim
from costmodel.errors import CostModelError, InvalidSpec, UnknownNetwork, nearest
from costmodel.graph import Network
from costmodel.schema.arithmetic import evaluate
from costmodel.schema.spec import COMMON_KEYS, JOINS, Block, Branch, Family, NetworkSpec, Step, read_family

KINDS = (
    "conv", "deconv", "linear", "bn", "layer_norm", "prelu", "add_weight", "mul_weight", "prepend_token", "attention",
    "embedding", "positions", "tied_linear", "rms_norm", "experts", "padding_mask", "scale_by_width",
    "relu", "relu6", "leaky_relu", "sigmoid", "hardsigmoid", "hardswish", "swish", "gelu", "softmax", "max_pool",
    "avg_pool", "global_average_pool", "lrn", "upsample", "flatten", "reshape", "transpose", "shuffle", "split", "slice",
    "pad", "window_attention",
)  # fmt: skip
FIXED_KINDS = (*KINDS, *JOINS, "layers", "op", "identity", "output")
TEXT_OPTIONS = ("padding", "mode", "shape", "shared", "table", "relative", "activation", "memory_length", "past")
TENSOR_OPTIONS = ("mask", "memory", "values")
FLOAT_OPTIONS = ("epsilon", "alpha", "beta", "scale", "rotary", "power")
MAX_REPEAT = 1000
MAX_DEPTH = 50

_WORD = re.compile(r"[A-Za-z_]\w*")


def compile_network(family: Family, name: str, **parameters: Any) -> Network:
    """Lay out one network of a spec layer by layer, with some of its parameters changed.

    Raises InvalidSpec with the file, the network, the place of the layer and the rule that it breaks.
    """
    if name not in family.networks:
        raise UnknownNetwork(f"{family.path} has no network {name!r}; {nearest(name, family.networks)}")
    return _Unfolding(family, name, family.networks[name], parameters).network()


@lru_cache(maxsize=256)
def load_spec(path: str | Path) -> Family:
    """Read a spec file and check its frame. Raises InvalidSpec with the file, the place and the rule."""
    return read_family(Path(path))


def options_of(kind: str) -> tuple[tuple[str, ...], set[str]]:
    """The options of a kind of layer, which are those of the builder's method, and which of them have no default.

    >>> options_of("max_pool")
    (('kernel', 'stride', 'padding', 'ceil'), {'kernel'})
    """
    stated = _signature(kind)
    return tuple(stated), {name for name, p in stated.items() if p.default is inspect.Parameter.empty}


@dataclass(slots=True)
class _Scope:
    """What a list of layers may refer to: values of parameters, and tensors that bear a name."""

    values: Mapping[str, Any]
    tensors: dict[str, str] = field(default_factory=dict)
    depth: int = 0

    def repetition(self, i: int) -> _Scope:
        return _Scope(ChainMap({"i": i}, self.values), self.tensors, self.depth)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Use:
    """One use of a kind of layer: what it reads, what it may refer to, how it is called, and where it stands."""

    kind: str
    step: Step
    read: tuple[str, ...]
    scope: _Scope
    name: str | None
    options: Mapping[str, Any]
    place: str

    def given(self, main: str | None) -> dict[str, Any]:
        """The options together with the main value, which stands for one of them, or is a table of them."""
        value = self.step.value
        if main is not None and value is not None:
            return {main: value, **self.options}
        if value is None or value is True or isinstance(value, Mapping):
            return {**(value if isinstance(value, Mapping) else {}), **self.options}
        raise InvalidSpec(f"{self.kind} takes no main value; write {self.kind!r} alone, or its options as a table")


class _Unfolding:
    """One network on its way from spec to layers."""

    def __init__(self, family: Family, name: str, spec: NetworkSpec, parameters: Mapping[str, Any]) -> None:
        self.where = f"{family.path}, network {name!r}"
        self.placed: InvalidSpec | None = None
        self.spec, self.family = spec, family
        self.blocks = _blocks(family)
        self.values = self._bound(parameters)
        self.builder = Builder(name)
        self.places: dict[str, str] = {}
        self.unfold: Mapping[str, Callable[[_Use], tuple[str, ...]]] = {
            "identity": self._identity, "layers": self._group, "op": self._any_op, "output": self._output,
        }  # fmt: skip

    def _bound(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters: the family's, over them the network's, over them the caller's."""
        stated = {**self.family.parameters, **self.spec.parameters}
        for name in given:
            if name not in stated:
                known = f"its parameters are {', '.join(stated)}" if stated else "it has none"
                raise InvalidSpec(f"{self.where}: there is no parameter {name!r}; {known}; {nearest(name, stated)}")
        bound: dict[str, Any] = {}
        for name, default in stated.items():
            with self._at(f"parameters.{name}"):
                resolved = _resolved(default, bound)
                bound[name] = _parameter(given[name], resolved) if name in given else resolved
                self._check_choice(name, bound[name])
        return bound

    def _check_choice(self, name: str, value: Any) -> None:
        known = self.family.choices.get(name)
        if known is not None and value not in known:
            raise InvalidSpec(f"must be one of {', '.join(known)}, not {value!r}; {nearest(str(value), known)}")

    def network(self) -> Network:
        inputs = self.family.inputs if self.spec.inputs is None else self.spec.inputs
        defaults = self.family.defaults if self.spec.defaults is None else self.spec.defaults
        body = self.family.body if self.spec.body is None else self.spec.body
        scope = _Scope(self.values)
        for name, stated in inputs.items():
            with self._at(f"inputs.{name}"):
                if self._true(stated.when, self.values):
                    shape = [_resolved(extent, self.values) for extent in stated.shape]
                    scope.tensors[name] = self.builder.input(name, shape, dtype=stated.dtype)
        if not scope.tensors:
            raise InvalidSpec(f'{self.where}: has no inputs; state them, as in inputs = {{ image = ["N", 3, "H", "W"] }}')
        last = self._run(body.layers, next(iter(scope.tensors.values())), scope, "body")
        with self._at("outputs"):
            written = [self._tensor(output, scope) for output in body.outputs] or [last]
        self._check_ends(written)
        with self._at("defaults"):
            bound = {"N": 1, **{name: _resolved(size, self.values) for name, size in defaults.items()}}
        return self.builder.finish(*written, defaults=bound)

    def _check_ends(self, outputs: Sequence[str]) -> None:
        """Everything that the spec's own layers write is read; what a kind of layer does inside is its own business."""
        network = self.builder.finish()
        read = {name for layer in network.layers for name in layer.inputs} | {*network.inputs, *network.outputs, *outputs}
        for name in (name for name in self.places if name not in read):
            raise InvalidSpec(
                f"{self.where}, {self.places[name]}: nothing reads the tensor {name!r}: the branch never joins. "
                "Join it with add, mul or concat, read it with from, or list it in outputs"
            )

    # -- lists of layers ------------------------------------------------------------------------------------------

    def _run(self, steps: Sequence[Step], x: str, scope: _Scope, place: str) -> str:
        for i, step in enumerate(steps, 1):
            here = f"{place}, layer {i}"
            with self._at(f"{here}, {step.text}"):
                x = self._step(step, x, scope, here)
        return x

    def _step(self, step: Step, x: str, scope: _Scope, place: str) -> str:
        """A layer as often as it is wanted, each reading the one before; ``as`` names what the last one writes."""
        written = read = self._sources(step, x, scope)
        times = self._times(step, read[0], scope)
        for i in range(times):
            inner = scope if step.repeat is None else scope.repetition(i)
            name = step.name if step.repeat is None else f"{step.name or step.kind}.{i}"
            options = {**step.options, **(step.first if i == 0 else {})}
            written = self._once(_Use(self._kind(step, scope), step, read, inner, name, options, place))
            read = (written[-1],)
            for tensor in written:
                self.places.setdefault(tensor, place)
        if step.names is not None:
            self._bind(step.names, written, scope)
        return written[-1] if times else x

    def _times(self, step: Step, x: str, scope: _Scope) -> int:
        if not self._holds(step.when, x, scope):
            return 0
        times = _resolved(1 if step.repeat is None else step.repeat, self._names(x, scope))
        if not isinstance(times, int) or isinstance(times, bool) or not 0 <= times <= MAX_REPEAT:
            raise InvalidSpec(f"repeat must be a whole number from 0 to {MAX_REPEAT}, not {times!r}")
        return times

    def _kind(self, step: Step, scope: _Scope) -> str:
        """The kind that a layer states, or that the parameter holds which it names."""
        if step.kind in FIXED_KINDS or step.kind in self.blocks:
            return step.kind
        kind = scope.values.get(step.kind, step.kind)
        if not isinstance(kind, str):
            raise InvalidSpec(f"parameter {step.kind!r} stands for a kind of layer here, but is {kind!r}")
        return kind

    def _once(self, use: _Use) -> tuple[str, ...]:
        if use.kind in JOINS:
            return self._join(use)
        if use.kind in self.blocks:
            return self._block(use, self.blocks[use.kind])
        return self.unfold.get(use.kind, self._builder_layer)(use)

    # -- kinds of layers ------------------------------------------------------------------------------------------

    def _identity(self, use: _Use) -> tuple[str, ...]:
        return use.read

    def _output(self, use: _Use) -> tuple[str, ...]:
        return (self.builder.output(use.read[0]),)

    def _group(self, use: _Use) -> tuple[str, ...]:
        """Layers in a row; names given inside a repeated group stay inside, and repetitions may share their weights."""
        for option in use.options.keys() - {"shared"}:
            raise InvalidSpec(f"layers has no option {option!r}; {nearest(option, ['shared', *COMMON_KEYS])}")
        scope, step = use.scope, use.step
        inner = _Scope(scope.values, scope.tensors if step.repeat is None else dict(scope.tensors), scope.depth)
        shared = self._holds(use.options.get("shared", False), use.read[0], scope)
        with self._scoped(use.name, weights=(step.name or step.kind) if shared and step.repeat is not None else None):
            return (self._run(step.steps, use.read[0], inner, f"{use.place}, group"),)

    def _join(self, use: _Use) -> tuple[str, ...]:
        kept = [branch for branch in use.step.branches if self._holds(branch.when, use.read[0], use.scope)]
        ends = [self._branch(branch, use, f"{use.place}, branch {i}") for i, branch in enumerate(kept, 1)]
        if not ends:
            raise InvalidSpec(f"{use.kind} has no branch to join")
        if len(ends) == 1:
            return (ends[0],)
        options = self._options(use, use.options)
        return (getattr(self.builder, use.kind)(*ends, name=use.name, **options),)

    def _branch(self, branch: Branch, use: _Use, place: str) -> str:
        if branch.tensor is not None:
            return self._tensor(branch.tensor, use.scope)
        return self._run(branch.steps, use.read[0], use.scope, place)

    def _block(self, use: _Use, block: Block) -> tuple[str, ...]:
        if use.scope.depth == MAX_DEPTH:
            raise InvalidSpec(f"blocks are nested deeper than {MAX_DEPTH}; does block {use.kind!r} use itself?")
        x = use.read[0]
        tensors = {"input": x, **{f"input{i}": tensor for i, tensor in enumerate(use.read, 1)}}
        inner = _Scope(self._block_values(use, block), tensors, use.scope.depth + 1)
        with self._scoped(None if block.inline else use.name or self.builder.numbered(use.kind)):
            return (self._run(block.layers, x, inner, f"blocks.{use.kind}"),)

    def _block_values(self, use: _Use, block: Block) -> dict[str, Any]:
        """What the layers of a block may refer to: the network's parameters, over them what the use gives, and defaults."""
        given = use.given(block.needs[0] if block.needs else None)
        known = (*block.needs, *block.options)
        for option in given:
            if option not in known:
                raise InvalidSpec(f"block {use.kind!r} has no parameter {option!r}; {nearest(option, known)}")
        for need in block.needs:
            if need not in given:
                raise InvalidSpec(f"block {use.kind!r} needs {need!r}; give it, as in {need} = 64")
        outside = self._names(use.read[0], use.scope)
        values = {**self.values, **{option: _resolved(value, outside) for option, value in given.items()}}
        inside = ChainMap(values, {"channels": self.builder.channels(use.read[0])})
        for option, value in {**block.options, **block.let}.items():
            if option not in given:
                values[option] = _resolved(value, inside)
        return values

    def _any_op(self, use: _Use) -> tuple[str, ...]:
        names = self._names(use.read[0], use.scope)
        attributes = {option: _plain(_resolved(value, names)) for option, value in use.options.items()}
        if isinstance(use.step.names, tuple) and len(use.step.names) > 1:
            outputs = len(use.step.names)
            return self.builder.op_with_outputs(use.step.value, *use.read, outputs=outputs, name=use.name, **attributes)
        return (self.builder.op(use.step.value, *use.read, name=use.name, **attributes),)

    def _builder_layer(self, use: _Use) -> tuple[str, ...]:
        if use.kind not in KINDS:
            known = nearest(use.kind, [*FIXED_KINDS, *self.blocks])
            raise InvalidSpec(f"there is no kind of layer and no block {use.kind!r}; {known}")
        options = self._options(use, use.given(_main_option(use.kind)))
        written = getattr(self.builder, use.kind)(use.read[0], name=use.name, **options)
        return (written,) if isinstance(written, str) else tuple(written)

    def _options(self, use: _Use, given: Mapping[str, Any]) -> dict[str, Any]:
        known, required = options_of(use.kind)
        for option in given:
            if option not in known:
                raise InvalidSpec(f"{use.kind} has no option {option!r}; {nearest(option, known)}")
        missing = required - given.keys()
        if missing:
            raise InvalidSpec(f"{use.kind} needs {min(missing)!r}")
        names = self._names(use.read[0], use.scope)
        return {
            option: self._tensor(value, use.scope) if option in TENSOR_OPTIONS else _option(option, value, names)
            for option, value in given.items()
        }

    # -- names and places -----------------------------------------------------------------------------------------

    def _names(self, x: str, scope: _Scope) -> Mapping[str, Any]:
        """What expressions may use: the parameters in force, and the channels of the tensor that the layer reads."""
        return ChainMap({"channels": self.builder.channels(x)}, scope.values)  # type: ignore[arg-type]

    def _holds(self, condition: str | bool | None, x: str, scope: _Scope) -> bool:
        return self._true(condition, self._names(x, scope))

    def _true(self, condition: str | bool | None, names: Mapping[str, Any]) -> bool:
        if condition is None or isinstance(condition, bool):
            return condition is not False
        value = evaluate(condition, names)
        if not isinstance(value, bool):
            raise InvalidSpec(f"when = {condition!r} is {value!r}; it must be true or false")
        return value

    def _sources(self, step: Step, x: str, scope: _Scope) -> tuple[str, ...]:
        if step.source is None:
            return (x,)
        names = (step.source,) if isinstance(step.source, str) else step.source
        return tuple(self._tensor(name, scope) for name in names)

    def _tensor(self, name: str, scope: _Scope) -> str:
        try:
            return scope.tensors[name]
        except KeyError:
            hint = nearest(name, scope.tensors)
            raise InvalidSpec(f"no tensor is named {name!r} here; name one with as, or {hint}") from None

    def _bind(self, names: str | tuple[str, ...], written: tuple[str, ...], scope: _Scope) -> None:
        wanted = (names,) if isinstance(names, str) else names
        if len(wanted) != len(written):
            raise InvalidSpec(f"as gives {len(wanted)} names ({', '.join(wanted)}), the layer writes {len(written)} tensors")
        for name, tensor in zip(wanted, written, strict=True):
            if name in scope.tensors:
                raise InvalidSpec(f"as: there is a tensor {name!r} already; each name stands for one tensor")
            scope.tensors[name] = tensor

    def _scoped(self, name: str | None, *, weights: str | None = None) -> AbstractContextManager[None]:
        return nullcontext() if name is None else self.builder.scope(name, weights=weights)

    @contextmanager
    def _at(self, place: str) -> Iterator[None]:
        """Put the file, the network and the place before the message of whatever goes wrong inside; the innermost only."""
        try:
            yield
        except (CostModelError, TypeError) as error:
            if error is self.placed:
                raise
            self.placed = InvalidSpec(f"{self.where}, {place}: {error}")
            raise self.placed from error


def _blocks(family: Family, above: tuple[Path, ...] = ()) -> dict[str, Block]:
    """The blocks of a file and of the files that it uses; its own come first."""
    found: dict[str, Block] = {}
    for used in family.use:
        path = family.path.with_name(f"{used}.toml")
        if not path.is_file():
            others = [other.stem for other in family.path.parent.glob("*.toml")]
            raise InvalidSpec(f"{family.path}: use: there is no spec {used!r} beside it; {nearest(used, others)}")
        if path in (*above, family.path):
            raise InvalidSpec(f"{family.path}: use: {used!r} uses this file in turn; put what both need in a third")
        found.update(_blocks(load_spec(path), (*above, family.path)))
    clash = [name for name in family.blocks if name in FIXED_KINDS]
    if clash:
        raise InvalidSpec(f"{family.path}: blocks.{clash[0]}: a kind of layer has this name; give the block another")
    return {**found, **family.blocks}


@lru_cache(maxsize=64)
def _signature(kind: str) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(getattr(Builder, kind)).parameters
    return {name: p for name, p in parameters.items() if name not in ("self", "x", "xs", "name")}


def _main_option(kind: str) -> str | None:
    """What the value of a layer's kind stands for: the method's positional parameter after the tensor."""
    stated = _signature(kind)
    return next((name for name, p in stated.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD), None)


# -- values -----------------------------------------------------------------------------------------------------


def _resolved(value: Any, names: Mapping[str, Any]) -> Any:
    """A value of a spec: texts are expressions, but a single word that names no parameter stands for itself."""
    if isinstance(value, str):
        return names.get(value, value) if _WORD.fullmatch(value) else evaluate(value, names)
    if isinstance(value, (list, tuple)):
        return tuple(_resolved(element, names) for element in value)
    return value


def _option(option: str, value: Any, names: Mapping[str, Any]) -> Any:
    resolved = _resolved(value, names)
    if isinstance(resolved, str) and option not in TEXT_OPTIONS:
        raise InvalidSpec(f"{option} = {value!r}: there is no parameter {resolved!r}; {nearest(resolved, names)}")
    return _plain(resolved) if option in FLOAT_OPTIONS else resolved


def _plain(value: Any) -> Any:
    """Fractions as floats, for attributes of layers."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return float(value) if isinstance(value, Fraction) else value


def _parameter(value: Any, default: Any) -> Any:
    """A parameter's value as the caller gives it, checked against the kind of its default."""
    given = _exact(value)
    for kinds, meaning in _PARAMETER_KINDS:
        if isinstance(default, kinds):
            if isinstance(given, kinds) and isinstance(given, bool) == isinstance(default, bool):
                return given
            raise InvalidSpec(f"must be {meaning}, as its default {default!r} is, not {value!r}")
    raise InvalidSpec(f"its default {default!r} is neither a number nor a text nor true or false nor a list")


def _exact(value: Any) -> Any:
    """Numbers of any library as int or Fraction, lists as tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_exact, value))
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational) and math.isfinite(value):
        return Fraction(repr(float(value)))
    return value


_PARAMETER_KINDS: Sequence[tuple[tuple[type, ...], str]] = (
    ((bool,), "true or false"),
    ((int, Fraction, Dim), "a number"),
    ((tuple,), "a list"),
    ((str,), "a text"),
)
