"""The zoo: network specs, compiled to networks.

>>> zoo("mobilenet_v2", width=0.75).outputs
{'linear1': Tensor(dtype='float32', shape=(Dim('N'), 1000), value=None, constant=False)}

A spec is a TOML file with blocks, repeats, branches and conditions (docs/add-a-network); here it is laid out layer by
layer through the builder, with its parameters bound. A parameter may be left open: give it a Dim.
"""

from __future__ import annotations

import inspect
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from costmodel.build import Builder
from costmodel.dims import Dim
from costmodel.errors import CostModelError, InvalidSpec, UnknownNetwork, nearest
from costmodel.export import save_onnx as save_onnx
from costmodel.export import to_onnx as to_onnx
from costmodel.graph import Network
from costmodel.schema.arithmetic import evaluate
from costmodel.schema.data import data_folder
from costmodel.schema.spec import JOINS, Block, Branch, Family, NetworkSpec, Published, Step, read_family, read_table

KINDS = (
    "conv", "deconv", "linear", "bn", "layer_norm", "prelu", "add_weight", "mul_weight", "prepend_token", "attention",
    "relu", "relu6", "leaky_relu", "sigmoid", "hardsigmoid", "hardswish", "swish", "gelu", "softmax", "max_pool",
    "avg_pool", "global_average_pool", "lrn", "upsample", "flatten", "reshape", "transpose", "shuffle", "split", "slice",
    "pad",
)  # fmt: skip
FIXED_KINDS = (*KINDS, *JOINS, "layers", "op", "identity")
TEXT_OPTIONS = ("padding", "mode", "shape")
MAX_REPEAT = 1000
MAX_DEPTH = 50

_WORD = re.compile(r"[A-Za-z_]\w*")


# -- the zoo ----------------------------------------------------------------------------------------------------


def zoo(name: str, **parameters: Any) -> Network:
    """A network of the zoo, by name, with some of its parameters changed.

    >>> zoo("resnet50").defaults
    {'N': 1, 'H': 224, 'W': 224}

    Raises UnknownNetwork for a name that the zoo does not have and InvalidSpec for a parameter that the network does not
    have; both with the nearest names.
    """
    return compile_network(load_spec(_home(name)), name, **parameters)


def zoo_names() -> list[str]:
    """The names of all networks of the zoo, in alphabetical order."""
    return sorted(_index())


def published(name: str) -> tuple[Published, ...]:
    """What others published about a network of the zoo, each figure with its source.

    >>> [int(figure.params) for figure in published("resnet50") if figure.params][0]
    25557032
    """
    return load_spec(_home(name)).networks[name].published


def benchmark_names(runtime: str) -> list[str]:
    """The names under which a runtime's own benchmark runs networks of the zoo."""
    return sorted(_benchmarks(runtime))


def benchmark_network(runtime: str, name: str) -> Network:
    """The network that a runtime's own benchmark runs under a name, with its sizes there as defaults.

    >>> benchmark_network("ncnn", "squeezenet").defaults
    {'N': 1, 'H': 227, 'W': 227}
    """
    known = _benchmarks(runtime)
    if name not in known:
        raise UnknownNetwork(f"the benchmark of {runtime} runs no {name!r} that the zoo has; {nearest(name, known)}")
    zoo_name = known[name]
    benchmark = load_spec(_home(zoo_name)).networks[zoo_name].benchmarks[runtime]  # type: ignore[index]
    network = zoo(zoo_name, **benchmark.parameters)
    bound = network.bind({"N": 1, **benchmark.sizes}, complete=False)
    return replace(network, defaults=bound)


@lru_cache(maxsize=256)
def load_spec(path: str | Path) -> Family:
    """Read a spec file and check its frame. Raises InvalidSpec with the file, the place and the rule."""
    return read_family(Path(path))


def _home(name: str) -> Path:
    try:
        return _index()[name]
    except KeyError:
        raise UnknownNetwork(f"the zoo has no network {name!r}; {nearest(name, _index())}") from None


