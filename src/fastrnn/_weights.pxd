from fastrnn._cell cimport CellOps, Layer
from fastrnn._watch cimport Watched
from fastrnn._workspace cimport Workspace

cdef class Weights(Watched):
    cdef Layer *layers              # [layers * directions]
    cdef readonly int count, directions, itemsize
    cdef const CellOps *ops
    cdef tuple grads
    cdef Packed packed

    cdef Packed forward_pack(self)
    cdef Packed backward_pack(self)
    cdef Packed _pack(self, bint for_forward)


cdef class Packed:
    cdef Workspace memory
    cdef Layer *layers
    cdef int count
