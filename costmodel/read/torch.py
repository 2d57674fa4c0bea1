"""torch.nn.Module -> Network, by way of torch's ONNX exporter.

Nothing runs and no weight is read: the module is traced with fake tensors, which have a dtype and a shape and no data, and
what the exporter makes of it stays in memory, with dtypes and shapes in the place of the weights. A module whose parameters
are on the meta device needs no memory for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Union

from costmodel.errors import CannotExport, MissingExtra, UnknownSize
from costmodel.graph import Network
from costmodel.read.example_inputs import Leaf, arguments, extents_of, faked, leaves_of
from costmodel.read.onnx import load

if TYPE_CHECKING:
    import onnx
    import torch

Inputs = Union["torch.Tensor", Sequence[Any], Mapping[str, Any]]

SMALL_BYTES = 1024  # stored numbers up to here may carry shapes
SHOWN_CHARACTERS = 500  # of a message of torch's


def from_torch(
    module: torch.nn.Module,
    example_inputs: Inputs,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Network:
    """Read a module as it infers (``eval``), without running it.

    ``example_inputs``: one tensor, a tuple or list of positional inputs, or a mapping of inputs by name, as ``kwargs`` is;
    only dtypes and shapes matter. ``dynamic`` frees axes, for each parameter of ``forward`` named: by names or expressions
    (open), numbers (fixed) and None (as in the example), by ``torch.export.Dim``, or by a mapping from axis to these; a
    parameter that is a tuple, list or mapping of tensors takes one of these for each::

        from_torch(module, torch.empty(1, 3, 224, 224), dynamic={"x": ("N", None, "H", "W")})
        from_torch(module, {"ids": ids, "mask": mask}, dynamic={"ids": ("N", "S"), "mask": ("N", "S")})

    Raises CannotExport where torch cannot trace the module or has no ONNX form of what it does, UnknownSize where the module
    fixes an axis that shall be open, MissingExtra without torch.
    """
    _check_installed()
    from torch._subclasses import FakeTensorMode
    from torch.utils import _pytree as pytree

    args, by_name = arguments(example_inputs, kwargs or {})
    leaves = leaves_of(module, args, by_name, dynamic or {})
    extents = extents_of(leaves)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fakes = [faked(leaf, extents, mode) for leaf in leaves]
    fake_args, fake_kwargs = pytree.tree_unflatten(fakes, pytree.tree_structure((args, by_name)))
    with _inferring(module), _off_meta(module, mode):
        exported = _exported(module, fake_args, fake_kwargs, _open_axes(leaves, fakes))
        _check_open(exported, leaves)
        proto, learnable = _onnx(exported, type(module).__name__)
    inputs = [leaf for leaf in leaves if hasattr(leaf.value, "shape")]
    sizes = {info.name: leaf.axes for info, leaf in zip(proto.graph.input, inputs, strict=True) if leaf.is_open}
    network = load(proto, sizes=sizes, name=name or type(module).__name__)
    return replace(network, learnable=learnable)


def _check_installed() -> None:
    try:
        import onnxscript  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f'from_torch needs {error.name}: pip install "costmodel[torch]"') from error


@contextmanager
def _inferring(module: torch.nn.Module) -> Iterator[None]:
    """The module in ``eval``; afterwards each part as it was."""
    were_training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in were_training:
            part.training = True


@contextmanager
def _off_meta(module: torch.nn.Module, mode: Any) -> Iterator[None]:
    """Fake tensors in the place of those on the meta device, which modules treat as a device of its own kind."""
    tables = [table for part in module.modules() for table in (part._parameters, part._buffers)]
    on_meta = [
        (table, key, tensor)
        for table in tables
        for key, tensor in table.items()
        if tensor is not None and tensor.device.type == "meta"
    ]
    fakes = {id(tensor): _fake_weight(tensor, mode) for _, _, tensor in on_meta}  # what two parts share stays shared
    try:
        for table, key, tensor in on_meta:
            table[key] = fakes[id(tensor)]
        yield
    finally:
        for table, key, tensor in on_meta:
            table[key] = tensor


def _fake_weight(weight: torch.Tensor, mode: Any) -> torch.Tensor:
    import torch

    with mode:
        fake = torch.empty_like(weight, device="cpu")
    return torch.nn.Parameter(fake, weight.requires_grad) if isinstance(weight, torch.nn.Parameter) else fake


def _open_axes(leaves: Sequence[Leaf], fakes: Sequence[Any]) -> Any:
    import torch

    collection = torch.export.ShapesCollection()
    for leaf, fake in zip(leaves, fakes, strict=True):
        if leaf.is_open:
            hints = torch.export.Dim
            collection[fake] = tuple(hints.AUTO if isinstance(axis, str) else hints.STATIC for axis in leaf.axes)
    return collection


def _exported(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], open_axes: Any) -> Any:
    import torch

    try:
        return torch.export.export(module, args, kwargs, dynamic_shapes=open_axes if len(open_axes) else None, strict=False)
    except Exception as error:  # of any kind
        raise CannotExport(
            f"torch cannot trace {type(module).__name__}: {_shown(error)}. Change the module so that torch.export takes it, "
            "or export it by other means and load the file"
        ) from error


def _check_open(exported: Any, leaves: Sequence[Leaf]) -> None:
    """Raises UnknownSize for an axis that shall be open and became a number."""
    traced = {node.name: node.meta.get("val") for node in exported.graph.nodes if node.op == "placeholder"}
    for leaf, input_name in zip(leaves, exported.graph_signature.user_inputs, strict=True):
        for i, axis in enumerate(leaf.axes):
            if isinstance(axis, str) and str(traced[input_name].shape[i]).isdecimal():
                raise UnknownSize(
                    f"size {axis}: the module fixes axis {i} of {leaf.place!r} at {traced[input_name].shape[i]}; "
                    "leave it as in the example"
                )


def _onnx(exported: Any, module_name: str) -> tuple[onnx.ModelProto, frozenset[str]]:
    """The exporter's graph, tidied up as far as the weights' numbers do not matter to that, and the parameters' names.

    The graph holds the weights by dtype and shape.
    """
    import onnx_ir
    import torch

    try:
        program = torch.onnx.export(exported, dynamo=True, optimize=False, verbose=False)
        weights = _taken_weights(program.model.graph, exported.graph_signature)
        program.optimize()
    except Exception as error:  # of any kind
        raise CannotExport(
            f"torch cannot write {module_name} as ONNX: {_shown(error)}. Leave that operation out of the module, or export "
            "it by other means and load the file"
        ) from error
    learnable = frozenset(weight.name for weight in weights if weight.name in exported.graph_signature.parameters)
    _put_back(program.model.graph, weights)
    return onnx_ir.to_proto(program.model), learnable


def _taken_weights(graph: Any, signature: Any) -> list[Any]:
    """Make inputs of the weights, so that nothing looks at their numbers; other stored numbers may carry shapes."""
    from torch._subclasses import FakeTensor

    named = {*signature.parameters, *signature.buffers}
    weights = []
    for value in list(graph.initializers.values()):
        stored = value.const_value
        is_weight = value.name in named and stored.dtype.is_floating_point()
        if is_weight or stored.nbytes > SMALL_BYTES or isinstance(getattr(stored, "raw", None), FakeTensor):
            del graph.initializers[value.name]
            graph.inputs.append(value)
            value.const_value = None
            weights.append(value)
    return weights


def _put_back(graph: Any, weights: Sequence[Any]) -> None:
    """Make stored tensors of them, as if their data were in a file."""
    import onnx_ir

    for value in weights:
        graph.inputs.remove(value)
        value.const_value = onnx_ir.ExternalTensor("module", None, None, value.dtype, shape=value.shape, name=value.name)
        graph.register_initializer(value)


def _shown(error: BaseException) -> str:
    """What torch says of the first cause, without its hints for those who work on torch."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()).partition(" For more information")[0]
    return (text[:SHOWN_CHARACTERS] or type(error).__name__).rstrip(".")
