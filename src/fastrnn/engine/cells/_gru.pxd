from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps gru_after_ops
cdef CellOps gru_before_ops