@lru_cache(maxsize=1)
def _index() -> Mapping[str, Path]:
    """The file of each network."""
    found: dict[str, Path] = {}
    for path in sorted(data_folder("zoo_specs").glob("*.toml")):
        for name in read_table(path).get("networks", {}):
            if name in found:
                raise InvalidSpec(f"{path}: network {name!r} is also in {found[name]}; a name stands for one network")
            found[name] = path
    return found


@lru_cache(maxsize=16)
def _benchmarks(runtime: str) -> Mapping[str, str]:
    """The zoo's name for each of a runtime's names."""
    found: dict[str, str] = {}
    for zoo_name, path in _index().items():
        benchmark = load_spec(path).networks[zoo_name].benchmarks.get(runtime)  # type: ignore[call-overload]
        for name in benchmark.names if benchmark else ():
            if name in found:
                raise InvalidSpec(f"{path}: {runtime} runs {name!r} as {found[name]!r} and as {zoo_name!r}; give it one")
            found[name] = zoo_name
    return found


# -- compiling --------------------------------------------------------------------------------------------------


def compile_network(family: Family, name: str, **parameters: Any) -> Network:
    """Lay out one network of a spec layer by layer, with some of its parameters changed.

    Raises InvalidSpec with the file, the network, the place of the layer and the rule that it breaks.
    """
    if name not in family.networks:
        raise UnknownNetwork(f"{family.path} has no network {name!r}; {nearest(name, family.networks)}")
    return _Compiler(family, name, family.networks[name], parameters).network()


@dataclass(slots=True)
class _Scope:
    """What a list of layers may refer to: values of parameters, and tensors that bear a name."""

    values: Mapping[str, Any]
    tensors: dict[str, str] = field(default_factory=dict)
    depth: int = 0


