"""Live parameters, and whether they have changed since a copy was packed from them.

The parameter arrays are live: whoever holds one may write to it at any time. Packed copies are checked against a
fingerprint only while somebody else holds an array (seen by its reference count), so that a serving loop pays nothing
and a write is never missed.
"""

from cpython.object cimport PyObject
import sys

cimport numpy as cnp

from fastrnn._kernels cimport fingerprint

cnp.import_array()

cdef extern from "Python.h":
    Py_ssize_t references "Py_REFCNT"(PyObject *o)
    PyObject *PyTuple_GET_ITEM(object p, Py_ssize_t i)

# Without the GIL's reference counts every array counts as held.
cdef bint _counted = getattr(sys, "_is_gil_enabled", lambda: True)()


cdef class Watched:
    """Parameters by name: `params` is the module's own dict, which nobody else holds yet."""

    def __init__(self, params):
        self.params = params
        self.arrays = tuple(params.values())

    def expose(self):
        """The live parameters; from here on they may change without notice."""
        self.exposed = True
        return self.params

    cdef bint changed(self):
        """Whether the parameters may differ from those of the last copy; `settle` says that there is a new one."""
        cdef unsigned long long now
        if self.seen and not self.exposed:
            return False
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
        for array in self.arrays:
            value = fingerprint(cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array), value)
        return value

    cdef bint _held(self):
        """Whether anybody but the module and this object holds the dict of parameters or one of its arrays."""
        cdef Py_ssize_t i
        # Borrowed references only: the dict is held by the module and by this object, an array by the dict and the
        # tuple.
        if not _counted or references(<PyObject *>self.params) > 2:
            return True
        for i in range(len(self.arrays)):
            if references(PyTuple_GET_ITEM(self.arrays, i)) > 2:
                return True
        return False
