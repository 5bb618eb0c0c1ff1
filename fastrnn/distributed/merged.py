"""The states that a rank carries of its rows, and those of all ranks' rows, which a checkpoint holds."""

import json

from .share import describe, flatten, take_rows, unflatten


class MergedStates:
    """Remembers the states of all ranks' rows beside those of this rank's, of the last two updates.

    Parameters
    ----------
    ranks : Ranks
    """

    def __init__(self, ranks):
        self._ranks = ranks
        self._pairs = []  # (states of this rank's rows, states of all)

    def clear(self):
        """Forget them, as a fit begins."""
        self._pairs = []

    def divide(self, states, rows):
        """This rank's part of states of all rows; `rows` holds those of every rank, for each state."""
        mine = [take_rows(state, part[self._ranks.rank]) for state, part in zip(states, rows)]
        self._pairs = [(mine, states)]
        return mine

    def join(self, states, rows):
        """Put the states of all ranks' rows together; a call of all ranks."""
        description = describe(states)
        if any(len(mine) == 0 for part in rows for mine in part):  # then some rank has no state to tell from
            description = json.loads(self._ranks.broadcast_bytes(json.dumps(description).encode()))
        mine = [len(part[self._ranks.rank]) for part in rows]
        data = b"".join(flatten(*args) for args in zip(states, description, mine))
        parts = [[part] for part in self._ranks.gather_bytes(data)]
        merged = [unflatten(parts, *args) for args in zip(description, rows)]
        self._pairs = [*self._pairs[-1:], (states, merged)]

    def of(self, states):
        """The states of all ranks' rows, for these of this rank; those given where nothing was merged."""
        return next((merged for mine, merged in self._pairs if mine is states), states)
