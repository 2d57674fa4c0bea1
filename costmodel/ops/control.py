"""Control flow: If, Loop, Scan. Their bodies run through the same rules, with the graph around them in sight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from costmodel.dims import Dim, Extent, positive, total
from costmodel.errors import CostModelError, MalformedModel, ShapeMismatch
from costmodel.graph import Body, Cost, OptionalOf, Subgraph, Tensor
from costmodel.ops.induction import Induction
from costmodel.ops.merging import merged
from costmodel.ops.registry import rule
from costmodel.ops.shapes import normal_axis, same
from costmodel.ops.value_layout import Unknowns, extent_of

FOREVER = 2**31 - 1  # exporters write the largest number of 32 or 64 bits for a loop that only its condition ends
MAX_UNROLLED = 64  # trips that are followed one by one
FAR = 10**6 + 3  # a size that is as large as none in practice, to tell the rule from the exception


def with_bodies(outputs: Sequence[Tensor], bodies: Sequence[Body], unknown: Unknowns) -> Cost:
    """The cost of a layer that does nothing but run its bodies; what they leave open, it leaves open."""
    inner = (
        (name, body.in_last_run(most))
        for body in bodies
        for layer in body.layers
        if layer.cost is not None
        for name, most in layer.cost.bounds
    )
    return Cost(
        tuple(replace(output, constant=False) for output in outputs),
        macs=total(body.over_runs(body.macs) for body in bodies),
        other_flops=total(body.over_runs(body.other_flops) for body in bodies),
        bodies=tuple(bodies),
        bounds=(*unknown.bounds, *inner),
    )


# -- If -----------------------------------------------------------------------------------------------------------


@rule("If")
def if_(cond, *, then_branch, else_branch, name, run_body, assume):
    """What the branch that is taken counts; where the data decide, the branch with more flops.

    Where sizes decide, each branch is weighed by a count that is 1 where it is taken and 0 where it is not. Of branches
    whose results have different ranks one is assumed.
    """
    unknown = Unknowns(name)
    branches = {"then_branch": then_branch, "else_branch": else_branch}
    chosen = extent_of(cond)
    if isinstance(chosen, int):
        called = "then_branch" if chosen else "else_branch"
        return _one(run_body(branches[called], (), called=called), unknown)
    if chosen is None:
        then, otherwise = (run_body(branch, (), called=called) for called, branch in branches.items())
        return _either(then, otherwise, None, unknown, assume)
    then, otherwise = (_attempted(run_body, branch, called) for called, branch in branches.items())
    if isinstance(then, Body) and isinstance(otherwise, Body):
        return _either(then, otherwise, chosen, unknown, assume)
    if isinstance(then, Body):
        return _one(then, unknown)
    if isinstance(otherwise, Body):
        return _one(otherwise, unknown)
    raise then


def _attempted(
    run_body: Callable[..., Body], branch: Subgraph, called: str, knowing: Mapping[Extent, Extent] = MappingProxyType({})
) -> Body | CostModelError:
    """The branch, or why it cannot run: that is what the condition on sizes keeps it from.

    An extent that the branch needs to be a certain number is that number where the branch is taken (a Squeeze behind a
    test whether the extent is 1).
    """
    try:
        return run_body(branch, (), called=called, knowing=knowing)
    except ShapeMismatch as mismatch:
        extent, number = mismatch.left, mismatch.right
        if not isinstance(extent, Dim) or not isinstance(number, int) or extent in knowing:
            return mismatch
    except CostModelError as error:
        return error
    return _attempted(run_body, branch, called, {**knowing, extent: number})


def _one(body: Body, unknown: Unknowns) -> Cost:
    return with_bodies(body.results, [body], unknown)


def _either(
    then: Body, otherwise: Body, chosen: Dim | None, unknown: Unknowns, assume: Callable[..., bool]
) -> Cost:
    """Both branches, each weighed; or the one that is assumed, where their results have different ranks."""
    if len(then.results) != len(otherwise.results):
        raise MalformedModel(f"then_branch has {len(then.results)} outputs, else_branch {len(otherwise.results)}")
    pairs = list(zip(then.results, otherwise.results, strict=True))
    weight = positive(_flops(then) - _flops(otherwise)) if chosen is None else chosen
    if any(_differ_in_rank(a, b) for a, b in pairs):
        usual = bool(Dim.of(weight).at(dict.fromkeys(Dim.of(weight).names, FAR)))
        decisive = "the data decide" if chosen is None else f"it holds where {chosen} is 1"
        return _one(then if assume(decisive, usual=usual) else otherwise, unknown)
    outputs = [merged(pair, unknown, f"output{i}", weight=chosen) for i, pair in enumerate(pairs)]
    weighed = ((then, weight), (otherwise, 1 - weight))  # where data decide, the cheaper branch is stored and listed too
    bodies = [body.repeated(times) for body, times in weighed if chosen is None or times != 0]
    return with_bodies(outputs, bodies, unknown)


def _differ_in_rank(a: Tensor, b: Tensor) -> bool:
    return a.shape is not None and b.shape is not None and a.rank != b.rank


def _flops(body: Body) -> Extent:
    return 2 * body.macs + body.other_flops


# -- Loop ---------------------------------------------------------------------------------------------------------


@rule("Loop")
def loop(m=None, cond=None, *initial, body, name, input_names, run_body):
    """What the body counts, summed over the trips; how often the data let it run is a size of its own.

    That size has the name of the input M if M alone decides. A count that changes from trip to trip is summed exactly
    where it is a polynomial in the number of the trip.
    """
    unknown = Unknowns(name)
    induction = Induction(f"{name}.trip", unknown)

    def run(number: Extent, states: Sequence[Tensor], called: str = "body") -> Body:
        one: Body = run_body(body, (*_trip_inputs(body, number), *states), called=called)
        return one

    any_run, states = induction.solve(lambda found: run(induction.number, found), initial, first_output=1)
    most = Dim.size(input_names[0]) if m is not None and extent_of(m) is None else extent_of(m)
    trips = _trips(most, 1 if cond is None else extent_of(cond), extent_of(any_run.results[0]), unknown)
    count = len(initial)
    if isinstance(trips, int) and (trips == 0 or (induction.invented and trips <= MAX_UNROLLED)):
        unknown = Unknowns(name)
        runs, ends = _unrolled(run, initial, trips)
    else:
        runs, ends = [any_run.repeated(trips, induction.trip)], induction.after(trips, states)
    ends = [_as_result(end, result) for end, result in zip(ends, any_run.results[1:], strict=False)]
    of_runs = [each.results[1 + count :] for each in runs or (any_run,)]
    scans = [
        _stacked(merged(results, unknown, f"scan{i}"), 0, trips, f"scan{i}", induction.trip, unknown)
        for i, results in enumerate(zip(*of_runs, strict=True))
    ]
    return with_bodies([*ends, *scans], runs, unknown)


def _trip_inputs(body: Subgraph, number: Extent) -> tuple[Tensor, Tensor]:
    """The number of the trip, from 0 up, and the condition, which holds where the body runs."""
    shapes = [(1,) * len(declared.shape or ()) for declared in list(body.inputs.values())[:2]]
    if len(shapes) < 2:
        raise MalformedModel(f"the body takes {len(shapes)} inputs; it must take the trip's number and the condition")
    return Tensor("int64", shapes[0], (number - 1,), constant=True), Tensor("bool", shapes[1], (1,), constant=True)


def _unrolled(
    run: Callable[[Extent, Sequence[Tensor], str], Body], initial: Sequence[Tensor], trips: int
) -> tuple[list[Body], list[Tensor]]:
    """Every trip on its own, where no rule tells what is carried from one to the next."""
    runs: list[Body] = []
    states = list(initial)
    for number in range(1, trips + 1):
        runs.append(run(number, states, f"body_{number}"))
        states = list(runs[-1].results[1 : 1 + len(initial)])
    return runs, states


def _as_result(end: Tensor, result: Tensor) -> Tensor:
    """What a body gives back for an optional need not be one."""
    return end.element if isinstance(end, OptionalOf) and not isinstance(result, OptionalOf) else end


def _trips(most: Extent | None, first: Extent | None, further: Extent | None, unknown: Unknowns) -> Extent:
    """``first`` and ``further``: the condition before the first trip and after any; None where the data decide."""
    limit = None if isinstance(most, int) and most >= FOREVER else most
    if first == 0 or (isinstance(limit, int) and limit <= 0):
        return 0
    if first is not None and further == 0:
        return first
    if first is not None and further == 1 and limit is not None:
        return first * limit
    return unknown.extent("trips", at_most=limit)


def _stacked(tensor: Tensor, axis: int, trips: Extent, what: str, trip: str, unknown: Unknowns) -> Tensor:
    """The results of all trips along a new axis; they are all of one shape."""
    if tensor.shape is None:
        return tensor.to(None)
    fixed = (
        unknown.extent(f"{what}_axis{i}") if isinstance(extent, Dim) and trip in extent.names else extent
        for i, extent in enumerate(tensor.shape)
    )
    shape = list(fixed)
    shape.insert(normal_axis(axis, len(shape) + 1), trips)
    return tensor.to(shape)


# -- Scan ---------------------------------------------------------------------------------------------------------


@rule("Scan", since=9)
def scan(
    *inputs, body, num_scan_inputs, scan_input_axes=None, scan_input_directions=None, scan_output_axes=None,
    scan_output_directions=None, name, run_body,
):  # fmt: skip
    """What the body counts, times the extent of the axes that are scanned."""
    unknown = Unknowns(name)
    count = len(inputs) - num_scan_inputs
    initial, scanned = inputs[:count], inputs[count:]
    along = scan_input_axes or (0,) * num_scan_inputs
    axes = [normal_axis(axis, x.rank) for x, axis in zip(scanned, along, strict=True)]
    outputs = len(body.outputs) - count
    trips, run, ends = _scanned(body, initial, scanned, axes, unknown, run_body)
    scans = [
        _stacked(result, axis, trips, f"scan{i}", f"{name}.trip", unknown)
        for i, (result, axis) in enumerate(zip(run.results[count:], scan_output_axes or (0,) * outputs, strict=True))
    ]
    return with_bodies([*ends, *scans], [run.repeated(trips, f"{name}.trip")], unknown)


@rule("Scan")
def batched_scan(sequence_lens=None, *inputs, body, directions=None, num_scan_inputs, name, run_body):
    """What the body counts, times the batch and the length of the sequences that are scanned; short ones count as full."""
    unknown = Unknowns(name)
    count = len(inputs) - num_scan_inputs
    batch, *_ = inputs[0].dims
    rows = [Tensor(x.dtype, x.dims[1:], constant=x.constant) for x in inputs]
    trips, run, ends = _scanned(body, rows[:count], rows[count:], [0] * num_scan_inputs, unknown, run_body)
    scans = [
        _stacked(result, 0, trips, f"scan{i}", f"{name}.trip", unknown) for i, result in enumerate(run.results[count:])
    ]
    outputs = [y.to(None if y.shape is None else (batch, *y.shape)) for y in (*ends, *scans)]
    return with_bodies(outputs, [run.repeated(batch * trips)], unknown)


def _scanned(
    body: Subgraph,
    initial: Sequence[Tensor],
    scanned: Sequence[Tensor],
    axes: Sequence[int],
    unknown: Unknowns,
    run_body: Callable[..., Body],
) -> tuple[Extent, Body, list[Tensor]]:
    """The number of trips, the body in any of them, and the states behind the last."""
    if not scanned:
        raise MalformedModel("a Scan needs at least one input to scan")
    trips = scanned[0].dims[axes[0]]
    for x, axis in zip(scanned, axes, strict=True):
        trips = same(trips, x.dims[axis], "the extents of the axes that are scanned")
    slices = [
        Tensor(x.dtype, (*x.dims[:axis], *x.dims[axis + 1 :]), constant=x.constant)
        for x, axis in zip(scanned, axes, strict=True)
    ]
    induction = Induction(f"{unknown.name}.trip", unknown)
    run, states = induction.solve(lambda found: run_body(body, (*found, *slices), called="body"), initial, first_output=0)
    return trips, run, induction.after(trips, states)
