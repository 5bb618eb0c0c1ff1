from fastrnn._cell cimport CellOps

cdef CellOps rnn_ops
