"""What bids and parts of bids would weigh at most: the linear relaxation, as a guide.

A simplex tableau in floating point. Nothing is decided by it: its prices are rounded to
integers, and any integer prices give a valid bound (`proof`). Even so it finds the same
prices on every machine, as only elementwise sums, products and quotients are taken, which
IEEE 754 rounds in one way; numpy's sums and matrix products, whose order differs from
processor to processor, are not used.

Rows are basic variables and columns the others; a variable is a bid (0, 1, …) or what is
left of a place (−1 − place: a bucket, or a ring). The last column is the rows' values, the
last row what each column would add.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from solver.core.bid import BUCKETS_MAX

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]

NEAR_ZERO: Final = 1e-9
NOISE: Final = 1e-12
"""Of what should be zero; left in, it would fill the tableau."""
SHARE_MIN: Final = 1e-5
"""A bid that has less of its buckets has none of them."""
SPARSE: Final = 3
"""If fewer rows than one in so many change, they are changed by themselves."""
NUDGE: Final = 1e-7
"""By so much at most buckets are larger than 1, each by its own: no two rows tie."""
NUDGES: Final = 1_009
STEPS_MAX: Final = 20_000
"""Turns of one solve; where it stands then is a guide too, and the bound as valid."""


class Work:
    """What may be spent: cells of a tableau to change. No clock, so it is replayed."""

    __slots__ = ("left",)

    def __init__(self, cells: int) -> None:
        self.left = cells


class Relaxation:
    """One tableau. It stays as good a guide when bids come and go."""

    __slots__ = ("_cells", "_columns", "_rows", "_work")

    def __init__(self, cells: Floats, rows: Labels, columns: Labels, work: Work) -> None:
        self._cells = cells
        self._rows = rows
        self._columns = columns
        self._work = work

    @classmethod
    def of(cls, buckets: Iterable[int], work: Work) -> "Relaxation":
        """All of these buckets are there, and no bids."""
        rows = np.array([-1 - bucket for bucket in buckets], np.int64)
        cells = np.zeros((len(rows) + 1, 1))
        cells[:-1, 0] = 1 + NUDGE * ((rows * 7_919) % NUDGES) / NUDGES
        return cls(cells, rows, np.zeros(0, np.int64), work)

    def copy(self, work: Work) -> "Relaxation":
        """Another tableau, as this one stands."""
        return Relaxation(self._cells.copy(), self._rows.copy(), self._columns.copy(), work)

    def add(self, bids: Sequence[tuple[int, Sequence[int], float]]) -> None:
        """More bids: number, places, weight. A bid's column is the sum of its places'."""
        columns, rows = _places(self._columns), _places(self._rows)
        new = np.zeros((len(self._cells), len(bids)))
        for column, (_, places, value) in enumerate(bids):
            new[-1, column] = value
            for label in (-1 - place for place in places):
                if label in rows:
                    new[rows[label], column] += 1
                elif label in columns:
                    new[:, column] += self._cells[:, columns[label]]
        self._cells = np.concatenate((self._cells[:, :-1], new, self._cells[:, -1:]), axis=1)
        numbers = np.array([number for number, _, _ in bids], np.int64)
        self._columns = np.concatenate((self._columns, numbers))

    def limit(
        self, sizes: Sequence[tuple[int, int]], bids: Iterable[tuple[int, Sequence[int]]]
    ) -> None:
        """More places and how much fits, and what bids take of them: more than that, perhaps."""
        columns, rows = _places(self._columns), _places(self._rows)
        new = {place: np.zeros(self._cells.shape[1]) for place, _ in sizes}
        for place, size in sizes:
            new[place][-1] = size
        for number, places in bids:
            for place in new.keys() & set(places):
                count = places.count(place)
                if number in rows:
                    new[place] -= count * self._cells[rows[number]]
                elif number in columns:
                    new[place][columns[number]] += count
        self._cells = np.vstack((self._cells[:-1], *new.values(), self._cells[-1:]))
        labels = np.array([-1 - place for place in new], np.int64)
        self._rows = np.concatenate((self._rows, labels))

    def maximise(self) -> None:
        """Let in what adds most, for how much it moves (Devex), until nothing adds."""
        moves = np.ones(len(self._columns))
        for _ in range(STEPS_MAX):
            adds = np.maximum(self._cells[-1, :-1], 0.0)
            column = int((adds * adds / moves).argmax()) if len(adds) else -1
            if column < 0 or adds[column] <= NEAR_ZERO or self._work.left < 0:
                return
            entering = self._cells[:-1, column]
            can = np.flatnonzero(entering > NEAR_ZERO)
            if not len(can):
                return
            steps = self._cells[can, -1] / entering[can]
            row = int(can[steps.argmin()])
            pivot = self._cells[row, column]
            parts = self._cells[row, :-1] / pivot
            moved = moves[column]
            np.maximum(moves, parts * parts * moved, out=moves)
            moves[column] = max(moved / (pivot * pivot), 1.0)
            self._turn(row, column)

    def remove(self, bids: Collection[int], enough: float = 0.0) -> None:
        """Without these bids, at the least that it costs; until no more than enough is left."""
        gone = np.array(sorted(bids), np.int64)
        dead, live = np.isin(self._rows, gone), ~np.isin(self._columns, gone)
        for _ in range(STEPS_MAX):
            turn = self._next_out(dead, live)
            if turn is None or self._work.left < 0 or -self._cells[-1, -1] < enough - NUDGE:
                break
            row, column = turn
            live[column], dead[row] = not dead[row], False
            self._turn(row, column)
        idle = self._rows < -BUCKETS_MAX  # rings with room left
        self._keep(~np.isin(self._rows, gone) & ~idle, live)

    def _next_out(self, dead: Flags, live: Flags) -> tuple[int, int] | None:
        """The row that is worst off, and the column that mends it at the least cost."""
        values = self._cells[:-1, -1]
        wrong = np.where(dead, np.abs(values), -values)
        if not len(wrong) or not len(live):
            return None
        row = int(wrong.argmax())
        if wrong[row] <= NEAR_ZERO:
            return None
        entering = self._cells[row, :-1] if values[row] > 0 else -self._cells[row, :-1]
        can = np.flatnonzero((entering > NEAR_ZERO) & live)
        if not len(can):
            return None
        costs = -self._cells[-1, can] / entering[can]
        return row, int(can[costs.argmin()])

    def raise_all_but(self, bids: Collection[int], amount: float) -> None:
        """Let every other bid weigh so much more."""
        others = (self._columns >= 0) & ~np.isin(self._columns, list(bids))
        self._cells[-1, :-1] += np.where(others, amount, 0)
        for row, label in enumerate(self._rows.tolist()):
            if label >= 0 and label not in bids:
                self._cells[-1] -= amount * self._cells[row]

    def drop(self, bids: Collection[int]) -> None:
        """Forget bids that are out anyhow, if they have no share."""
        gone = np.array(sorted(bids), np.int64)
        self._keep(np.ones(len(self._rows), np.bool_), ~np.isin(self._columns, gone))

    def _keep(self, rows: Flags, columns: Flags) -> None:
        kept = self._cells[:, np.append(columns, True)]
        self._cells = kept[np.append(rows, True)]
        self._rows, self._columns = self._rows[rows], self._columns[columns]

    def _turn(self, row: int, column: int) -> None:
        """The row's variable and the column's change places."""
        cells = self._cells
        pivot = cells[row, column]
        leaving, entering = cells[row] / pivot, cells[:, column].copy()
        touched = np.flatnonzero(np.abs(entering) > NOISE)
        if len(touched) * SPARSE < len(entering):
            cells[touched] -= entering[touched, None] * leaving
        else:
            cells -= entering[:, None] * leaving
        cells[:, column] = -entering / pivot
        leaving[column] = 1 / pivot
        cells[row] = leaving
        self._rows[row], self._columns[column] = self._columns[column], self._rows[row]
        self._work.left -= cells.size

    def prices(self, unit: int) -> dict[int, int]:
        """What each place is worth here, in integers; `unit`, which is 1.0, at most."""
        costs = zip(self._columns.tolist(), self._cells[-1, :-1].tolist(), strict=True)
        return {
            -1 - label: int(min(1.0, -cost) * unit)
            for label, cost in costs
            if label < 0 and cost < -NOISE
        }

    def shares(self) -> dict[int, float]:
        """How much of each bid is in, where any is."""
        values = zip(self._rows.tolist(), self._cells[:-1, -1].tolist(), strict=True)
        return {label: value for label, value in values if label >= 0 and value > SHARE_MIN}


def _places(labels: Labels) -> dict[int, int]:
    return {label: place for place, label in enumerate(labels.tolist())}
