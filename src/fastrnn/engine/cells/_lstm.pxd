from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps lstm_ops
cdef CellOps lstm_projected_ops
