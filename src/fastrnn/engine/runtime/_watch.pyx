"""Live parameters, and whether they have changed since a copy was packed from them.

The parameter arrays are live: who holds one may write to it at any time. While somebody else holds an array, which its
reference count shows, each call compares a fingerprint; otherwise nobody can write, and the check costs nothing.
"""

from contextlib import contextmanager
import sys
import threading
import time

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport Pinned
from fastrnn.engine.runtime._kernels cimport fingerprint

cnp.import_array()

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil

# Without the GIL reference counts do not tell, so every array counts as held.
cdef bint _counted = getattr(sys, "_is_gil_enabled", lambda: True)()


_loading = threading.RLock()    # one load at a time, so that no two can wait for each other


cdef class Gate:
    """Inference sees either all parameters of a module from before a load, or all from after it.

    Inference runs inside ``with gate:``. A load runs inside ``with gate.closing():``; it waits until every other thread
    has left, and threads that come later wait for the load.
    """

    def __cinit__(self):
        self.readers = []

    def __reduce__(self):
        return Gate, ()

    def __enter__(self):
        me = PyThread_get_thread_ident()
        self.readers.append(me)
        while self.closed() and self.readers.count(me) == 1:    # a thread that is inside already may go on
            self.readers.remove(me)
            self.wait()
            self.readers.append(me)
        return self

    def __exit__(self, *error):
        self.readers.remove(PyThread_get_thread_ident())

    cdef bint closed(self):
        """Whether another thread loads parameters now."""
        return self.writing > 0 and self.writer != PyThread_get_thread_ident()

    cdef int wait(self) except -1:
        """Wait until the current load has ended."""
        with _loading:
            return 0

    @contextmanager
    def closing(self):
        """The context of a load."""
        with _loading:
            self.writer = PyThread_get_thread_ident()
            self.writing += 1
            try:
                while any(reader != self.writer for reader in self.readers):
                    time.sleep(0.0001)
                yield
            finally:
                self.writing -= 1


cdef class Watched:
    """Parameters by name. A subclass hands the module's own dict, which nobody else holds yet, to `pin`."""

    def __cinit__(self, *_, **__):
        self.gate = Gate()

    cdef int pin(self, object params) except -1:
        self.pinned = Pinned(params, "params")
        return 0

    def expose(self):
        """The live parameters; from here on they may change without notice."""
        self.exposed = True
        return self.pinned.mapping if self.pinned is not None else {}

    def intact(self):
        """Raise if the shape, type or memory of a parameter has changed."""
        if self.pinned is not None:
            self.pinned.check(False)

    def before_load(self):
        """Called before a load, to bring the copy up to date that others use meanwhile."""

    cdef bint changed(self) except -1:
        """Whether the parameters may differ from those of the last copy; call `settle` after making a new copy."""
        cdef unsigned long long now
        if self.seen and not self.exposed:
            return False
        if self.gate.closed():
            if self.seen:
                return False        # use the copy from before the load
            self.gate.wait()
        self.pinned.check(False)
        now = self._fingerprint()
        self.exposed = self._held()
        if self.seen and now == self.mark:
            return False
        self.seen = False           # until the copy exists: making it may fail
        self.mark = now
        return True

    cdef void settle(self) noexcept:
        self.seen = True

    cdef unsigned long long _fingerprint(self):
        cdef unsigned long long value = 0
        for array in self.pinned.arrays:
            value = fingerprint(cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array), value)
        return value

    cdef bint _held(self):
        """Whether anybody but the module and this object holds the dict of parameters or one of its arrays."""
        return not _counted or self.pinned.held()
