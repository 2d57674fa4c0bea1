"""Fourier transforms, complex products and inverses."""

from __future__ import annotations

from costmodel.dims import product
from costmodel.graph import Cost, Tensor
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.shapes import broadcast, same
from costmodel.ops.signal import stages

COMPLEX_PRODUCT = 6  # four products, two additions


@microsoft("Rfft")
def real_fourier_transform(x, *, normalized=0, onesided=1, signal_ndim=1):
    """5 * n * log2(n) / 2 for n points, as the radix-2 algorithm takes for real input; the logarithm is rounded up."""
    *lead, points = x.dims
    y = x.to((*lead, points // 2 + 1, 2))
    signal = product(x.dims[-signal_ndim:])
    return Cost((y,), other_flops=x.size * 5 * stages(signal) // 2)


@microsoft("Irfft")
def inverse_real_fourier_transform(x, *, normalized=0, onesided=1, signal_ndim=1):
    """5 * n * log2(n) / 2 for n points, as the radix-2 algorithm takes for real input; the logarithm is rounded up."""
    *lead, half, parts = x.dims
    same(parts, 2, "the last extent and the two parts of a complex number")
    y = x.to((*lead, 2 * (half - 1)))
    signal = product(y.dims[-signal_ndim:])
    return Cost((y,), other_flops=y.size * 5 * stages(signal) // 2)


@microsoft("ComplexMul", "ComplexMulConj")
def complex_product(a, b):
    """6 per complex element: four products, two additions."""
    y = a.to(broadcast(a.dims, b.dims))
    return Cost((y,), other_flops=y.size // 2 * COMPLEX_PRODUCT)


@microsoft("Inverse")
def inverse(x):
    """2 * n ** 3 for a matrix of n rows: elimination on the matrix and the unit matrix."""
    *batch, rows, columns = x.dims
    same(rows, columns, "rows and columns")
    y: Tensor = x.to(x.dims)
    return Cost((y,), other_flops=product(batch) * 2 * rows**3)
