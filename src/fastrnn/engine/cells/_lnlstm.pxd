from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps lnlstm_ops
cdef CellOps lnlstm_projected_ops
