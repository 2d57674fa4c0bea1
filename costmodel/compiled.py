"""Many counts as one vectorised numpy function.

The distinct counts of a network share few monomials. So the program computes every atom once, every monomial once, and
then all counts by one matrix product; long columns go through in chunks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from costmodel.dims import Atom, Dim, Extent, Monomial
from costmodel.errors import UnknownSize, nearest

Column = NDArray[np.float64]
CHUNK = 16_384  # rows: 50 columns of float64 are 6.5 MB, about a last-level cache


class Compiled:
    """A vectorised function from columns of sizes to columns of counts.

    Numbers are float64: exact for counts up to 2**53, about 9e15.

    >>> h = Dim.size("H")
    >>> f = Compiled({"pixels": h * h, "rows": (h + 1) // 2})
    >>> {name: column.tolist() for name, column in f(H=[3, 4]).items()}
    {'pixels': [9.0, 16.0], 'rows': [2.0, 2.0]}
    """

    def __init__(self, extents: Mapping[str, Extent]) -> None:
        dims = [Dim.of(extent) for extent in extents.values()]
        distinct = {dim: i for i, dim in enumerate(dict.fromkeys(dims))}
        self.keys = tuple(extents)
        self._column = np.array([distinct[dim] for dim in dims], dtype=int)
        self._program = _Program(list(distinct))

    @property
    def names(self) -> tuple[str, ...]:
        """The sizes that must be given."""
        return self._program.names

    def matrix(self, columns: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> Column:
        """The counts as a matrix of one row a point and one column a key."""
        chunks = list(self._chunks({**(columns or {}), **named}))
        return np.concatenate([chunk[:, self._column] for chunk in chunks])

    def greatest(self, columns: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> Column:
        """The largest of the counts at each point.

        >>> h = Dim.size("H")
        >>> Compiled({"square": h * h, "strip": 5 * h}).greatest(H=[3, 9]).tolist()
        [15.0, 81.0]
        """
        return np.concatenate([chunk.max(axis=1) for chunk in self._chunks({**(columns or {}), **named})])

    def _chunks(self, given: Mapping[str, ArrayLike]) -> Iterator[Column]:
        """The distinct counts of some points at a time, one row a point."""
        missing = [name for name in self.names if name not in given]
        if missing:
            raise UnknownSize(f"size {missing[0]!r} has no column; {nearest(missing[0], given)}")
        arrays = np.broadcast_arrays(*(np.asarray(given[name], dtype=np.float64).ravel() for name in self.names))
        rows = len(arrays[0]) if arrays else 1
        for start in range(0, max(rows, 1), CHUNK):
            chunk = {name: array[start : start + CHUNK] for name, array in zip(self.names, arrays, strict=True)}
            yield self._program.run(chunk, min(CHUNK, rows - start))

    def __call__(self, columns: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> dict[str, Column]:
        """The counts as columns by key."""
        return dict(zip(self.keys, self.matrix(columns, **named).T, strict=True))


class _Program:
    """Atoms in the order of their dependence, then monomials, then coefficients; floor atoms hold polynomials too."""

    def __init__(self, dims: list[Dim]) -> None:
        self.atoms: dict[Atom, tuple[_Sum, ...]] = {}
        self.monomials: dict[Monomial, int] = {}
        self.sizes: dict[str, Atom] = {}
        sums = [self._sum(dim) for dim in dims]
        self.names = tuple(self.sizes)
        self.coefficients = np.zeros((len(self.monomials), len(dims)))
        for i, terms in enumerate(sums):
            for monomial, coefficient in terms:
                self.coefficients[monomial, i] = coefficient

    def _sum(self, extent: Extent) -> _Sum:
        terms = []
        for monomial, coefficient in Dim.of(extent).terms.items():
            for atom, _ in monomial:
                self._add(atom)
            terms.append((self.monomials.setdefault(monomial, len(self.monomials)), float(coefficient)))
        return tuple(terms)

    def _add(self, atom: Atom) -> None:
        if atom in self.atoms:
            return
        if atom.kind == "size":
            self.sizes[atom.args[0]] = atom
            self.atoms[atom] = ()
        else:
            arguments = tuple(self._sum(arg) for arg in atom.args)
            self.atoms[atom] = arguments

    def run(self, columns: Mapping[str, Column], rows: int) -> Column:
        values: dict[Atom, Column] = {}
        products = np.empty((len(self.monomials), rows))
        monomials = list(self.monomials)
        done = 0
        for atom, arguments in self.atoms.items():
            if atom.kind == "size":
                values[atom] = columns[atom.args[0]]
                continue
            done = _fill(products, monomials, done, values)
            values[atom] = _apply(atom.kind, [_evaluated(terms, products, rows) for terms in arguments])
        _fill(products, monomials, done, values)
        return products.T @ self.coefficients


_Sum = tuple[tuple[int, float], ...]


def _fill(products: Column, monomials: list[Monomial], done: int, values: Mapping[Atom, Column]) -> int:
    """Compute monomials, in the order in which they were met, as far as their atoms are known."""
    while done < len(monomials) and all(atom in values for atom, _ in monomials[done]):
        row = products[done]
        row.fill(1.0)
        for atom, power in monomials[done]:
            for _ in range(power):
                row *= values[atom]
        done += 1
    return done


def _evaluated(terms: _Sum, products: Column, rows: int) -> Column:
    total = np.zeros(rows)
    for monomial, coefficient in terms:
        total += coefficient * products[monomial]
    return total


def _apply(kind: str, arguments: list[Column]) -> Column:
    if kind == "floor":
        return np.floor(arguments[0] / arguments[1])  # exact below 2**53: the quotient rounds across no integer
    extremum: np.ufunc = np.maximum if kind == "max" else np.minimum
    result: Column = extremum.reduce(arguments)
    return result

