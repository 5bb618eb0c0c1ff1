from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps minlstm_ops
