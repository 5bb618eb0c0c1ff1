from libc.stdint cimport uint64_t

from fastrnn.engine.runtime._arrays cimport Pinned
from fastrnn.engine.cells._cell cimport Layer
from fastrnn.engine.runtime._kernels cimport Precision
from fastrnn.engine.loops._noise cimport Probabilities
from fastrnn.engine.runtime._watch cimport Watched
from fastrnn.engine.runtime._workspace cimport Workspace

cdef class Weights(Watched):
    cdef Layer *layers              # [layers * directions]
    cdef readonly int count, directions, itemsize
    cdef readonly bint reverse      # the single direction reads backwards
    cdef readonly bint general      # cells of `_general`
    cdef Precision precision
    cdef list stored                # (layer, name, places of weights with few bits and of their scales, or -1)
    cdef Pinned grads
    cdef unsigned long long number  # of its own
    cdef Packed packed
    cdef Probabilities probabilities

    cdef Packed forward_pack(self)
    cdef Packed backward_pack(self)
    cdef Packed dropped_pack(self, double p, uint64_t seed, bint for_forward)
    cdef void add_dropped(self, Packed packed, double p, uint64_t seed) noexcept
    cdef int check(self, Packed packed, bint for_forward) except -1
    cdef int check_dropped(self, double p) except -1
    cdef char *_store(self, int layer, str name, str whole, tuple shape, set names) except NULL
    cdef object _pinned(self, int place)
    cdef int _restore(self, Layer *layer, int number, Workspace memory) except -1
    cdef int _withdraw(self, Layer *layer, int number) except -1
    cdef Packed _copies(self)
    cdef Packed _pack(self, Packed packed, bint for_forward)


cdef class Packed:
    cdef unsigned long long weights     # number of the `Weights` that it was packed from; 0: of none
    cdef bint for_forward
    cdef Workspace memory
    cdef Workspace dropped          # masked recurrent weights and their gradients; empty without dropped weights
    cdef Layer *layers
    cdef int count
