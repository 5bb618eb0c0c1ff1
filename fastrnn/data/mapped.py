"""Arrays in files (`numpy.memmap`), of which a batch is read at a time and never the whole."""

import contextlib
import math
import mmap

import numpy as np

# What is read of a file counts as memory of this process, up to here: then the pages are let go of. They stay in the
# system's cache, from where they come back at about 10 GB/s.
MOST_PAGES = 1 << 26
AROUND = 1 << 16  # bytes that the system maps around each place
CHUNK = 1 << 24  # bytes, in float64, that are looked at together


def is_mapped(array):
    """Whether an array's values lie in a memory-mapped file."""
    return _mapping(array) is not None


def _mapping(array):
    """The `numpy.memmap`, or the mmap, that an array is a view of, or None."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array._mmap is not None:
            return array
        array = array.base
    array = array.obj if isinstance(array, memoryview) else array
    return array if isinstance(array, mmap.mmap) else None


class Mapped:
    """An array in a file: shape and views at once, values row by row, in `dtype`.

    Parameters
    ----------
    array : array (N, ...)
        One that `is_mapped`.
    dtype : numpy.dtype
        That what is read becomes.
    convert : function, optional
        From rows (n, ...) of `dtype` to what stands for them, as many rows of another shape or dtype.
    rows : int array, optional
        Which rows of `array` there are, in this order.
    """

    def __init__(self, array, dtype, convert=None, rows=None, pages=None):
        self._array = np.asarray(array)
        self._dtype, self._convert, self._rows = np.dtype(dtype), convert, rows
        self._pages = _Pages(_mapping(array)) if pages is None else pages
        first = self._array[:1].astype(self._dtype) if convert is not None else self._array
        found = first if convert is None else convert(first)
        self.dtype = self._dtype if convert is None else found.dtype
        self.shape = (*(self._array.shape[:1] if rows is None else (len(rows),)), *found.shape[1:])

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return math.prod(self.shape)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        """A view, of which nothing is read; by an int, where there are rows or a conversion, that row itself."""
        chosen = isinstance(key, (list, np.ndarray))
        if self._rows is None and self._convert is None and not chosen:
            return Mapped(self._array[key], self._dtype, pages=self._pages)
        if isinstance(key, (int, np.integer)):
            return self.take(np.array([key]))[0]
        rows = np.arange(len(self._array)) if self._rows is None else self._rows
        return Mapped(self._array, self._dtype, self._convert, rows[key], self._pages)

    def astype(self, dtype, copy=False):
        """The same in another dtype."""
        if dtype == self.dtype:
            return self
        if self._convert is None:
            return Mapped(self._array, dtype, None, self._rows, self._pages)
        return self.converted(lambda rows: self._convert(rows).astype(dtype))

    def reshape(self, *shape):
        """The same in another shape."""
        return Mapped(self._array.reshape(*shape), self._dtype, pages=self._pages)

    def converted(self, convert):
        """The same with a conversion of its own."""
        return Mapped(self._array, self._dtype, convert, self._rows, self._pages)

    def take(self, indices, steps=None):
        """The rows at these places, an array of its own; of each no more than the first `steps` entries."""
        rows = indices if self._rows is None else self._rows[indices]
        found = self._array[rows if steps is None or self._convert is not None else (rows, slice(steps))]
        count = len(found)
        self._pages.count(count, found.nbytes // max(count, 1))
        found = found.astype(self._dtype, copy=False)
        if self._convert is None:
            return found
        found = self._convert(found)
        return found if steps is None else found[:, :steps]

    def read(self):
        """All of it, an array of its own: of a view that is as small as a batch."""
        if self._rows is not None or self._convert is not None:
            return self.take(np.arange(len(self)))
        found = np.array(self._array, self._dtype, order="C")
        self._pages.count(self.shape[0] if self.ndim > 1 else 1, found.nbytes // max(len(self), 1))
        return found


def chunks(values):
    """(slice, array) of some rows after others, all of an array in memory or in a file, with little memory.

    Where they are cut depends on the shape alone, and so do the bits of what is summed over them.
    """
    for part in cuts(values.shape):
        yield part, (values.take(np.arange(part.start, part.stop)) if isinstance(values, Mapped) else values[part])


def cuts(shape):
    """The slices of rows in which `chunks` takes an array of this shape."""
    rows = max(1, CHUNK // max(8 * math.prod(shape[1:]), 1))
    return [slice(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]


def read(values):
    """An array, of a file or in memory, in memory."""
    return values.read() if isinstance(values, Mapped) else values


class _Pages:
    """Lets go of a mapping's pages once many were read, where nothing is lost by it: no private changes lie in them."""

    def __init__(self, mapping):
        shared = isinstance(mapping, np.memmap) and mapping.mode != "c" and hasattr(mmap, "MADV_DONTNEED")
        self._mmap = mapping._mmap if shared else None
        self._held = 0

    def count(self, places, nbytes):
        """So many bytes were read at each of so many places."""
        self._held += places * max(nbytes, AROUND)
        if self._held >= MOST_PAGES and self._mmap is not None:
            self._held = 0
            with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
                self._mmap.madvise(mmap.MADV_DONTNEED)
