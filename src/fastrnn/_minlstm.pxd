from fastrnn._cell cimport CellOps

cdef CellOps minlstm_ops
