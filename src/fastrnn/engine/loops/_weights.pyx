"""A runner's parameters, their gradients, and the packed copies that the kernels read."""

from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport WRITE, Pinned, check_array, check_probability, typenum_of
from fastrnn.engine.cells._activations cimport activation_of
from fastrnn.engine.runtime._backend cimport blas_context, products
from fastrnn.engine.cells._cell cimport CellOps, Gains, Options
from fastrnn.engine.cells._general cimport (
    gru_after_general_ops, gru_before_general_ops, lstm_general_ops, lstm_general_projected_ops, rnn_general_ops)
from fastrnn.engine.cells._gru cimport gru_after_ops, gru_before_ops
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.cells._lngru cimport lngru_ops
from fastrnn.engine.cells._lnlstm cimport lnlstm_ops, lnlstm_projected_ops
from fastrnn.engine.cells._lstm cimport lstm_ops, lstm_projected_ops
from fastrnn.engine.scan._mingru cimport mingru_ops
from fastrnn.engine.scan._minlstm cimport minlstm_ops
from fastrnn.engine.loops._noise cimport FOR_WEIGHTS, drop_weights, purpose_seed
from fastrnn.engine.scan._qrnn cimport qrnn_ops
from fastrnn.engine.cells._rnn cimport rnn_ops
from fastrnn.engine.scan._sru cimport sru_ops, sru_projected_ops
from fastrnn.engine.runtime._watch cimport Watched
from fastrnn.engine.runtime._workspace cimport Arena, take_array

cnp.import_array()

_CELLS = ("RNN", "LSTM", "GRU", "MinGRU", "MinLSTM", "SRU", "QRNN")

cdef enum:
    # Bytes: rows of z that would lie a multiple of SHARED_SETS apart lie a LINE further apart, so that they do not
    # share few sets of the caches: dW at 93 GFLOP/s instead of 77 (bench/NOTES.md, Distance between rows of z).
    SHARED_SETS = 1024
    LINE = 64
    MOST_UNITS = 2147483647
    NAMES = 13                      # of the arrays of one direction of one layer


cdef char *_data(object array):
    return <char *>cnp.PyArray_DATA(array) if array is not None else NULL


cdef const CellOps *ops_of(str cell, bint projected, bint skips, bint reset_after, bint layer_norm,
                           bint general) except NULL:
    """The step functions of one layer; general: with other activations, clipping, coupled gates or peepholes."""
    if general and (layer_norm or cell not in ("RNN", "LSTM", "GRU")):
        raise ValueError(f"cell: expected an RNN, LSTM or GRU without layer_norm for other activations, clipping, "
                         f"coupled gates or peepholes; found {cell}")
    if general and cell == "LSTM":
        return &lstm_general_projected_ops if projected else &lstm_general_ops
    if general and cell == "GRU":
        return &gru_after_general_ops if reset_after else &gru_before_general_ops
    if general:
        return &rnn_general_ops
    if cell == "LSTM":
        if layer_norm:
            return &lnlstm_projected_ops if projected else &lnlstm_ops
        return &lstm_projected_ops if projected else &lstm_ops
    if cell == "GRU":
        if layer_norm:
            return &lngru_ops
        return &gru_after_ops if reset_after else &gru_before_ops
    if cell == "SRU":
        return &sru_ops if skips else &sru_projected_ops
    if cell == "MinGRU":
        return &mingru_ops
    if cell == "MinLSTM":
        return &minlstm_ops
    if cell == "QRNN":
        return &qrnn_ops
    return &rnn_ops


cdef unsigned long long _made = 0       # Weights so far


