from fastrnn._cell cimport CellOps

cdef CellOps mingru_ops
