from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps sru_ops
cdef CellOps sru_projected_ops
