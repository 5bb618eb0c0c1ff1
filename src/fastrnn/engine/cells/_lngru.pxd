from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps lngru_ops
