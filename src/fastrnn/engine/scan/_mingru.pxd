from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps mingru_ops
