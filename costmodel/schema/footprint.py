"""The file of laws of memory: what a runtime takes besides the planned peak of activations."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from costmodel.errors import InvalidProfile

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found, no-redef]


class Law(BaseModel):
    """constant + a part of the bytes of convolutions' weights + a part of all others + what ``planner`` takes.

    ``margins``: |log(predicted / measured)| of networks left out of the fit, sorted; none where none were measured.
    ``planner`` is empty where activations are part of the constant.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    planner: str = ""
    constant_bytes: int = Field(ge=0)
    per_convolution_weight: float = Field(ge=0)
    per_other_weight: float = Field(ge=0)
    margins: tuple[float, ...] = ()
    scope: str
    source: str

    def weights_taken(self, weight_bytes: int, convolution_bytes: int) -> float:
        """Bytes for weights and the constant.

        >>> law = Law(name="x", constant_bytes=10, per_convolution_weight=3, per_other_weight=1, scope="s", source="s")
        >>> law.weights_taken(100, 40)
        190.0
        """
        others = weight_bytes - convolution_bytes
        return self.constant_bytes + self.per_convolution_weight * convolution_bytes + self.per_other_weight * others


def read_laws(path: Path) -> list[Law]:
    """Read a file of laws. Raises InvalidProfile where it is none."""
    try:
        return [Law.model_validate(table) for table in tomllib.loads(path.read_text())["law"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InvalidProfile(f"{path}: no file of laws of memory: {error}") from error
