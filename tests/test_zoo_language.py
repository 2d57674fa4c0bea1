"""The language models of the zoo, against ONNX Runtime and the traces of a published benchmark of GPUs."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from costmodel import specs
from costmodel.counts import count
from costmodel.dims import value_at
from costmodel.errors import InvalidSpec
from costmodel.graph import Network
from costmodel.read.onnx import load
from tests.conftest import shared_folder
from tests.test_specs import inputs_of, session

SHARED = shared_folder()

SMALL: dict[str, Any] = {"layers": 2, "hidden": 32, "heads": 4, "vocab": 50}
ENCODER = {**SMALL, "positions": 16}
DECODER = {**SMALL, "kv_heads": 2, "ffn": 48}
BOTH = {**SMALL, "decoder_layers": 1, "depth": 16, "ffn": 48}
SPEECH = {**SMALL, "decoder_layers": 1, "frames": 20, "positions": 16, "bands": 5}

HEADS = ("none", "pooler", "classifier", "masked", "pretraining", "span")
PARTS = ("both", "encoder", "decoder", "step")

FORMS: list[tuple[str, dict[str, Any]]] = [
    *(("bert_base", {**ENCODER, "head": head}) for head in HEADS),
    *((name, ENCODER) for name in ("roberta_base", "distilbert_base")),
    *((name, {**ENCODER, "embedding": 8}) for name in ("electra_small", "albert_base")),
    *(("mobilebert", {**ENCODER, "narrow": 16, "embedding": 8, "head": head}) for head in ("none", "span")),
    *((name, {**SMALL, "cache": cache}) for name in ("gpt2", "opt_125m") for cache in (False, True)),
    *(
        (name, {**DECODER, "cache": cache})
        for name in ("llama2_7b", "llama3_2_1b", "mixtral_8x7b", "qwen2_0_5b", "gemma_2b")
        for cache in (False, True)
    ),
    *((name, {**BOTH, "part": part}) for name in ("t5_small", "flan_t5_small", "switch_base_8") for part in PARTS),
    *(("whisper_tiny", {**SPEECH, "part": part}) for part in PARTS),
]


@pytest.mark.parametrize(("name", "parameters"), FORMS)
def test_every_form_runs_with_the_shapes_that_were_derived(name: str, parameters: dict[str, Any]) -> None:
    network = specs.zoo(name, **parameters)
    model = specs.to_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    runner = session(model.SerializeToString())
    for sizes in ({"N": 1, "S": 1, "P": 3, "T": 1}, {"N": 3, "S": 7, "P": 5, "T": 6}):
        found = runner.run(None, inputs_of(network, sizes))
        assert [y.shape for y in found] == [tuple(value_at(e, sizes) for e in y.dims) for y in network.outputs.values()]
        assert all(np.isfinite(y).all() for y in found)


@pytest.mark.parametrize(("name", "parameters"), FORMS)
def test_every_form_reads_back_to_the_same_counts(name: str, parameters: dict[str, Any]) -> None:
    network = specs.zoo(name, **parameters)
    back = load(specs.to_onnx(network, weights="none"))
    assert not back.warnings
    assert count(back).total == count(network).total


# -- traces of whole networks on GPUs ---------------------------------------------------------------------------------

TABLE = "gpu_networks.csv"
MEASURED: dict[str, tuple[str, dict[str, Any]]] = {
    "bert_large": ("bert_large", {}),
    "gpt2_large": ("gpt2_large", {}),
    "gpt3_27": ("gpt3_2_7b", {}),
    "gpt3_xl": ("gpt2", {"layers": 24, "hidden": 3072, "heads": 24, "positions": 2048}),
    "opt_13": ("opt_1_3b", {}),
    "switchxl4": ("switch_xl_4", {}),
}
# What stands behind the encoder: the table's inference runs classify, its training runs pretrain.
TASK_HEADS = {"inference": {"head": "classifier"}, "training": {"head": "pretraining"}}
COLUMNS = ("layers", "hidden", "heads", "ffn", "vocab", "experts", "activation")


def measured() -> list[dict[str, str]]:
    """The configurations of the table, each once; one row states none."""
    if SHARED is None:
        return []
    with (SHARED / "data" / TABLE).open() as file:
        rows = [row for row in csv.DictReader(file) if row["layers"]]
    stated = ("network", "task", "batch", "seq_len", *COLUMNS, "fw_macs_linear", "fw_macs_bmm")
    return [dict(zip(stated, key, strict=True)) for key in dict.fromkeys(tuple(row[c] for c in stated) for row in rows)]


EACH_RUN = pytest.mark.parametrize(
    "row", measured(), ids=lambda row: "-".join(row[c] for c in ("network", "task", "batch", "seq_len"))
)


def heads_of(row: dict[str, str]) -> dict[str, str]:
    return TASK_HEADS[row["task"]] if row["network"].startswith("bert") else {}


def network_of(row: dict[str, str]) -> Network:
    name, parameters = MEASURED[row["network"]]
    return specs.zoo(name, **parameters, **heads_of(row))


def products(network: Network, sizes: dict[str, int]) -> tuple[int, int]:
    """Multiply-adds with stored weights, and those of two activations."""
    with_weights = of_two = 0
    for layer in network.layers:
        macs = value_at(layer.cost.macs, sizes) if layer.cost else 0
        if macs and network.tensors[layer.inputs[1]].constant:
            with_weights += macs
        else:
            of_two += macs
    return with_weights, of_two


def whole(text: str) -> int:
    return int(float(text))


@EACH_RUN
def test_macs_are_those_of_the_trace(row: dict[str, str]) -> None:
    if not row["fw_macs_linear"]:
        pytest.skip("the table has no operators of this run")
    found = products(network_of(row), {"N": int(row["batch"]), "S": int(row["seq_len"])})
    assert found == (whole(row["fw_macs_linear"]), whole(row["fw_macs_bmm"]))


@EACH_RUN
def test_networks_are_those_that_the_table_states(row: dict[str, str]) -> None:
    """The columns of the configuration, given as parameters, change nothing."""
    network = network_of(row)
    stated = {c: row[c] if c == "activation" else whole(row[c]) for c in COLUMNS if row[c]}
    if row["network"] == "switchxl4":
        stated["layers"] //= 2  # the table counts encoder and decoder together
    name, parameters = MEASURED[row["network"]]
    assert count(specs.zoo(name, **{**parameters, **heads_of(row), **stated})).total == count(network).total


def test_every_network_of_the_table_is_known(shared: Path) -> None:
    assert {row["network"] for row in measured()} == set(MEASURED)


# -- sizes, names, speed ----------------------------------------------------------------------------------------------


def test_defaults_are_a_text_or_one_step_behind_it() -> None:
    assert specs.zoo("bert_large_squad").bind({}) == {"N": 1, "S": 384}
    assert specs.zoo("llama3_8b").bind({}) == {"N": 1, "S": 128}
    assert specs.zoo("llama3_8b", cache=True).bind({}) == {"N": 1, "S": 1, "P": 128}
    assert specs.zoo("t5_base", part="step").bind({}) == {"N": 1, "S": 128, "T": 1, "P": 128}


def test_a_step_reads_and_writes_its_cache() -> None:
    """Keys and values of every layer: 2 * layers * kv_heads * depth numbers for each token (Llama 3, table 3)."""
    network = specs.zoo("llama3_8b", cache=True)
    for name, length in (("past", 100), ("present", 103)):
        tensors = {**network.inputs, **network.outputs}
        kept = [tensor for key, tensor in tensors.items() if f".{name}_" in key]
        assert sum(value_at(t.size, {"N": 1, "S": 3, "P": 100}) for t in kept) == 2 * 32 * 8 * 128 * length


def test_scores_cost_what_all_tokens_before_cost() -> None:
    """A step behind P tokens does the last S rows of the products of P + S tokens."""
    whole_text, step = (count(specs.zoo("llama3_8b", cache=cache)).total.macs for cache in (False, True))
    linear = whole_text.at(N=1, S=1) - 2 * 32 * 32 * 128
    assert step.at(N=1, S=1, P=99) == linear + 2 * 32 * 32 * 128 * 100


def test_unknown_parts_and_heads() -> None:
    with pytest.raises(InvalidSpec, match=r"parameters\.part: must be one of both, encoder, decoder, step, not 'decode'"):
        specs.zoo("t5_small", part="decode")
    with pytest.raises(InvalidSpec, match=r"parameters\.head: .*not 'pool'; did you mean 'pooler'"):
        specs.zoo("bert_base", head="pool")


def test_building_is_quick() -> None:
    """80 layers of 52 nodes; equal layers are worked out once."""
    specs.zoo("llama2_70b")
    start = time.perf_counter()
    count(specs.zoo("llama2_70b", layers=80))
    assert time.perf_counter() - start < 2