cdef int _check_cell(Weights weights, str cell, tuple names, dict params, dict grads, fr_int features, int i,
                     fr_int hidden, fr_int window, bint projected, bint reset_after, bint layer_norm,
                     bint general) except -1:
    """Raise unless the arrays of one direction of one layer have the shapes that its kernels read and write."""
    cdef int typenum = typenum_of(weights.itemsize)
    cdef fr_int out = hidden, rows
    cdef bint skips = cell == "SRU" and features == hidden
    cdef const CellOps *ops = ops_of(cell, projected, skips, reset_after, layer_norm, general)
    if projected and names[4] in params:
        out = cnp.PyArray_DIM(params[names[4]], 0)
    if i >= weights.directions and features != weights.directions * out or not 1 <= features <= MOST_UNITS:
        raise ValueError(f"input_sizes[{i}]: expected the width of the layer below, found {features}")
    if ops.scan_forward == NULL and (names[2] is None) != (names[3] is None):
        raise ValueError(f"names[{i}]: expected both biases or none, found {names[2:4]}")
    rows = ops.gates * hidden
    # Whether the cell needs each array, in the order of `names`.
    needed = (True, ops.scan_forward == NULL, False, False, projected, layer_norm, layer_norm,
              layer_norm and cell == "LSTM", False, cell == "SRU", False, False, False)
    biases = 2 * hidden if cell == "SRU" else rows
    shapes = ((rows, window * features), (rows, out), (biases,), (biases,), (out, hidden), (rows,), (rows,), (hidden,),
              (hidden,), (2 * hidden,), (hidden,), (hidden,), (hidden,))
    for name, shape, need in zip(names, shapes, needed):
        if name is None and need:
            raise ValueError(f"names[{i}]: expected every array that a {cell} needs, found None among them")
        if name is None:
            continue
        for arrays, what in ((params, "params"), (grads, "grads")):
            check_array(arrays.get(name), f"{what}[{name!r}]", typenum, WRITE, shape[0],
                        shape[1] if len(shape) == 2 else -1)
    if any(name is not None for name in names[10:]) and (cell != "LSTM" or not general):
        raise ValueError(f"names[{i}]: expected peepholes of an LSTM only, found {names[10:]}")
    if not projected and names[4] is not None or ops.scan_forward != NULL and names[1] is not None:
        raise ValueError(f"names[{i}]: expected no weights that a {cell} has not, found {names[1]} and {names[4]}")
    return 0


cdef class Packed:
    """One packing of all layers; calls in flight keep the one they started with."""

    def __cinit__(self, int count):
        if count < 1:
            raise ValueError(f"count: expected at least 1 layer, found {count}")
        self.memory = Workspace()
        self.dropped = Workspace()
        self.count = count
        self.layers = <Layer *>calloc(count, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.layers)


