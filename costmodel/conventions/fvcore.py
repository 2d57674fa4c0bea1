"""How fvcore counts: operations of a traced module, a multiply-add as one flop."""

from __future__ import annotations

from costmodel.conventions.call import Call, Formula, Table, each_output, macs, normalized, outside_sdpa
from costmodel.dims import Extent


def _resized(**times: int) -> Formula:
    """So many per element of the output, by the mode; images only."""
    return lambda call: times.get(call.mode, 0) * call.y.size if call.x.rank == 4 else 0


def _adaptive_pool(call: Call) -> Extent:
    return call.x.size if call.is_adaptive_pool else 0


def _batch_norm(call: Call) -> Extent:
    return normalized(5, 4)(call) if call.takes_moments else normalized(2, 1)(call)


def _convolution(call: Call) -> Extent:
    """Nothing where padding is told by name: another operation of torch, which its exporter takes apart."""
    return 0 if call.function == "convolution" else call.macs


FVCORE: Table = {
    "AveragePool": _adaptive_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _convolution,
    "ConvTranspose": macs,
    "Einsum": macs,
    "Gemm": macs,
    "GlobalAveragePool": _adaptive_pool,
    "GridSample": each_output(4),
    "GroupNormalization": normalized(5, 4),
    "InstanceNormalization": lambda call: (5 if call.is_group_norm or call.is_affine else 4) * call.x.size,
    "LayerNormalization": normalized(5, 4),
    "MatMul": outside_sdpa(macs),
    "ReduceMean": _adaptive_pool,
    "Resize": _resized(nearest=1, linear=4),
    "Upsample": _resized(nearest=1, linear=4),
}
