"""Live parameters, and whether they have changed since a copy was packed from them.

The parameter arrays are live: whoever holds one may write to it at any time. Packed copies are checked against a
fingerprint only while somebody else holds an array (seen by its reference count), so that a serving loop pays nothing
and a write is never missed.
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

# Without the GIL's reference counts every array counts as held.
cdef bint _counted = getattr(sys, "_is_gil_enabled", lambda: True)()


_loading = threading.RLock()    # one load at a time, so that no two can wait for each other


cdef class Gate:
    """Lets inference see all parameters of a module as they were before a load, or all as they are after it.

    Inference is inside ``with gate:``; a load, inside ``with gate.closing():``, waits until every other thread has come
    out, and these then wait for the load.
    """

    def __cinit__(self):
        self.readers = []

    def __reduce__(self):
        return Gate, ()

    def __enter__(self):
        me = PyThread_get_thread_ident()
        self.readers.append(me)
        while self.closed() and self.readers.count(me) == 1:    # who is inside already may go on
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
        """Until the load that is going on has ended."""
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
    """Parameters by name, the module's own dict, which nobody else holds yet. A subclass hands it to `pin`."""

    def __cinit__(self, *_, **__):
        self.gate = Gate()

    cdef int pin(self, object params) except -1:
        self.pinned = Pinned(params, "params")
        return 0

    def expose(self):
        """The live parameters; from here on they may change without notice."""
        self.exposed = True
        return self.pinned.mapping if self.pinned is not None else {}

    def before_load(self):
        """Called before parameters are loaded: a copy that others may use meanwhile is up to date then."""

    cdef bint changed(self) except -1:
        """Whether the parameters may differ from those of the last copy; `settle` says that there is a new one."""
        cdef unsigned long long now
        if self.seen and not self.exposed:
            return False
        if self.gate.closed():
            if self.seen:
                return False        # the copy of before the load
            self.gate.wait()
        self.pinned.check(False)
        now = self._fingerprint()
        self.exposed = self._held()
        if self.seen and now == self.mark:
            return False
        self.seen = False           # until the copy is there: making it may fail
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