cdef class Weights(Watched):
    """Parameters and gradients of `num_layers` x `directions` cells.

    `names` holds for each layer and direction the keys of (weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, gain_ih,
    gain_hh, gain_c, bias_c, weight_c, weight_ci, weight_cf, weight_co) in `params` and `grads`; absent ones are None.
    All arrays are C-contiguous and of one dtype. activations: for each direction the (name, alpha, beta) of f, g and h;
    with them, clip or coupled gates the cell is one of `_general`.
    """

    def __cinit__(self, str cell, params, grads, list names not None, list input_sizes not None, fr_int hidden,
                  int directions, bint relu=False, bint reset_after=True, bint layer_norm=False, fr_int window=1,
                  double skip_scale=1.0, activations=None, double clip=INFINITY, bint coupled=False,
                  bint reverse=False):
        cdef Layer *layer
        cdef Options *options
        cdef int i, part
        cdef bint general = activations is not None
        global _made
        _made += 1
        self.number = _made
        self.pin(params)
        self.grads = Pinned(grads, "grads")     # the layers point into these arrays
        # Dicts of our own: nobody can change them between the check and the use.
        params = dict(zip(self.pinned.names, self.pinned.arrays))
        grads = dict(zip(self.grads.names, self.grads.arrays))
        names = [tuple(entry) for entry in names]
        input_sizes = [int(size) for size in input_sizes]
        if cell not in _CELLS:
            raise ValueError(f"cell: expected one of {', '.join(_CELLS)}; found {cell!r}")
        if not params or any(len(entry) != NAMES for entry in names):
            raise ValueError(f"params, names: expected arrays, and {NAMES} names or None for each layer and direction")
        if (directions not in (1, 2) or not names or len(names) % directions or len(input_sizes) != len(names)
                or min(hidden, window) < 1 or max(hidden, window) > MOST_UNITS):
            raise ValueError("names, input_sizes, hidden, directions, window: expected one entry for each direction of "
                             f"each layer and sizes of 1 to {MOST_UNITS}, found {len(names)}, {len(input_sizes)}, "
                             f"{hidden}, {directions} and {window}")
        if reverse and directions != 1:
            raise ValueError(f"reverse: expected False with {directions} directions")
        self.reverse = reverse
        self.general = general
        self.directions = directions
        self.count = len(names)
        self.itemsize = cnp.PyArray_ITEMSIZE(self.pinned.arrays[0])
        projected = cell == "LSTM" and names[0][4] is not None
        if not clip > 0:
            raise ValueError(f"clip: expected a number above 0, found {clip}")
        if general:
            activations = [[tuple(entry) for entry in one] for one in activations]
            if len(activations) != directions or any(len(one) != 3 for one in activations):
                raise ValueError(f"activations: expected f, g and h for each of {directions} directions")
        elif clip != INFINITY or coupled or any(name is not None for entry in names for name in entry[10:]):
            raise ValueError("activations: expected with clip, coupled gates and peepholes, found None")
        for i in range(self.count):
            if input_sizes[i] != input_sizes[i // directions * directions]:
                raise ValueError(f"input_sizes[{i}]: expected that of the layer's other direction, found "
                                 f"{input_sizes[i]}")
            _check_cell(self, cell, names[i], params, grads, input_sizes[i], i, hidden, window, projected, reset_after,
                        layer_norm, general)
        self.layers = <Layer *>calloc(self.count, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError
        for i in range(self.count):
            layer = &self.layers[i]
            layer.k = products(self.itemsize)
            layer.skips = cell == "SRU" and input_sizes[i] == hidden
            layer.skip_scale = skip_scale
            layer.ops = ops_of(cell, projected, layer.skips, reset_after, layer_norm, general)
            layer.features = input_sizes[i]
            layer.window = window
            layer.input_size = window * layer.features
            layer.hidden = hidden
            layer.out = cnp.PyArray_DIM(params[names[i][4]], 0) if projected else hidden
            layer.gates = layer.ops.gates * hidden
            layer.ld_z = layer.gates + (LINE // self.itemsize if layer.gates * self.itemsize % SHARED_SETS == 0 else 0)
            layer.saved = layer.ops.saved * hidden + layer.ops.stats
            layer.relu = relu
            if general:
                options = &layer.options
                options.f, options.g, options.h = [activation_of(one) for one in activations[i % directions]]
                options.clip, options.coupled = clip, coupled
            for part in range(3):
                layer.p_c[part] = _data(params.get(names[i][10 + part]))
                layer.dp_c[part] = _data(grads.get(names[i][10 + part]))
                layer.peeps = layer.peeps or layer.p_c[part] != NULL
            w_ih, w_hh, b_ih, b_hh, w_hr, *gains, w_c = (params.get(name) for name in names[i][:10])
            layer.gains = Gains(_data(gains[0]), _data(gains[1]), _data(gains[2]), _data(gains[3]))
            layer.w_ih, layer.w_hh, layer.b_ih = _data(w_ih), _data(w_hh), _data(b_ih)
            layer.b_hh, layer.w_hr, layer.w_c = _data(b_hh), _data(w_hr), _data(w_c)
            w_ih, w_hh, b_ih, b_hh, w_hr, *gains, w_c = (grads.get(name) for name in names[i][:10])
            layer.dgains = Gains(_data(gains[0]), _data(gains[1]), _data(gains[2]), _data(gains[3]))
            layer.dw_ih, layer.dw_hh, layer.db_ih = _data(w_ih), _data(w_hh), _data(b_ih)
            layer.db_hh, layer.dw_hr, layer.dw_c = _data(b_hh), _data(w_hr), _data(w_c)

    def __dealloc__(self):
        free(self.layers)

    def before_load(self):
        if self.seen:
            self.forward_pack()

    cdef Packed forward_pack(self):
        """The current packing for the forward pass, made anew when a parameter has changed."""
        if self.changed():
            self.packed = self._pack(self._copies(), True)
            self.settle()
        return self.packed

    cdef int check(self, Packed packed, bint for_forward) except -1:
        """Raise unless `packed` is a packing of these weights for forward passes, or for BPTT."""
        if packed.weights != self.number or packed.for_forward != for_forward:
            raise ValueError(f"packed: expected a packing of these weights for {'forward' if for_forward else 'BPTT'}, "
                             "found another")
        return 0

    cdef int check_dropped(self, double p) except -1:
        """Raise unless p is a probability, and 0 if there are no recurrent weights to drop."""
        check_probability("weight", p)
        if p > 0 and self.layers.w_hh == NULL:
            raise ValueError(f"weight: expected 0 of a cell without recurrent weights, found {p}")
        return 0

    cdef Packed backward_pack(self):
        blas_context()      # first, because the import of BLAS may fail
        self.pinned.check(False)
        return self._pack(self._copies(), False)

    cdef Packed dropped_pack(self, double p, uint64_t seed, bint for_forward):
        """A packing for one call with each recurrent weight dropped with probability p. For BPTT it has gradients of
        its own, which `add_dropped` adds to the weights'."""
        cdef Packed packed = self._copies()
        cdef Layer *layer
        cdef Arena arena
        cdef int i, turn
        cdef fr_int nbytes
        cdef char *w_hh
        cdef char *dw_hh
        self.pinned.check(False)
        if not for_forward:
            blas_context()
        for turn in range(2):
            arena.base = packed.dropped.data if turn else NULL
            arena.used = 0
            for i in range(self.count):
                layer = &packed.layers[i]
                nbytes = layer.gates * layer.out * layer.k.itemsize
                w_hh = take_array(&arena, layer.gates, layer.out, layer.k.itemsize)
                dw_hh = take_array(&arena, 0 if for_forward else layer.gates, layer.out, layer.k.itemsize)
                if turn == 0:
                    continue
                drop_weights(w_hh, self.layers[i].w_hh, layer.k.itemsize, layer.gates, layer.out, p,
                             purpose_seed(seed, i, FOR_WEIGHTS), False)
                layer.w_hh = w_hh
                if not for_forward:
                    layer.dw_hh = dw_hh
                    memset(layer.dw_hh, 0, nbytes)
            if turn == 0:
                packed.dropped.reserve(arena.used)
        return self._pack(packed, for_forward)

    cdef void add_dropped(self, Packed packed, double p, uint64_t seed) noexcept:
        """Add the gradients that a pack for BPTT has collected to those of the weights that were not dropped."""
        cdef const Layer *layer
        cdef int i
        for i in range(self.count):
            layer = &packed.layers[i]
            drop_weights(self.layers[i].dw_hh, layer.dw_hh, layer.k.itemsize, layer.gates, layer.out, p,
                         purpose_seed(seed, i, FOR_WEIGHTS), True)

    def set_dropout(self, double recurrent, double zone_h, double zone_c, double weight):
        """Probabilities of recurrent dropout, of zoneout for h and c, and of dropped recurrent weights."""
        for name, p in (("recurrent", recurrent), ("zone_h", zone_h), ("zone_c", zone_c)):
            check_probability(name, p)
            if p > 0 and self.layers.ops.scan_forward != NULL:
                raise ValueError(f"{name}: expected 0 of a cell whose products depend on no state, found {p}")
        self.check_dropped(weight)
        self.probabilities = Probabilities(recurrent, zone_h, zone_c, weight)

    cdef Packed _copies(self):
        cdef Packed packed = Packed.__new__(Packed, self.count)
        memcpy(packed.layers, self.layers, self.count * sizeof(Layer))
        return packed

    cdef Packed _pack(self, Packed packed, bint for_forward):
        cdef Arena arena
        cdef int i, turn
        for turn in range(2):
            arena.base = packed.memory.data if turn else NULL
            arena.used = 0
            for i in range(self.count):
                if for_forward:
                    self.layers[i].ops.pack_forward(&packed.layers[i], &arena)
                else:
                    self.layers[i].ops.pack_backward(&packed.layers[i], &arena)
            if turn == 0:
                packed.memory.reserve(arena.used)
        packed.weights = self.number
        packed.for_forward = for_forward
        return packed
