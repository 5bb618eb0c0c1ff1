"""Which sequences of each batch a rank takes, and their states put together again."""

import numpy as np


class Share:
    """A rank's share of a `Sequences` or `LaneStream`: like the whole of it, but with fewer rows in its batches.

    The order of the batches, their number and the number of their windows are those of the whole. Rows are dealt
    out by length, longest first and there and back (0 1 1 0 0 1 ...), so that all ranks have about as many steps to
    compute; rank 0 has some wherever there are any.

    Parameters
    ----------
    data : Sequences or LaneStream
    rank, size : int

    Attributes
    ----------
    rows : list of list of array
        For each batch of the update in hand, the rows of every rank.
    """

    def __init__(self, data, rank, size):
        self.data, self.rank, self.size = data, rank, size
        self.rows = []

    def __getattr__(self, name):
        return getattr(self.data, name)

    def __len__(self):
        return len(self.data)

    def split(self, fraction):
        """Shares of the two parts."""
        return tuple(Share(part, self.rank, self.size) for part in self.data.split(fraction))

    def parts(self, indices):
        """The batches that make one update together, of all ranks."""
        parts = self.data.parts(indices)
        self.rows = [self.deal(part) for part in parts]
        return parts

    def windows(self, indices, start=0, **options):
        """This rank's rows of the windows of a batch; None for a window in which it has nothing."""
        mine = self.deal(indices)[self.rank]
        left = self.data.updates(indices) - start
        if len(mine):
            if self.data.carries:
                windows = (_take(window, mine) for window in self.data.windows(indices, start, **options))
            else:
                windows = self.data.windows(indices[mine], start, **options)
            for window in windows:
                left -= 1
                yield window
        yield from [None] * left

    def own(self):
        """The same without the windows in which this rank has nothing."""
        return _Own(self.data, self.rank, self.size)

    def deal(self, indices):
        """The rows of a batch that each rank takes, in ascending order."""
        if self.data.carries:
            return np.array_split(np.arange(len(self.data)), self.size)
        lengths = self.data.lengths
        longest_first = np.arange(len(indices)) if lengths is None else np.argsort(-lengths[indices], kind="stable")
        place = np.arange(len(indices)) % (2 * self.size)
        rank = np.minimum(place, 2 * self.size - 1 - place)
        return [np.sort(longest_first[rank == k]) for k in range(self.size)]


class _Own(Share):
    def windows(self, indices, start=0, **options):
        return (window for window in super().windows(indices, start, **options) if window is not None)


def _take(batch, rows):
    """These lanes, which lie side by side, of a `Batch` that has neither lengths nor weights."""
    lanes = slice(rows[0], rows[-1] + 1)
    return batch._replace(x=batch.x[lanes], y=batch.y[lanes])


def describe(state):
    """JSON-able form of a state, nested tuples and lists of arrays (L, B, H) and None: shapes without B, and dtypes."""
    if isinstance(state, (list, tuple)):
        return [describe(item) for item in state]
    return state if state is None else {"shape": [state.shape[0], *state.shape[2:]], "dtype": state.dtype.str}


def flatten(state, description, rows):
    """The bytes of the arrays of a state with `rows` rows, sequence after sequence in each; none without rows."""
    if isinstance(description, list):
        items = [None] * len(description) if state is None else state
        return b"".join(flatten(item, one, rows) for item, one in zip(items, description))
    if description is None or rows == 0:
        return b""
    return np.ascontiguousarray(state.swapaxes(0, 1)).tobytes()


def unflatten(parts, description, rows):
    """The state of all rows from every rank's `flatten`, which is consumed: `parts` is a list of [bytes]."""
    if isinstance(description, list):
        return tuple(unflatten(parts, item, rows) for item in description)
    if description is None:
        return None
    layers, *rest = description["shape"]
    dtype = np.dtype(description["dtype"])
    whole = np.empty((layers, sum(map(len, rows)), *rest), dtype)
    for part, mine in zip(parts, rows):
        size = len(mine) * layers * int(np.prod(rest)) * dtype.itemsize
        array = np.frombuffer(part[0][:size], dtype).reshape(len(mine), layers, *rest)
        whole[:, mine] = array.swapaxes(0, 1)
        part[0] = part[0][size:]
    return whole


def take_rows(state, rows):
    """The state of some rows of a batch."""
    if isinstance(state, (list, tuple)):
        return tuple(take_rows(item, rows) for item in state)
    return None if state is None else np.ascontiguousarray(state[:, rows])
