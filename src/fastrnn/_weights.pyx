"""A runner's parameters, their gradients, and the packed copies that the kernels read."""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cimport numpy as cnp

from fastrnn._gru cimport gru_after_ops, gru_before_ops
from fastrnn._kernels cimport kernels
from fastrnn._lstm cimport lstm_ops, lstm_projected_ops
from fastrnn._rnn cimport rnn_ops
from fastrnn._watch cimport Watched
from fastrnn._workspace cimport Arena

cnp.import_array()

cdef char *_data(object array):
    return <char *>cnp.PyArray_DATA(array) if array is not None else NULL


cdef class Packed:
    """One packing of all layers; calls in flight keep the one they started with."""

    def __cinit__(self, int count):
        self.memory = Workspace()
        self.count = count
        self.layers = <Layer *>calloc(count, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.layers)


cdef class Weights(Watched):
    """Parameters and gradients of `num_layers` x `directions` cells.

    `names` holds for each layer and direction the keys of (weight_ih, weight_hh, bias_ih, bias_hh, weight_hr) in
    `params` and `grads`; absent ones are None. All arrays are C-contiguous and of one dtype.
    """

    def __init__(self, str cell, params, grads, list names, list input_sizes, int hidden, int directions,
                 bint relu=False, bint reset_after=True):
        cdef Layer *layer
        cdef int i
        super().__init__(params)
        self.grads = tuple(grads.values())      # the layers point into these arrays
        self.directions = directions
        self.count = len(names)
        self.itemsize = next(iter(params.values())).itemsize
        projected = names[0][4] is not None
        if cell == "LSTM":
            self.ops = &lstm_projected_ops if projected else &lstm_ops
        elif cell == "GRU":
            self.ops = &gru_after_ops if reset_after else &gru_before_ops
        else:
            self.ops = &rnn_ops
        self.layers = <Layer *>calloc(self.count, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError
        for i in range(self.count):
            layer = &self.layers[i]
            layer.k = kernels(self.itemsize)
            layer.ops = self.ops
            layer.input_size = input_sizes[i]
            layer.hidden = hidden
            layer.out = params[names[i][4]].shape[0] if projected else hidden
            layer.gates = self.ops.gates * hidden
            layer.extra = self.ops.extra * hidden
            layer.relu = relu
            w_ih, w_hh, b_ih, b_hh, w_hr = (params.get(name) for name in names[i])
            layer.w_ih, layer.w_hh, layer.b_ih = _data(w_ih), _data(w_hh), _data(b_ih)
            layer.b_hh, layer.w_hr = _data(b_hh), _data(w_hr)
            w_ih, w_hh, b_ih, b_hh, w_hr = (grads.get(name) for name in names[i])
            layer.dw_ih, layer.dw_hh, layer.db_ih = _data(w_ih), _data(w_hh), _data(b_ih)
            layer.db_hh, layer.dw_hr = _data(b_hh), _data(w_hr)

    def __dealloc__(self):
        free(self.layers)

    cdef Packed forward_pack(self):
        """The current packing for the forward pass, made anew when a parameter has changed."""
        if self.changed():
            self.packed = self._pack(True)
            self.settle()
        return self.packed

    cdef Packed backward_pack(self):
        return self._pack(False)

    cdef Packed _pack(self, bint for_forward):
        cdef Packed packed = Packed.__new__(Packed, self.count)
        cdef Arena arena
        cdef int i, turn
        memcpy(packed.layers, self.layers, self.count * sizeof(Layer))
        for turn in range(2):
            arena.base = packed.memory.data if turn else NULL
            arena.used = 0
            for i in range(self.count):
                if for_forward:
                    self.ops.pack_forward(&packed.layers[i], &arena)
                else:
                    self.ops.pack_backward(&packed.layers[i], &arena)
            if turn == 0:
                packed.memory.reserve(arena.used)
        return packed
