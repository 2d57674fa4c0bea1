"""timm's benchmark: some five hundred networks on graphics cards and CPUs, as PyTorch runs them and compiled."""

from __future__ import annotations

import re
from collections.abc import Mapping

from costmodel.accuracy.figures import Accuracy
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.accuracy.splits import leave_networks_out
from costmodel.calibration import Table, gather
from costmodel.schema.data import data_folder
from costmodel.schema.measurement import read_measurements

PARTS = 12
# of weights ported from elsewhere, of which the architecture is the same
PORTED = re.compile(r"(tf|gluon|legacy|adv|ens)_")


def family(network: str) -> str:
    """The family of a network of this source, by the letters that its name begins with.

    >>> family("timm:tf_efficientnet_b0.224"), family("timm:resnet50d.288")
    ('efficientnet', 'resnet')
    """
    name = PORTED.sub("", network.partition(":")[2], count=1)
    return (re.match(r"[a-z]+", name) or [name])[0]


def tables(task: str) -> list[Table]:
    """The configurations that this task was measured on."""
    return gather(read_measurements(data_folder("calibration") / "measurements" / "timm.csv.gz"), task)


def _families(name: str, task: str) -> Accuracy:
    return leave_networks_out(tables(task), name, group_of=lambda table: table.id, label=family, parts=PARTS)


PROTOCOLS: Mapping[str, Protocol] = {
    "timm-gpu-family": Protocol(
        "leave families of networks out of all devices: PyTorch, eager and compiled, GPU and CPU",
        lambda: _families("timm-gpu-family", "inference"),
    ),
    "timm-train-family": Protocol(
        "leave families of networks out: a training step of PyTorch, RTX 3090",
        lambda: _families("timm-train-family", "training"),
    ),
}
