"""The table of rules: one function per op holds its shape, its counts and its memory behaviour.

The function's signature is the specification. Positional parameters are the op's inputs under ONNX's names (without
a default: required; ``*xs``: any number), keyword-only parameters are its attributes with ONNX's defaults (without a
default: required). Some keyword names carry facts instead: ``op``, ``opset``, ``n_outputs``, ``name`` and ``input_names``
of the node; ``run_body(graph, inputs, called="then_branch") -> Body`` derives a subgraph, ``layers_between(xs, y)`` gives
the layers on the way from some tensors to another, ``assume(decisive, usual=False)`` settles what sizes leave open.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from costmodel.errors import CostModelError
from costmodel.graph import Cost

FACTS = frozenset({"op", "opset", "n_outputs", "name", "input_names", "run_body", "layers_between", "assume"})
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})

OWN = "costmodel.ops"
LATER = ("microsoft", "ml", "sequence", "signal", "text", "training")

RuleFunction = Callable[..., Cost]
F = TypeVar("F", bound=RuleFunction)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule function with what its signature says."""

    op: str
    domain: str
    since: int
    function: RuleFunction
    inputs: tuple[str, ...]
    required: int
    variadic: bool
    attributes: frozenset[str]
    required_attributes: frozenset[str]
    facts: frozenset[str]

    @property
    def convention(self) -> str:
        """What is counted, in one sentence."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")


_RULES: dict[tuple[str, str], list[Rule]] = {}


def rule(*ops: str, domain: str = "", since: int = 1) -> Callable[[F], F]:
    """Register a function as the cost rule of one or more ops, from an opset version on.

    >>> from costmodel.graph import Cost
    >>> @rule("Twice", domain="com.example")
    ... def twice(x):
    ...     '''One addition per element.'''
    ...     return Cost((x.to(x.shape),), other_flops=x.size)
    >>> find("Twice", "com.example", 1).convention
    'One addition per element.'
    """

    def register(function: F) -> F:
        if not function.__module__.startswith(OWN):
            load_all()  # so that the caller's rule comes last, and wins
        for op in ops:
            versions = _RULES.setdefault((_normal(domain), op), [])
            versions[:] = [known for known in versions if known.since != since]
            versions.append(_described(op, domain, since, function))
            versions.sort(key=lambda known: known.since, reverse=True)
        return function

    return register


def find(op: str, domain: str, opset: int) -> Rule | None:
    """The rule in force at an opset version; None if there is none."""
    key = (_normal(domain), op)
    return _newest(key, opset) or _newest_of_all(key, opset)


def _newest(key: tuple[str, str], opset: int) -> Rule | None:
    for known in _RULES.get(key, ()):
        if known.since <= opset:
            return known
    return None


def _newest_of_all(key: tuple[str, str], opset: int) -> Rule | None:
    load_all()
    return _newest(key, opset)


@lru_cache(maxsize=1)
def load_all() -> None:
    """Import the families that few networks use."""
    for family in LATER:
        importlib.import_module(f"{OWN}.{family}")


def rules() -> Iterator[Rule]:
    """Every rule, by domain and op, newest version first."""
    load_all()
    for key in sorted(_RULES):
        yield from _RULES[key]


def _normal(domain: str) -> str:
    return "" if domain in STANDARD_DOMAINS else domain


def _described(op: str, domain: str, since: int, function: RuleFunction) -> Rule:
    parameters = inspect.signature(function).parameters.values()
    kinds = inspect.Parameter
    inputs = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    keywords = [p for p in parameters if p.kind is kinds.KEYWORD_ONLY]
    if any(p.kind is kinds.VAR_KEYWORD for p in parameters):
        raise CostModelError(f"the rule of {op} takes **attributes; name each attribute with ONNX's default")

    def names(chosen: list[inspect.Parameter]) -> frozenset[str]:
        return frozenset(p.name for p in chosen)

    return Rule(
        op=op,
        domain=_normal(domain),
        since=since,
        function=function,
        inputs=tuple(p.name for p in inputs),
        required=sum(p.default is kinds.empty for p in inputs),
        variadic=any(p.kind is kinds.VAR_POSITIONAL for p in parameters),
        attributes=names([p for p in keywords if p.name not in FACTS]),
        required_attributes=names([p for p in keywords if p.default is kinds.empty and p.name not in FACTS]),
        facts=names([p for p in keywords if p.name in FACTS]),
    )


def call(known: Rule, inputs: tuple[Any, ...], attributes: dict[str, Any], facts: dict[str, Any]) -> Cost:
    """Run a rule on unpacked inputs and attributes; an attribute that bears the name of a fact takes its place."""
    wanted = {name: facts[name] for name in known.facts}
    return known.function(*inputs, **{**wanted, **attributes})
