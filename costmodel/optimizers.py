"""What optimisers store for each parameter, and what a step takes besides.

After torch.optim and bitsandbytes. A step of torch.optim on a GPU works on all parameters at once (``foreach``), so its
temporary copies are of all of them; a fused kernel makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from costmodel.dims import Extent, ceil_divide, product
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Tensor

BLOCK = 256  # numbers that share one scale, in 8-bit states (bitsandbytes)
SMALLEST_8BIT = 4096  # parameters with fewer numbers have states of 32 bits (bitsandbytes, min_8bit_size)
FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimiser by what it stores.

    ``state_bytes``: bytes that are stored for one parameter tensor between steps. ``copies``: temporary copies of all
    parameters while a step runs, without weight decay.
    """

    name: str
    state_bytes: Callable[[Tensor], Extent]
    copies: int = 0


def _averages(times: int) -> Callable[[Tensor], Extent]:
    """So many numbers for each of the parameter's, of its own type."""
    return lambda parameter: parameter.nbytes * times


def _averages_of_8_bits(times: int) -> Callable[[Tensor], Extent]:
    """A byte for each number and a float32 scale for each block of them (Dettmers et al. 2021, arXiv:2110.02861)."""

    def state_bytes(parameter: Tensor) -> Extent:
        size = parameter.size
        if isinstance(size, int) and size < SMALLEST_8BIT:
            return size * FLOAT32 * times
        return (size + ceil_divide(size, BLOCK) * FLOAT32) * times

    return state_bytes


def _rows_and_columns(parameter: Tensor) -> Extent:
    """Means over the last axis and over the last but one; of vectors, all (Shazeer and Stern 2018, arXiv:1804.04235)."""
    if parameter.rank < 2:
        return parameter.nbytes
    *others, rows, columns = parameter.dims
    return parameter.to((product(others) * (rows + columns),)).nbytes


OPTIMIZERS: Mapping[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("none", _averages(0)),
        Optimizer("sgd", _averages(0)),
        Optimizer("momentum", _averages(1)),
        Optimizer("rmsprop", _averages(1), copies=1),
        Optimizer("adagrad", _averages(1), copies=2),
        Optimizer("adam", _averages(2), copies=1),
        Optimizer("adamw", _averages(2), copies=1),
        Optimizer("adam-fused", _averages(2)),
        Optimizer("adam-8bit", _averages_of_8_bits(2)),
        Optimizer("adafactor", _rows_and_columns, copies=1),
    )
}


def optimizer_named(optimizer: str | Optimizer) -> Optimizer:
    """The optimiser of a name; one's own is taken as it is.

    >>> optimizer_named("adam").state_bytes(Tensor("float32", (10, 10)))
    800

    Raises InvalidChoice for a name that there is not.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if optimizer not in OPTIMIZERS:
        raise InvalidChoice(f"there is no optimizer {optimizer!r}; {nearest(str(optimizer), OPTIMIZERS)}")
    return OPTIMIZERS[optimizer]
