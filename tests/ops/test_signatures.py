"""Every rule's signature against the schemas of ONNX, in every version: inputs, attributes, defaults."""

from __future__ import annotations

import inspect
from typing import Any

import onnx.defs
import pytest
from onnx import helper

import costmodel.ops  # noqa: F401 - fills the registry
from costmodel.ops import registry

FAMILIES = ("layout", "slicing", "indexing", "generators", "matmul", "quantized", "text")
# attributes of ONNX without a default that mean what this default says
UNSAID: dict[tuple[str, str], Any] = {
    ("Concat", "axis"): 1,  # version 1: "Default value is 1"
    ("Split", "axis"): 0,  # version 1
    ("StringNormalizer", "locale"): "",  # the environment's
    ("StringNormalizer", "stopwords"): (),
    ("StringSplit", "delimiter"): "",  # whitespace, as the empty string
    ("RegexFullMatch", "pattern"): "",
    ("Reshape", "shape"): inspect.Parameter.empty,  # version 1: without it the op says nothing
}
# one rule serves versions in which an input or an attribute is required, and others in which it is not
LATER = {"Constant", "Gemm"}


def schemas() -> list[Any]:
    rules = [rule for rule in registry.rules() if not rule.domain]
    families = {rule.op for rule in rules if rule.function.__module__.split(".")[-1] in FAMILIES}
    return sorted(
        (schema for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain and schema.name in families),
        key=lambda schema: (schema.name, schema.since_version),
    )


def rule_of(schema: Any) -> registry.Rule:
    rule = registry.find(schema.name, "", schema.since_version)
    assert rule is not None
    return rule


@pytest.mark.parametrize("schema", schemas(), ids=lambda schema: f"{schema.name}-{schema.since_version}")
def test_inputs(schema: Any) -> None:
    rule = rule_of(schema)
    variadic = any(x.option == onnx.defs.OpSchema.FormalParameterOption.Variadic for x in schema.inputs)
    assert rule.variadic == variadic
    if not variadic:
        assert len(rule.inputs) >= schema.max_input
        assert rule.required <= schema.min_input
        assert rule.required == schema.min_input or schema.name in LATER


@pytest.mark.parametrize("schema", schemas(), ids=lambda schema: f"{schema.name}-{schema.since_version}")
def test_attributes(schema: Any) -> None:
    rule = rule_of(schema)
    defaults = {p.name: p.default for p in inspect.signature(rule.function).parameters.values()}
    for name, attribute in schema.attributes.items():
        assert name in rule.attributes
        assert name in rule.required_attributes or not attribute.required or schema.name in LATER
        if not attribute.required:
            assert defaults[name] == default_of(schema, attribute)


def default_of(schema: Any, attribute: Any) -> Any:
    if not attribute.default_value.name:
        return UNSAID.get((schema.name, attribute.name))
    default = helper.get_attribute_value(attribute.default_value)
    return default.decode() if isinstance(default, bytes) else default


def test_the_families_are_all_here() -> None:
    assert len({schema.name for schema in schemas()}) == 57
