from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps qrnn_ops
