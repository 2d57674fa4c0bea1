"""The kernels of a training step: each forward kernel's gradients after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from costmodel.gpu.kernels import Shaped


def with_gradients(kernels: Iterable[Shaped]) -> Iterator[Shaped]:
    """The kernels of a forward and a backward pass; the optimiser's step is none of them.

    A product has a product for the gradient of either factor; stored weights add theirs to what is there. Everything else
    reads the gradient of its output and what it saved of its input, and writes the gradient of its input.

    >>> forward = Shaped("fc", "MatMul", (), "linear", 32, 16, 8, macs=8, batch=1, m=4, n=1, k=2)
    >>> [(kernel.family, kernel.m, kernel.n, kernel.k) for kernel in with_gradients([forward])][:3]
    [('linear', 4, 1, 2), ('linear', 4, 2, 1), ('linear', 2, 1, 4)]
    """
    saved = list(kernels)
    yield from saved
    for kernel in reversed(saved):
        yield from _gradients(kernel)


def _gradients(kernel: Shaped) -> Iterator[Shaped]:
    x, y, w = kernel.read_bytes, kernel.write_bytes, kernel.weight_bytes
    if kernel.macs == 0 or kernel.batch == 0:
        yield replace(kernel, read_bytes=x + y, write_bytes=x)
        return
    yield replace(kernel, n=kernel.k, k=kernel.n, read_bytes=y, write_bytes=x)
    yield replace(kernel, m=kernel.k, k=kernel.m, read_bytes=x + y, write_bytes=w, weight_bytes=0)
    if w != 0:
        sums = replace(kernel, family="elementwise", macs=0, batch=0, m=0, n=0, k=0, winograd=0)
        yield replace(sums, read_bytes=2 * w, write_bytes=w, weight_bytes=0)
