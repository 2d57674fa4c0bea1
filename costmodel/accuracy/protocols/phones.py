"""Six phones: some ninety convolutional networks under TensorFlow Lite and PyTorch Mobile, on sets of cores and on GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from costmodel.accuracy.figures import Accuracy
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.accuracy.splits import leave_devices_out, leave_networks_out
from costmodel.calibration import Table, gather, is_fittable
from costmodel.schema.data import data_folder
from costmodel.schema.measurement import read_measurements

DRAWS = 2
# names of variants that one paper presents, or that differ from another family's networks in a detail
SAME_FAMILY: Mapping[str, str] = {
    "mobilenetb": "mobilenet",
    "fdmobilenet": "mobilenet",
    "regnetx": "regnet",
    "regnety": "regnet",
    "resnetbc": "resnet",
    "preresnetbc": "preresnet",
}


def tables() -> list[Table]:
    """Every configuration that is sound."""
    rows = read_measurements(data_folder("calibration") / "measurements" / "phones.csv.gz")
    return gather(filter(is_fittable, rows))


def family(network: str) -> str:
    """The architecture that a network is a size of.

    >>> family("pytorchcv:mobilenetv3_small_w1"), family("pytorchcv:mobilenetv2b_wd2"), family("pytorchcv:regnetx002")
    ('mobilenetv3', 'mobilenetv2', 'regnet')
    """
    found = re.match(r"mobilenetv\d|[a-z]+", network.partition(":")[2])
    assert found is not None, network
    return SAME_FAMILY.get(found[0], found[0])


def _families(name: str) -> Accuracy:
    return leave_networks_out(tables(), name, group_of=lambda table: "/".join(table.group), label=family)


def _devices(name: str, measured: int) -> Accuracy:
    return leave_devices_out(tables(), name, measured=measured, draws=DRAWS)


PROTOCOLS: Mapping[str, Protocol] = {
    "phones-family": Protocol(
        "leave a family of networks out of all phones: TensorFlow Lite and PyTorch Mobile, CPU and GPU, float and int8",
        lambda: _families("phones-family"),
    ),
    **{
        f"phones-device-{measured}": Protocol(
            f"an unseen phone with {measured} measured networks, asked about networks unseen anywhere: as phones-family",
            lambda measured=measured: _devices(f"phones-device-{measured}", measured),  # type: ignore[misc]
        )
        for measured in (3, 5, 10)
    },
}
