from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps rnn_ops
