"""What released sums, taken together, say about whom: which combinations of them hold few participants.

Each sum is a row of zeros and ones over the participants: the participation matrix. Whoever has the sums has every
combination of the rows. Participants who are in exactly the same sums are a *cell*: each combination has one factor for
all of a cell, so nobody can be shown without the others of its cell. The *rank* is the number of combinations that say
something new: once it is as large as the number of cells, the sum over each cell is known.

The rows are combined modulo the prime 2^31 − 1 and not with fractions. A rank can come out too small only if a
determinant of zeros and ones is a multiple of that prime. With up to 22 cells none is large enough (Hadamard's bound);
with more it would be a coincidence of one in about 2·10^9 for each determinant that decides.

This is about who is in which sum, and about no value. It takes for granted that a participant adds the same update to
each of the sums. That is exact for sums of one model; for sums of models that follow one another it is as true as
updates are alike. Noise in a sum blurs whatever combinations show.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ConfigError

PRIME: Final = (1 << 31) - 1

MOST_STEPS: Final = 5_000_000_000
"""Steps of the elimination, about a minute; more are refused."""

MOST_SHOWN: Final = 100
"""Combinations that are named."""

_BLOCK: Final = 512  # rows that are compared with all others at once

Row = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class KnownSum:
    """A sum that somebody has, or may have.

    Attributes:
        name: of the sum, the id of its round for example; no two sums have the same.
        survivors: whose updates are in it.
    """

    name: str
    survivors: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A combination of sums that holds a few participants and nobody else.

    Attributes:
        members: who is in it, sorted.
        alone: whether all of them have the same factor, so that it is the sum of their updates, up to that factor.
        sums: names of the sums that are combined, in the order in which they came.
    """

    members: tuple[str, ...]
    alone: bool
    sums: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How often one participant took part, and who hides it.

    Attributes:
        sums: in how many of the sums it is.
        cell: how many participants are in exactly the same sums, itself among them: never fewer are shown together.
        fewest: how many participants are in the smallest combination with it that was found.
    """

    sums: int
    cell: int
    fewest: int


@dataclass(frozen=True, slots=True)
class Participation:
    """What a number of sums say together.

    Attributes:
        sums: how many.
        cohorts: how many of these have different survivors.
        rank: of the participation matrix.
        cells: how many cells the participants fall into.
        smallest_cell: who is in the smallest cell; no combination holds fewer participants than that.
        singled_out: participants whose update a combination shows alone, sorted.
        shown: the smallest combinations that were found, smallest first, at most `MOST_SHOWN` and one for each set of
            participants.
        standings: of each participant, by name, sorted.
    """

    sums: int
    cohorts: int
    rank: int
    cells: int
    smallest_cell: tuple[str, ...]
    singled_out: tuple[str, ...]
    shown: tuple[Shown, ...]
    standings: Mapping[str, Standing]


def take_part(sums: Sequence[KnownSum]) -> Participation:
    """What these sums say together.

    The smallest combination of many rows is hard to find. What is found for certain: whether a combination holds one
    cell and nobody else, for every cell. Larger combinations are looked for among the sums themselves, the difference
    of each to the sum that is most like it, and the reduced rows of the matrix. So a smaller one may exist, though none
    is smaller than the smallest cell.

    Args:
        sums: in the order in which they came.

    Raises:
        ConfigError: there are too many different sums and cells; or two sums with one name.
    """
    if len({each.name for each in sums}) < len(sums):
        raise ConfigError("two sums have the same name")
    cohorts = {each.survivors: each.name for each in reversed(sums)}
    distinct = [each for each in sums if cohorts[each.survivors] == each.name]
    cells = _cells(distinct)
    names, places = list(cells.values()), [np.array(key, dtype=np.int64) for key in cells]
    steps = min(len(distinct), len(names)) ** 2 * len(names)
    if steps > MOST_STEPS:  # check: participation-steps
        raise ConfigError(
            f"{len(distinct)} different cohorts of participants in {len(names)} cells are too many to combine; ask "
            "about one task, or about a shorter time"
        )
    matrix = np.zeros((len(distinct), len(names)), dtype=np.int64)
    for column, rows in enumerate(places):
        matrix[rows, column] = 1
    reduced, made_of = _reduced(matrix)
    found = [_shown(row, combined, names, distinct) for row, combined in zip(reduced, made_of, strict=True)]
    found += [Shown(tuple(sorted(each.survivors)), True, (each.name,)) for each in distinct]
    nearest = nsmallest(MOST_SHOWN, _nearest(matrix, names))
    found += [_difference(distinct[one], distinct[other]) for _, one, other in nearest]
    shown = _smallest_of_each(found)
    return Participation(
        len(sums),
        len(distinct),
        len(reduced),
        len(names),
        min(names, key=lambda cell: (len(cell), cell), default=()),
        tuple(each.members[0] for each in shown if len(each.members) == 1),
        shown[:MOST_SHOWN],
        _standings(sums, names, shown),
    )


def _cells(sums: Sequence[KnownSum]) -> dict[tuple[int, ...], tuple[str, ...]]:
    """Who is in exactly the same sums, by the numbers of these sums; in the order of names."""
    inside: dict[str, list[int]] = {}
    for number, each in enumerate(sums):
        for name in each.survivors:
            inside.setdefault(name, []).append(number)
    cells: dict[tuple[int, ...], list[str]] = {}
    for name in sorted(inside):
        cells.setdefault(tuple(inside[name]), []).append(name)
    return {key: tuple(names) for key, names in cells.items()}


def _reduced(matrix: Row) -> tuple[Row, Row]:
    """The reduced row echelon form modulo `PRIME`, without rows of zeros, and the combination of rows that each is.

    A unit vector is a combination of the rows exactly if it is one of the reduced rows.

    Args:
        matrix: int64[R, C], of zeros and ones.

    Returns:
        int64[r, C] and int64[r, R], each in [0, PRIME).
    """
    count, width = matrix.shape
    most = min(count, width)
    rows, used = np.zeros((most, width), dtype=np.int64), np.zeros((most, most), dtype=np.int64)
    pivots: list[int] = []
    taken: list[int] = []
    for number, row in enumerate(matrix):
        rank = len(pivots)
        known = np.flatnonzero(row[pivots])  # of zeros and ones, so each reduced row is taken off once or not at all
        rest = (row - rows[known].sum(axis=0)) % PRIME
        if not rest.any():
            continue
        combined = -used[known].sum(axis=0)
        combined[rank] += 1
        pivot = int(np.argmax(rest != 0))
        inverse = pow(int(rest[pivot]), -1, PRIME)
        rest, combined = rest * inverse % PRIME, combined % PRIME * inverse % PRIME
        factors = rows[:rank, pivot : pivot + 1].copy()
        rows[:rank] = (rows[:rank] - factors * rest % PRIME) % PRIME
        used[:rank] = (used[:rank] - factors * combined % PRIME) % PRIME
        rows[rank], used[rank] = rest, combined
        pivots.append(pivot)
        taken.append(number)
        if len(pivots) == most:
            break
    made_of = np.zeros((len(pivots), count), dtype=np.int64)
    made_of[:, taken] = used[: len(pivots), : len(pivots)]
    return rows[: len(pivots)], made_of


def _shown(row: Row, combined: Row, cells: Sequence[tuple[str, ...]], sums: Sequence[KnownSum]) -> Shown:
    inside = np.flatnonzero(row).tolist()
    members = tuple(sorted(name for cell in inside for name in cells[cell]))
    alone = bool((row[inside] == row[inside[0]]).all())
    return Shown(members, alone, tuple(sums[number].name for number in np.flatnonzero(combined).tolist()))


def _nearest(matrix: Row, cells: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int, int]]:
    """For each sum another one that differs from it by as few participants as any: by how many, and both numbers."""
    ones, sizes = matrix.astype(np.float32), np.array([len(cell) for cell in cells], dtype=np.float32)
    held = ones @ sizes
    for start in range(0, len(matrix) if len(matrix) > 1 else 0, _BLOCK):
        differ = held[start : start + _BLOCK, None] + held - 2 * (ones[start : start + _BLOCK] * sizes) @ ones.T
        for row, distances in enumerate(differ):
            distances[start + row] = np.inf
            other = int(np.argmin(distances))
            yield int(distances[other]), start + row, other


def _difference(one: KnownSum, other: KnownSum) -> Shown:
    more, less = one.survivors - other.survivors, other.survivors - one.survivors
    return Shown(tuple(sorted(more | less)), not (more and less), tuple(dict.fromkeys((one.name, other.name))))


def _smallest_of_each(found: Sequence[Shown]) -> tuple[Shown, ...]:
    """One for each set of participants, with as few sums as were found; the smallest sets first."""
    best: dict[tuple[str, ...], Shown] = {}
    for each in found:
        known = best.setdefault(each.members, each)
        if (not each.alone, len(each.sums)) < (not known.alone, len(known.sums)):
            best[each.members] = each
    return tuple(sorted(best.values(), key=lambda each: (len(each.members), not each.alone, each.members)))


def _standings(
    sums: Sequence[KnownSum], cells: Sequence[tuple[str, ...]], shown: Sequence[Shown]
) -> dict[str, Standing]:
    counts: dict[str, int] = {}
    for each in sums:
        for name in each.survivors:
            counts[name] = counts.get(name, 0) + 1
    fewest: dict[str, int] = {}
    for found in shown:  # the smallest first
        for name in found.members:
            fewest.setdefault(name, len(found.members))
    hidden = {name: len(cell) for cell in cells for name in cell}
    return {name: Standing(counts[name], hidden[name], fewest[name]) for name in sorted(counts)}


def as_facts(found: Participation) -> dict[str, Any]:
    """All of it as JSON has it."""
    return {
        "sums": found.sums,
        "cohorts": found.cohorts,
        "rank": found.rank,
        "cells": found.cells,
        "smallest_cell": list(found.smallest_cell),
        "singled_out": list(found.singled_out),
        "shown": [{"members": [*s.members], "alone": s.alone, "sums": [*s.sums]} for s in found.shown],
        "participants": {
            name: {"sums": each.sums, "cell": each.cell, "fewest": each.fewest}
            for name, each in found.standings.items()
        },
    }