class _Compiler:
    """One network on its way from spec to layers."""

    def __init__(self, family: Family, name: str, spec: NetworkSpec, parameters: Mapping[str, Any]) -> None:
        self.where = f"{family.path}, network {name!r}"
        self.placed: InvalidSpec | None = None
        self.spec, self.family = spec, family
        self.blocks = _blocks(family)
        self.values = self._bound(parameters)
        self.builder = Builder(name)
        self.places: dict[str, str] = {}

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
                bound[name] = _given(given[name], resolved) if name in given else resolved
        return bound

    def network(self) -> Network:
        inputs, defaults = self.spec.inputs or self.family.inputs, self.spec.defaults or self.family.defaults
        scope = _Scope(self.values)
        for name, shape in inputs.items():
            with self._at(f"inputs.{name}"):
                scope.tensors[name] = self.builder.input(name, [_resolved(extent, self.values) for extent in shape])
        if not scope.tensors:
            raise InvalidSpec(f'{self.where}: has no inputs; state them, as in inputs = {{ image = ["N", 3, "H", "W"] }}')
        body = self.spec.body or self.family.body
        last = self._run(body.layers, next(iter(scope.tensors.values())), scope, "body")
        with self._at("outputs"):
            written = [self._tensor(output, scope) for output in body.outputs] or [last]
        self._check_ends(written)
        with self._at("defaults"):
            bound = {"N": 1, **{name: _resolved(size, self.values) for name, size in defaults.items()}}
        return self.builder.finish(*written, defaults=bound)

    def _check_ends(self, outputs: Sequence[str]) -> None:
        layers = self.builder.finish().layers
        read = {name for layer in layers for name in layer.inputs} | set(outputs)
        for layer in layers:
            for name in layer.outputs:
                if name not in read:
                    raise InvalidSpec(
                        f"{self.where}, {self.places.get(layer.name, layer.name)}: nothing reads the tensor {name!r}: the "
                        "branch never joins. Join it with add, mul or concat, read it with from, or list it in outputs"
                    )

    # -- lists of layers ------------------------------------------------------------------------------------------

    def _run(self, steps: Sequence[Step], x: str, scope: _Scope, place: str) -> str:
        for i, step in enumerate(steps, 1):
            here = f"{place}, layer {i}"
            with self._at(f"{here}, {step.text}"):
                x = self._step(step, x, scope, here)
        return x

    def _step(self, step: Step, x: str, scope: _Scope, place: str) -> str:
        read = self._sources(step, x, scope)
        if not self._holds(step.when, read[0], scope):
            return x
        times = _resolved(1 if step.repeat is None else step.repeat, self._names(read[0], scope))
        if not isinstance(times, int) or isinstance(times, bool) or not 0 <= times <= MAX_REPEAT:
            raise InvalidSpec(f"repeat must be a whole number from 0 to {MAX_REPEAT}, not {times!r}")
        for i in range(times):
            inner = _Scope(ChainMap({"i": i}, scope.values), scope.tensors, scope.depth)  # type: ignore[arg-type]
            name = step.name if step.repeat is None else f"{step.name or step.kind}.{i}"
            written = self._once(step, read, inner, name, {**step.options, **(step.first if i == 0 else {})}, place)
            self._note(written, place)
            read = (written[-1],)
            if step.names is not None and i == times - 1:
                self._bind(step.names, written, scope)
        return read[-1]

    def _sources(self, step: Step, x: str, scope: _Scope) -> tuple[str, ...]:
        if step.source is None:
            return (x,)
        names = (step.source,) if isinstance(step.source, str) else step.source
        return tuple(self._tensor(name, scope) for name in names)

    def _bind(self, names: str | tuple[str, ...], written: tuple[str, ...], scope: _Scope) -> None:
        wanted = (names,) if isinstance(names, str) else names
        if len(wanted) != len(written):
            raise InvalidSpec(f"as gives {len(wanted)} names ({', '.join(wanted)}), the layer writes {len(written)} tensors")
        for name, tensor in zip(wanted, written, strict=True):
            if name in scope.tensors:
                raise InvalidSpec(f"as: there is a tensor {name!r} already; each name stands for one tensor")
            scope.tensors[name] = tensor

    def _once(
        self, step: Step, read: tuple[str, ...], scope: _Scope, name: str | None, options: Mapping[str, Any], place: str
    ) -> tuple[str, ...]:
        kind = step.kind if step.kind in FIXED_KINDS or step.kind in self.blocks else scope.values.get(step.kind, step.kind)
        if not isinstance(kind, str):
            raise InvalidSpec(f"parameter {step.kind!r} stands for a kind of layer here, but is {kind!r}")
        if kind == "identity":
            return read
        if kind in JOINS:
            return (self._join(kind, step, read[0], scope, name, options, place),)
        if kind == "layers":
            inner = _Scope(scope.values, scope.tensors if step.repeat is None else dict(scope.tensors), scope.depth)
            with self._scoped(name):
                return (self._run(step.steps, read[0], inner, f"{place}, group"),)
        if kind in self.blocks:
            return (self._block(kind, self.blocks[kind], step, read, scope, name, options),)
        if kind == "op":
            return self._any_op(step, read, scope, name, options)
        return self._builder_layer(kind, step, read, scope, name, options)

    # -- kinds of layers ------------------------------------------------------------------------------------------

    def _join(
        self, kind: str, step: Step, x: str, scope: _Scope, name: str | None, options: Mapping[str, Any], place: str
    ) -> str:
        kept = [branch for branch in step.branches if self._holds(branch.when, x, scope)]
        ends = [self._branch(branch, x, scope, f"{place}, branch {i}") for i, branch in enumerate(kept, 1)]
        if not ends:
            raise InvalidSpec(f"{kind} has no branch to join")
        if len(ends) == 1:
            return ends[0]
        method = getattr(self.builder, kind)
        return str(method(*ends, name=name, **self._options(kind, method, options, x, scope)))

    def _branch(self, branch: Branch, x: str, scope: _Scope, place: str) -> str:
        return self._tensor(branch.tensor, scope) if branch.tensor else self._run(branch.steps, x, scope, place)

    def _block(
        self,
        kind: str,
        block: Block,
        step: Step,
        read: tuple[str, ...],
        scope: _Scope,
        name: str | None,
        options: Mapping[str, Any],
    ) -> str:
        if scope.depth == MAX_DEPTH:
            raise InvalidSpec(f"blocks are nested deeper than {MAX_DEPTH}; does block {kind!r} use itself?")
        given = dict(options)
        if block.needs and step.value is not None:
            given = {block.needs[0]: step.value, **given}
        elif isinstance(step.value, Mapping):
            given = {**step.value, **given}
        known = (*block.needs, *block.options)
        for option in given:
            if option not in known:
                raise InvalidSpec(f"block {kind!r} has no parameter {option!r}; {nearest(option, known)}")
        missing = [need for need in block.needs if need not in given]
        if missing:
            raise InvalidSpec(f"block {kind!r} needs {missing[0]!r}; give it, as in {missing[0]} = 64")
        outside, values = self._names(read[0], scope), dict(self.values)
        values.update((option, _resolved(value, outside)) for option, value in given.items())
        inside = ChainMap(values, {"channels": self.builder.channels(read[0])})
        for option, value in {**block.options, **block.let}.items():
            if option not in given:
                values[option] = _resolved(value, inside)
        tensors = {"input": read[0], **{f"input{i}": tensor for i, tensor in enumerate(read, 1)}}
        with self._scoped(None if block.inline else name or self.builder.numbered(kind)):
            return self._run(block.layers, read[0], _Scope(values, tensors, scope.depth + 1), f"blocks.{kind}")

    def _any_op(
        self, step: Step, read: tuple[str, ...], scope: _Scope, name: str | None, options: Mapping[str, Any]
    ) -> tuple[str, ...]:
        names = self._names(read[0], scope)
        attributes = {option: _plain(_resolved(value, names)) for option, value in options.items()}
        outputs = 1 if step.names is None or isinstance(step.names, str) else len(step.names)
        if outputs == 1:
            return (self.builder.op(step.value, *read, name=name, **attributes),)
        return self.builder.op_with_outputs(step.value, *read, outputs=outputs, name=name, **attributes)

    def _builder_layer(
        self, kind: str, step: Step, read: tuple[str, ...], scope: _Scope, name: str | None, options: Mapping[str, Any]
    ) -> tuple[str, ...]:
        if kind not in KINDS:
            known = nearest(kind, [*FIXED_KINDS, *self.blocks])
            raise InvalidSpec(f"there is no kind of layer and no block {kind!r}; {known}")
        method = getattr(self.builder, kind)
        main = _main_parameter(method)
        given = dict(options)
        if main is not None and step.value is not None:
            given = {main: step.value, **given}
        elif isinstance(step.value, Mapping):
            given = {**step.value, **given}
        elif step.value not in (None, True):
            raise InvalidSpec(f"{kind} takes no main value; write '{kind}', or its options as a table")
        written = method(read[0], name=name, **self._options(kind, method, given, read[0], scope))
        return (written,) if isinstance(written, str) else tuple(written)

    def _options(
        self, kind: str, method: Callable[..., Any], given: Mapping[str, Any], x: str, scope: _Scope
    ) -> dict[str, Any]:
        known, required = _parameters(method)
        for option in given:
            if option not in known:
                raise InvalidSpec(f"{kind} has no option {option!r}; {nearest(option, known)}")
        missing = required - given.keys()
        if missing:
            raise InvalidSpec(f"{kind} needs {sorted(missing)[0]!r}")
        names = self._names(x, scope)
        return {option: _option(option, value, names) for option, value in given.items()}

    # -- names and places -----------------------------------------------------------------------------------------

    def _names(self, x: str, scope: _Scope) -> Mapping[str, Any]:
        """What expressions may use: the parameters in force, and the channels of the tensor that the layer reads."""
        return ChainMap({"channels": self.builder.channels(x)}, scope.values)  # type: ignore[arg-type]

    def _holds(self, condition: str | bool | None, x: str, scope: _Scope) -> bool:
        if condition is None or isinstance(condition, bool):
            return condition is not False
        value = evaluate(condition, self._names(x, scope))
        if not isinstance(value, bool):
            raise InvalidSpec(f"when = {condition!r} is {value!r}; it must be true or false")
        return value

    def _tensor(self, name: str, scope: _Scope) -> str:
        try:
            return scope.tensors[name]
        except KeyError:
            hint = nearest(name, scope.tensors)
            raise InvalidSpec(f"no tensor is named {name!r} here; name one with as, or {hint}") from None

    def _scoped(self, name: str | None) -> Any:
        return nullcontext() if name is None else self.builder.scope(name)

    def _note(self, written: Sequence[str], place: str) -> None:
        for tensor in written:
            self.places.setdefault(tensor, place)

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
        if path in above:
            raise InvalidSpec(f"{family.path}: use: {used!r} uses this file in turn; put what both need in a third")
        found.update(_blocks(load_spec(path), (*above, family.path)))
    clash = [name for name in family.blocks if name in FIXED_KINDS]
    if clash:
        raise InvalidSpec(f"{family.path}: blocks.{clash[0]}: a kind of layer has this name; give the block another")
    return {**found, **family.blocks}


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if name not in ("self", "x", "xs", "name")}


