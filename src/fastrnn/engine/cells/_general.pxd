from fastrnn.engine.cells._cell cimport CellOps

cdef CellOps rnn_general_ops
cdef CellOps lstm_general_ops
cdef CellOps lstm_general_projected_ops
cdef CellOps gru_after_general_ops
cdef CellOps gru_before_general_ops
