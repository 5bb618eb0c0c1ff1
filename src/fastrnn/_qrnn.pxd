from fastrnn._cell cimport CellOps

cdef CellOps qrnn_ops
