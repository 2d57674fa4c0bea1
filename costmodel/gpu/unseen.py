"""How well the law predicts cards that it was not fitted on: whole networks on each card, by the cards of other chips."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from costmodel.gpu.costing import Costed, cost
from costmodel.gpu.law import NUMBERS
from costmodel.gpu.measured import chip_of, fitted, sheet_of
from costmodel.graph import Network
from costmodel.schema.data import data_folder
from costmodel.schema.profile import Law
from costmodel.specs import zoo

# the table's names of networks, by those of the zoo
ZOO = {
    "bert_large": "bert_large", "gpt2_large": "gpt2_large", "gpt3_27": "gpt3_2_7b", "gpt3_xl": "gpt3_2_7b",
    "opt_13": "opt_1_3b", "switchxl4": "switch_xl_4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """A network that was timed on a card: a forward pass (inference), or a forward and a backward one (training)."""

    device: str
    network: str
    task: str
    batch: int
    tokens: int
    shape: tuple[tuple[str, int], ...]
    time_s: float

    def counted(self) -> tuple[Network, Mapping[str, int]]:
        """The network of the zoo, with its sizes."""
        network = _network(ZOO[self.network], self.shape if self.network == "gpt3_xl" else ())
        return network, network.bind({name: self.batch if name == "N" else self.tokens for name in network.sizes})

    def kernels(self, law: Law) -> list[Costed]:
        """The run's kernels by a law."""
        network, point = self.counted()
        return cost(network, point, sheet_of(self.device), law, training=self.task == "training")


@lru_cache(maxsize=16)
def _network(name: str, parameters: tuple[tuple[str, int], ...]) -> Network:
    return zoo(name, **dict(parameters))


@lru_cache(maxsize=1)
def measured_networks() -> tuple[Run, ...]:
    """The networks that were timed on one card, as the table that comes with the library has them.

    >>> {run.task for run in measured_networks()} == {"inference", "training"}
    True
    """
    path = data_folder("calibration") / "kernels" / "gpu_networks.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(_run(row) for row in csv.DictReader(file))


def _run(row: Mapping[str, str]) -> Run:
    shape = tuple((name, int(row[name])) for name in ("layers", "hidden", "heads"))
    return Run(
        row["device"], row["network"], row["task"], int(row["batch"]), int(row["seq_len"]), shape, float(row["time_s"])
    )


@lru_cache(maxsize=64)
def law(vendor: str, without: frozenset[str] = frozenset()) -> Law:
    """The law of a vendor's cards, but for those of some chips.

    >>> sorted(law("amd").numbers)
    ['bmm', 'elementwise', 'layernorm', 'linear', 'softmax']
    """
    found = {family: fitted(vendor, family, without) for family in NUMBERS}
    laws = {family: one for family, one in found.items() if one is not None}
    return Law(
        numbers={family: one.numbers_ for family, one in laws.items()},
        typical_clock=float(f"{laws['linear'].typical_clock_:.4g}"),
    )


def law_without(device: str) -> Law:
    """The law that has seen no card of a device's chip."""
    return law(sheet_of(device).vendor, frozenset({chip_of(device)}))
