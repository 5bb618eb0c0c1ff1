from fastrnn._cell cimport CellOps, Layer
from fastrnn._workspace cimport Workspace

cdef class Weights:
    cdef Layer *layers              # [layers * directions]
    cdef readonly int count, directions, itemsize
    cdef const CellOps *ops
    cdef object params, grads
    cdef tuple arrays               # every parameter array, for the fingerprint
    cdef readonly bint exposed      # somebody may hold, and write to, a parameter array
    cdef unsigned long long print_
    cdef Packed packed

    cdef Packed forward_pack(self)
    cdef Packed backward_pack(self)
    cdef bint _held(self)
    cdef unsigned long long _fingerprint(self)
    cdef Packed _pack(self, bint for_forward)


cdef class Packed:
    cdef Workspace memory
    cdef Layer *layers
    cdef int count