def _parameters(method: Any) -> tuple[tuple[str, ...], set[str]]:
    """The options of a builder's method, and those of them that have no default."""
    stated = _signature(method.__func__)
    return tuple(stated), {name for name, p in stated.items() if p.default is inspect.Parameter.empty}


def _main_parameter(method: Any) -> str | None:
    """What the value of a layer's kind stands for: the method's positional parameter after the tensor."""
    stated = _signature(method.__func__)
    return next((name for name, p in stated.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD), None)


def _resolved(value: Any, names: Mapping[str, Any]) -> Any:
    """A value of a spec: texts are expressions, but a single word that names no parameter stands for itself."""
    if isinstance(value, str):
        if _WORD.fullmatch(value):
            return names.get(value, value)
        return evaluate(value, names)
    if isinstance(value, (list, tuple)):
        return tuple(_resolved(element, names) for element in value)
    return value


def _option(option: str, value: Any, names: Mapping[str, Any]) -> Any:
    resolved = _resolved(value, names)
    if isinstance(resolved, str) and option not in TEXT_OPTIONS:
        raise InvalidSpec(f"{option} = {value!r}: there is no parameter {resolved!r}; {nearest(resolved, names)}")
    return _plain(resolved) if option in ("epsilon", "alpha", "beta", "scale") else resolved


def _plain(value: Any) -> Any:
    """Fractions as floats, for attributes of layers."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return float(value) if isinstance(value, Fraction) else value


def _given(value: Any, default: Any) -> Any:
    """A parameter's value as the caller gives it, checked against the kind of its default."""
    if isinstance(value, float):
        value = Fraction(repr(value))
    if isinstance(value, list):
        value = tuple(value)
    for kinds, meaning in _PARAMETER_KINDS:
        if isinstance(default, kinds):
            if isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool):
                return value
            raise InvalidSpec(f"must be {meaning}, as its default {default!r} is, not {value!r}")
    raise InvalidSpec(f"its default {default!r} is neither a number nor a text nor true or false nor a list")


_PARAMETER_KINDS: Sequence[tuple[tuple[type, ...], str]] = (
    ((bool,), "true or false"),
    ((int, Fraction, Dim), "a number"),
    ((list, tuple), "a list"),
    ((str,), "a text"),
)
