from fastrnn._cell cimport CellOps

cdef CellOps lngru_ops
