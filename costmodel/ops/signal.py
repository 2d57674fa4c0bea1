"""Signal processing: Fourier transforms, windows, the mel scale.

A transform of n complex numbers counts 5 n log2(n), the convention of radix-2 algorithms (FFTW, "FFT benchmark
methodology"); one of n real numbers half of that. The logarithm is rounded up.
"""

from __future__ import annotations

from costmodel.dims import Extent, minimum, product, total
from costmodel.graph import Cost, Tensor, dtype_numbered
from costmodel.ops.elementwise import count
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axis, same, window
from costmodel.ops.value_layout import Unknowns, extent_of

MAX_STAGES = 40
COSINE = "multiply, divide, cosine, multiply, subtract"
BLACKMAN = "multiply, divide, cosine, multiply, subtract, multiply, divide, cosine, multiply, add"


def stages(length: Extent) -> Extent:
    """The logarithm to base 2, rounded up: how many halvings take a length to 1.

    >>> from costmodel.dims import Dim
    >>> stages(400), stages(Dim.size("N")).at(N=400)
    (9, 9)
    """
    if isinstance(length, int):
        return max(length - 1, 0).bit_length()
    return total(minimum((length - 1) // 2**k, 1) for k in range(MAX_STAGES))


def _transform_flops(length: Extent, *, real: bool) -> Extent:
    return 5 * length * stages(length) // (2 if real else 1)


@rule("DFT")
def dft_by_attribute(x, dft_length=None, *, axis=1, inverse=0, onesided=0, name):
    """5 n log2(n) per transform of n complex numbers, half for real ones; one division per result of an inverse."""
    return _dft(x, dft_length, axis, inverse=bool(inverse), onesided=bool(onesided), unknown=Unknowns(name))


@rule("DFT", since=20)
def dft(x, dft_length=None, axis=None, *, inverse=0, onesided=0, name):
    """5 n log2(n) per transform of n complex numbers, half for real ones; one division per result of an inverse."""
    along = -2 if axis is None else extent_of(axis)
    if isinstance(along, int):
        return _dft(x, dft_length, along, inverse=bool(inverse), onesided=bool(onesided), unknown=Unknowns(name))
    return _dft_along_any_axis(x, real_result=bool(inverse and onesided), unknown=Unknowns(name))


def _dft(x: Tensor, dft_length: Tensor | None, axis: int, *, inverse: bool, onesided: bool, unknown: Unknowns) -> Cost:
    *signal, parts = x.dims
    along = normal_axis(axis, x.rank)
    others = product((*signal[:along], *signal[along + 1 :]))
    given = 2 * (signal[along] - 1) if inverse and onesided else signal[along]
    length = given if dft_length is None else _extent(dft_length, "length", unknown)
    signal[along] = length // 2 + 1 if onesided and not inverse else length
    y = x.to((*signal, 1 if inverse and onesided else 2))
    flops = others * _transform_flops(length, real=onesided or parts == 1) + (y.size if inverse else 0)
    return Cost((y,), other_flops=flops, bounds=unknown.bounds)


def _dft_along_any_axis(x: Tensor, *, real_result: bool, unknown: Unknowns) -> Cost:
    """Where only the data says along which axis, any extent may change; one transform over all is the most it can be."""
    *signal, parts = x.dims
    y = x.to((*unknown.filled((None,) * len(signal)), 1 if real_result else 2))
    return Cost((y,), other_flops=_transform_flops(product(signal), real=parts == 1), bounds=unknown.bounds)


@rule("STFT")
def stft(signal, frame_step, window_=None, frame_length=None, *, onesided=1, name):
    """Per frame of n numbers 5 n log2(n), half for real ones; one multiplication per number for a window."""
    unknown = Unknowns(name)
    batch, samples, parts = signal.dims
    length = window_.size if window_ is not None else samples
    if frame_length is not None:
        stated = _extent(frame_length, "length", unknown, at_most=samples)
        length = same(stated, length, "frame_length and the window") if window_ is not None else stated
    step = extent_of(frame_step)
    if isinstance(step, int):
        frames = window(samples, kernel=length, stride=step)
    else:
        frames = unknown.extent("frames", at_most=samples)
    y = signal.to((batch, frames, length // 2 + 1 if onesided else length, 2))
    windowing = length * parts if window_ is not None else 0
    flops = batch * frames * (windowing + _transform_flops(length, real=bool(onesided) or parts == 1))
    return Cost((y,), other_flops=flops, not_learnable=(2,), bounds=unknown.bounds)


@rule("HannWindow", "HammingWindow")
def cosine_window(size, *, output_datatype=1, periodic=1, name):
    """5 per element: multiply, divide, cosine, multiply, subtract."""
    return _window(size, COSINE, output_datatype, name)


@rule("BlackmanWindow")
def blackman_window(size, *, output_datatype=1, periodic=1, name):
    """10 per element: two cosine terms of multiply, divide, cosine, multiply, add or subtract."""
    return _window(size, BLACKMAN, output_datatype, name)


def _window(size: Tensor, steps: str, output_datatype: int, name: str) -> Cost:
    y = Tensor(dtype_numbered(output_datatype), (_extent(size, "size", Unknowns(name)),))
    return Cost((y,), other_flops=y.size * count(steps))


@rule("MelWeightMatrix")
def mel_weight_matrix(
    num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz, *, output_datatype=1, name
):
    """2 per element: subtract and divide on the side of a triangle."""
    unknown = Unknowns(name)
    shape = (_extent(dft_length, "length", unknown) // 2 + 1, _extent(num_mel_bins, "bins", unknown))
    y = Tensor(dtype_numbered(output_datatype), shape)
    return Cost((y,), other_flops=2 * y.size)


def _extent(scalar: Tensor, what: str, unknown: Unknowns, *, at_most: Extent | None = None) -> Extent:
    found = extent_of(scalar)
    return unknown.extent(what, at_most=at_most) if found is None else found
