"""What other devices' measurements say about a device on which a few networks were measured.

``known`` predicts networks that the other devices ran too; ``kinship`` says how alike two configurations are by their
facts; ``cells`` predicts all networks of a search space.
"""

from __future__ import annotations

from costmodel.transfer.cells import CellTimes
from costmodel.transfer.kinship import kinship
from costmodel.transfer.known import Forecast, KnownNetworks

__all__ = ["CellTimes", "Forecast", "KnownNetworks", "kinship"]
