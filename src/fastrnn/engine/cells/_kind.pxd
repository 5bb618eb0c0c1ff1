"""What a cell is; see ``_kind.pyx``."""

from fastrnn.engine.cells._cell cimport CellOps, Params

cdef enum:
    MOST_OPS = 8

cdef class Kind:
    cdef readonly str name, opening
    cdef readonly tuple gates, states, activations, parameters
    cdef readonly object orders
    cdef list served                    # frozensets of words, and for each
    cdef const CellOps *ops[MOST_OPS]   # the functions

    cdef int serve(self, const CellOps *ops, str words=*) except -1
    cdef const CellOps *find(self, words) except NULL

cdef char **field(Params *params, str name) except NULL
