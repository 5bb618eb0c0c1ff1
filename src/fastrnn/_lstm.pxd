from fastrnn._cell cimport CellOps

cdef CellOps lstm_ops
cdef CellOps lstm_projected_ops
