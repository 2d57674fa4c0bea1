"""The memory of training steps, against what PyTorch took (tests/data, measured by benchmarks/training_memory.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.build import Builder
from costmodel.errors import InvalidChoice, UnknownSize
from costmodel.graph import Network, Tensor
from costmodel.optimizers import OPTIMIZERS, Optimizer
from costmodel.specs import zoo
from costmodel.training import TrainingMemory, training_memory

CASES = json.loads((Path(__file__).parent / "data" / "training_memory.json").read_text())["cases"]
PEAK_WITHIN, SAVED_WITHIN = 0.04, 0.06


def labelled(case: Mapping[str, Any]) -> str:
    more = "" if case["fused_attention"] else "-written-out"
    return f"{case['library']}-{case['network']}-{case['sizes']}-{case['optimizer']}{more}"


def planned(case: Mapping[str, Any]) -> TrainingMemory:
    options = {name: case[name] for name in ("optimizer", "loss", "checkpoint", "fused_attention")}
    return training_memory(zoo(case["network"]), **options)


@pytest.mark.parametrize("case", CASES, ids=labelled)
def test_as_pytorch_takes(case: Mapping[str, Any]) -> None:
    plan = planned(case).at(case["sizes"])
    assert plan.peak_bytes == pytest.approx(case["peak_bytes"], rel=PEAK_WITHIN)
    assert plan.saved_bytes == pytest.approx(case["saved_bytes"], rel=SAVED_WITHIN)


def test_networks_of_many_kinds_were_measured() -> None:
    assert len({case["network"] for case in CASES}) >= 8


# -- written out by hand --------------------------------------------------------------------------------------------


def chain() -> Network:
    """16 numbers -> linear (64) -> relu -> linear (32) -> relu -> linear (4)."""
    b = Builder("chain")
    y = b.relu(b.linear(b.input("x", ("N", 16)), 64))
    return b.finish(b.linear(b.relu(b.linear(y, 32)), 4))


PARAMS = 4 * (16 * 64 + 64 + 64 * 32 + 32 + 32 * 4 + 4)
SAVED = 4 * (64 + 32)


def test_parts_of_a_chain() -> None:
    plan = training_memory(chain(), optimizer="momentum").at(N=10)
    parts = plan.weight_bytes, plan.gradient_bytes, plan.optimizer_bytes, plan.saved_bytes
    assert parts == (PARAMS, PARAMS, PARAMS, 10 * SAVED)
    assert sum(plan.at_peak.values()) == plan.peak_bytes


def test_peak_of_a_chain_by_hand() -> None:
    """Weights, input and output; what the first rectifier keeps, the gradients of its result and of what it read, and those
    of the weights of the last two layers.
    """
    n = 1000  # activations outweigh the weights
    plan = training_memory(chain(), optimizer="sgd").at(N=n)
    assert plan.moment == "backward of relu1"
    last_two = 4 * (64 * 32 + 32 + 32 * 4 + 4)
    assert plan.peak_bytes == PARAMS + last_two + 4 * n * (16 + 4 + 64 + 64 + 64)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
@pytest.mark.parametrize("checkpoint", [None, 1, 2])
def test_formula_is_exact_and_compiles(batch: int, checkpoint: int | None) -> None:
    training = training_memory(chain(), checkpoint=checkpoint)
    plan = training.at(N=batch)
    assert training.peak_bytes.at(N=batch) == plan.peak_bytes
    columns = training.compile()(N=np.array([batch]))
    assert columns["peak_bytes"].tolist() == [plan.peak_bytes]
    assert columns["saved_bytes"].tolist() == [plan.saved_bytes]


def test_open_image_sizes() -> None:
    training = training_memory(zoo("resnet18"))
    for sizes in ({"N": 1, "H": 64, "W": 96}, {"N": 3, "H": 225, "W": 224}):
        assert training.peak_bytes.at(sizes) == training.at(sizes).peak_bytes


def test_what_needs_no_gradient_keeps_nothing() -> None:
    b = Builder("preprocessing")
    x = b.input("x", ("N", 16))
    y = b.linear(b.mul(b.sigmoid(x), b.sigmoid(x)), 4)
    saved = training_memory(b.finish(y)).saved_bytes
    assert saved.at(N=1) == 4 * 16  # what the linear layer reads, nothing of what comes before


def test_a_tensor_kept_twice_counts_once() -> None:
    b = Builder("shared")
    x = b.relu(b.linear(b.input("x", ("N", 16)), 8))
    y = b.add(b.linear(x, 4), b.linear(x, 4))
    assert training_memory(b.finish(y)).saved_bytes.at(N=1) == 4 * 8


def test_a_shared_weight_has_one_gradient() -> None:
    b = Builder("tied")
    w = b.weight("w", (16, 16))
    y = b.op("MatMul", b.op("MatMul", b.input("x", ("N", 16)), w), w)
    plan = training_memory(b.finish(y), optimizer="adam").at(N=1)
    assert (plan.gradient_bytes, plan.optimizer_bytes) == (4 * 16 * 16, 8 * 16 * 16)


def test_cross_entropy_keeps_probabilities() -> None:
    mean, entropy = (training_memory(chain(), loss=loss).saved_bytes.at(N=1) for loss in ("mean", "cross-entropy"))
    assert entropy - mean == 4 * 4


@pytest.mark.parametrize("every", [1, 2, 4])
def test_checkpoints_take_less_and_keep_what_goes_into_a_segment(every: int) -> None:
    plain = training_memory(zoo("resnet50"), optimizer="sgd").at(N=32)
    again = training_memory(zoo("resnet50"), optimizer="sgd", checkpoint=every).at(N=32)
    assert again.saved_bytes < plain.saved_bytes / 2
    assert again.peak_bytes < plain.peak_bytes


# -- optimisers -------------------------------------------------------------------------------------------------------

# torch.optim.Adafactor keeps a number for each row and each column of the last two axes, and all of a vector's;
# bitsandbytes keeps a byte for each number and a float32 for each 256, from 4,096 numbers on
STATES = [
    ("sgd", (10, 20), 0), ("momentum", (10, 20), 800), ("adam", (10, 20), 1600), ("adamw", (7,), 56),
    ("adafactor", (10, 20), 4 * 30), ("adafactor", (8, 4, 3, 3), 4 * 32 * 6), ("adafactor", (7,), 28),
    ("adam-8bit", (64, 64), 2 * (4096 + 4 * 16)), ("adam-8bit", (64, 65), 2 * (4160 + 4 * 17)),
    ("adam-8bit", (10, 20), 1600),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "nbytes"), STATES)
def test_states_of_optimizers(name: str, shape: tuple[int, ...], nbytes: int) -> None:
    assert OPTIMIZERS[name].state_bytes(Tensor("float32", shape)) == nbytes


def test_an_optimizer_of_ones_own() -> None:
    mine = Optimizer("lion", lambda parameter: parameter.nbytes, copies=0)
    assert training_memory(chain(), optimizer=mine).at(N=1).optimizer_bytes == PARAMS


# -- what cannot be ---------------------------------------------------------------------------------------------------

WRONG = [
    ({"optimizer": "adan"}, "there is no optimizer 'adan'; did you mean 'adam'"),
    ({"loss": "means"}, "there is no loss 'means'; did you mean 'mean'"),
    ({"checkpoint": 0}, "checkpoint=0: a segment has at least one link; give a number from 1 up"),
    ({"checkpoint": 99}, "checkpoint=99: network 'chain' has 3 links; give a smaller number"),
    ({"checkpoint": ["relu3"]}, "network 'chain' computes no tensor 'relu3' to end a segment at; did you mean 'relu"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_errors_tell_the_cure(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidChoice) as told:
        training_memory(chain(), **options)
    assert message in str(told.value)


def test_a_size_is_missing() -> None:
    with pytest.raises(UnknownSize):
        training_memory(chain()).at()


def test_warnings_tell_what_a_graph_hides() -> None:
    assert "folded batch norms" in training_memory(zoo("vgg11")).warnings[0]
    assert training_memory(zoo("resnet18")).warnings == ()


def test_learnt_numbers_without_gradients_are_told() -> None:
    network = zoo("resnet18", precision="int8")
    training = training_memory(network)
    assert training.gradient_bytes == 0
    assert any("learnt numbers" in warning and "have no gradients here" in warning for warning in training.warnings)


def test_a_view_of_an_input_holds_nothing() -> None:
    b = Builder("viewed")
    x = b.input("x", ("N", 4, 4))
    training = training_memory(b.finish(b.linear(b.flatten(x), 2)), optimizer="sgd")
    assert training.saved_bytes == 0
    assert training.at(N=1).at_peak["inputs"] == 64
