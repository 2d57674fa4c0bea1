"""Ops that sample a tensor at other places: resizing, warping, regions of interest, cropping, image decoding.

An interpolated result takes one multiplication per sample and one addition per sample after the first. The weights
depend on the place alone and are shared by all channels; they are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from costmodel.dims import Extent, ceil_divide, floor_divide, maximum, minimum, product
from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Shape, Tensor
from costmodel.ops import values
from costmodel.ops.registry import rule
from costmodel.ops.shapes import known_integers, normal_axes, same
from costmodel.ops.value_layout import Unknowns, extents

TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}  # samples along one axis
ASPECT_RATIO = {"not_larger": minimum, "not_smaller": maximum}
CHANNELS = {"RGB": 3, "BGR": 3, "Grayscale": 1}
ADAPTIVE_SAMPLES = 2  # along each axis of a bin; Detectron's setting where the number is not adaptive


def _interpolation(taps: Extent) -> Extent:
    return 0 if taps == 1 else 2 * taps - 1


def _taps(mode: str) -> int:
    if mode not in TAPS:
        raise MalformedModel(f"mode {mode!r} is none of {', '.join(TAPS)}")
    return TAPS[mode]


def _resized(x: Tensor, shape: Sequence[Extent], mode: str, *, antialias: bool = False, inputs: int = 4) -> Cost:
    y = x.to(shape)
    taps: Extent = 1
    for before, after in zip(x.dims, shape, strict=True):
        if before != after and _taps(mode) > 1:
            taps = taps * _taps(mode) * (maximum(ceil_divide(before, after), 1) if antialias else 1)
    return Cost((y,), other_flops=y.size * _interpolation(taps), not_learnable=tuple(range(1, inputs)))


def _scaled(extent: Extent, scale: object, unknown: Extent) -> Extent:
    """The floor of a scaled extent, in the float32 that scales have; the stand-in where the scale is unknown."""
    found = values.floor(values.stored(values.multiply(extent, scale), "float32"))
    return unknown if found is None else found


def _by_scales(x: Tensor, axes: Sequence[int], scales: Tensor | Sequence[float], name: str) -> Shape:
    given = scales.value or (None,) * len(axes) if isinstance(scales, Tensor) else scales
    if len(given) != len(axes):
        raise MalformedModel(f"{len(given)} scales are given for {len(axes)} axes")
    unknown, shape = Unknowns(name), list(x.dims)
    for axis, scale in zip(axes, given, strict=True):
        shape[axis] = _scaled(shape[axis], scale, unknown.extent(f"axis{axis}"))
    return tuple(shape)


def _by_sizes(x: Tensor, axes: Sequence[int], sizes: Tensor, policy: str, name: str) -> Shape:
    given = extents(sizes) or (None,) * len(axes)
    if len(given) != len(axes):
        raise MalformedModel(f"{len(given)} sizes are given for {len(axes)} axes")
    unknown = Unknowns(name)
    wanted = [unknown.extent(f"axis{axis}") if size is None else size for axis, size in zip(axes, given, strict=True)]
    if policy != "stretch":
        wanted = _in_proportion([x.dims[axis] for axis in axes], wanted, policy)
    shape = list(x.dims)
    for axis, size in zip(axes, wanted, strict=True):
        shape[axis] = size
    return tuple(shape)


def _in_proportion(given: Sequence[Extent], wanted: Sequence[Extent], policy: str) -> list[Extent]:
    """All extents scaled alike, by the least or greatest of the wanted scales; halves are rounded up."""
    if policy not in ASPECT_RATIO:
        raise MalformedModel(f"keep_aspect_ratio_policy {policy!r} is none of stretch, {', '.join(ASPECT_RATIO)}")
    extremum: Callable[..., Extent] = ASPECT_RATIO[policy]
    return [
        extremum(*(floor_divide(2 * size * extent + whole, 2 * whole) for whole, size in zip(given, wanted, strict=True)))
        for extent in given
    ]


@rule("Resize")
def resize_by_scales(x, scales, *, mode="nearest", name):
    """Per result 7 (bilinear) in the plane: 4 samples multiplied and added; nothing for nearest."""
    return _resized(x, _by_scales(x, range(x.rank), scales, name), mode)


@rule("Resize", since=11)
def resize(
    x, roi=None, scales=None, sizes=None,
    *, antialias=0, axes=None, coordinate_transformation_mode="half_pixel", cubic_coeff_a=-0.75, exclude_outside=0,
    extrapolation_value=0.0, keep_aspect_ratio_policy="stretch", mode="nearest", nearest_mode="round_prefer_floor", name,
):  # fmt: skip
    """Per result 7 (bilinear) or 31 (bicubic) in the plane: samples multiplied and added; nothing for nearest."""
    chosen = normal_axes(axes, x.rank) if axes else range(x.rank)
    if sizes is not None and sizes.size != 0:
        shape = _by_sizes(x, chosen, sizes, keep_aspect_ratio_policy, name)
    elif scales is not None and scales.size != 0:
        shape = _by_scales(x, chosen, scales, name)
    else:
        raise MalformedModel("neither scales nor sizes are given; Resize needs one of them")
    return _resized(x, shape, mode, antialias=bool(antialias))


@rule("Upsample")
def upsample_plane(x, *, height_scale, width_scale, mode="nearest", name):
    """Per result 7 (bilinear): 4 samples multiplied and added; nothing for nearest."""
    return _resized(x, _by_scales(x, (x.rank - 2, x.rank - 1), (height_scale, width_scale), name), mode)


@rule("Upsample", since=7)
def upsample_by_attribute(x, *, scales, mode="nearest", name):
    """Per result 7 (bilinear): 4 samples multiplied and added; nothing for nearest."""
    return _resized(x, _by_scales(x, range(x.rank), scales, name), mode)


@rule("Upsample", since=9)
def upsample(x, scales, *, mode="nearest", name):
    """Per result 7 (bilinear): 4 samples multiplied and added; nothing for nearest."""
    return _resized(x, _by_scales(x, range(x.rank), scales, name), mode)


@rule("GridSample")
def grid_sample(x, grid, *, align_corners=0, mode="linear", padding_mode="zeros"):
    """Per result 7 (bilinear) or 31 (bicubic) in the plane; per coordinate 4: add, multiply, subtract, divide."""
    batch, channels, *spatial = x.dims
    grids, *places, axes = grid.dims
    same(batch, grids, "the batch of the input and of the grid")
    same(len(spatial), axes, "spatial axes and coordinates in the grid")
    y = x.to((batch, channels, *places))
    return Cost((y,), other_flops=y.size * _interpolation(_taps(mode) ** len(spatial)) + 4 * grid.size)


@rule("AffineGrid")
def affine_grid(theta, size, *, align_corners=0, name):
    """One multiply-add per coordinate and element of its place (a matrix product with [x, y, 1])."""
    batch, axes, homogeneous = theta.dims
    _, _, *spatial = extents(size) or (None,) * (axes + 2)
    same(len(spatial), axes, "spatial axes and rows of theta")
    grid = theta.to((batch, *Unknowns(name).filled(spatial), axes))
    return Cost((grid,), macs=grid.size * homogeneous)


@rule("RoiAlign")
def roi_align(
    x, rois, batch_indices,
    *, coordinate_transformation_mode="half_pixel", mode="avg", output_height=1, output_width=1, sampling_ratio=0,
    spatial_scale=1.0,
):  # fmt: skip
    """8 per sample of a bin: bilinear interpolation, add or compare; 1 per result for a mean. Adaptive: 2 x 2 samples."""
    _, channels, _, _ = x.dims
    regions, _ = rois.dims
    y = x.to((regions, channels, output_height, output_width))
    samples = (sampling_ratio or ADAPTIVE_SAMPLES) ** 2
    flops = samples * (_interpolation(_taps("bilinear") ** 2) + 1) + (mode == "avg")
    return Cost((y,), other_flops=y.size * flops, not_learnable=(1,))


@rule("Col2Im")
def col2im(x, image_shape, block_shape, *, dilations=None, pads=None, strides=None, name):
    """1 per element of the input: add."""
    batch, elements, _ = x.dims
    unknown, block = Unknowns(name), known_integers(block_shape)
    channels = floor_divide(elements, product(block)) if block else unknown.extent("channels", at_most=elements)
    image = unknown.filled(extents(image_shape) or (None,) * int(image_shape.size))
    return Cost((x.to((batch, channels, *image)),), other_flops=x.size, not_learnable=(1, 2), bounds=unknown.bounds)


@rule("ImageDecoder")
def image_decoder(encoded_stream, *, pixel_format="RGB", name):
    """No arithmetic of the network: decoding depends on the file format. Height and width are new sizes."""
    if pixel_format not in CHANNELS:
        raise MalformedModel(f"pixel_format {pixel_format!r} is none of {', '.join(CHANNELS)}")
    unknown = Unknowns(name)
    shape = (unknown.extent("height"), unknown.extent("width"), CHANNELS[pixel_format])
    return Cost((encoded_stream.to(shape, dtype="uint8"),))
