"""A runner's parameters, their gradients, and the packed copies that the kernels read."""

from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport WRITE, Pinned, check_array, check_probability, typenum_of
from fastrnn.engine.cells._activations cimport activation_of
from fastrnn.engine.runtime._backend cimport blas_context, products
from fastrnn.engine.cells._cell cimport Options
from fastrnn.engine.cells._kind cimport Kind, field
from fastrnn.engine.runtime._kernels cimport FULL, INT8, Precision, fr_int
from fastrnn.engine.loops._noise cimport FOR_WEIGHTS, drop_weights, purpose_seed
from fastrnn.engine.runtime._stored cimport check_stored, precision_of, restore
from fastrnn.engine.runtime._watch cimport Watched
from fastrnn.engine.runtime._workspace cimport Arena, take_array

from fastrnn.engine.runtime._stored import SCALE as _SCALE

cnp.import_array()

cdef enum:
    # Bytes: rows of z that would lie a multiple of SHARED_SETS apart lie a LINE further apart, so that they do not
    # share few sets of the caches: dW at 93 GFLOP/s instead of 77 (bench/NOTES.md, Distance between rows of z).
    SHARED_SETS = 1024
    LINE = 64
    MOST_UNITS = 2147483647


cdef unsigned long long _made = 0       # Weights so far


cdef char *_data(dict arrays, str name, str what, int typenum, tuple shape) except NULL:
    """The memory of the array of this name, which has the shape that the kernels read and write."""
    array = arrays.get(name)
    check_array(array, f"{what}[{name!r}]", typenum, WRITE, shape[0], shape[1] if len(shape) == 2 else -1)
    return <char *>cnp.PyArray_DATA(array)


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
    """Parameters and gradients of `num_layers` x `directions` cells of one kind.

    words: what they have beside the kind's own, see `_kind`. For each layer and direction `suffixes` holds the ends of
    its parameters' names, and `input_sizes` the width of its inputs. All arrays are C-contiguous and of one dtype.
    projection: P, or 0. activations: for each direction the (name, alpha, beta) of f, g and h; they take the
    functions of `_general`.
    weight_format: "int8" or "bf16" for inference with matrices of fewer bits, see `_stored`. There are then no
    gradients.
    """

    def __cinit__(self, Kind kind not None, words, params, grads, list suffixes not None, list input_sizes not None,
                  fr_int hidden, int directions, fr_int projection=0, bint relu=False, fr_int window=1,
                  double skip_scale=1.0, activations=None, double clip=INFINITY, bint coupled=False,
                  bint reverse=False, str weight_format="float"):
        cdef Layer *layer
        cdef Options *options
        cdef int i
        cdef bint general = activations is not None
        cdef fr_int out = projection or hidden
        cdef Precision precision = precision_of(weight_format)
        global _made
        self.precision = precision
        _made += 1
        self.number = _made
        self.pin(params)
        self.grads = Pinned(grads, "grads")     # the layers point into these arrays
        # Dicts of our own: nobody can change them between the check and the use.
        params = dict(zip(self.pinned.names, self.pinned.arrays))
        grads = dict(zip(self.grads.names, self.grads.arrays))
        suffixes = [str(suffix) for suffix in suffixes]
        input_sizes = [int(size) for size in input_sizes]
        words = frozenset(words)
        if not params:
            raise ValueError("params: expected arrays, found none")
        if (directions not in (1, 2) or not suffixes or len(suffixes) % directions or len(input_sizes) != len(suffixes)
                or min(hidden, out, window) < 1 or max(hidden, out, window) > MOST_UNITS):
            raise ValueError("suffixes, input_sizes, hidden, directions, projection, window: expected one entry for "
                             f"each direction of each layer and sizes of 1 to {MOST_UNITS}, found {len(suffixes)}, "
                             f"{len(input_sizes)}, {hidden}, {directions}, {projection} and {window}")
        if reverse and directions != 1:
            raise ValueError(f"reverse: expected False with {directions} directions")
        self.reverse = reverse
        self.general = general
        self.directions = directions
        self.count = len(suffixes)
        self.stored = []
        self.itemsize = 4 if precision != FULL else cnp.PyArray_ITEMSIZE(self.pinned.arrays[0])
        if not clip > 0:
            raise ValueError(f"clip: expected a number above 0, found {clip}")
        if general:
            activations = [[tuple(entry) for entry in one] for one in activations]
            if len(activations) != directions or any(len(one) != 3 for one in activations):
                raise ValueError(f"activations: expected f, g and h for each of {directions} directions")
        elif clip != INFINITY or coupled or "peepholes" in words:
            raise ValueError("activations: expected with clip, coupled gates and peepholes, found None")
        if general != ("general" in words) or (projection > 0) != ("projection" in words) or "square" in words:
            raise ValueError(f"words: expected general with activations, projection with projection, no square; found "
                             f"{', '.join(sorted(words))}")
        self.layers = <Layer *>calloc(self.count, sizeof(Layer))
        if self.layers == NULL:
            raise MemoryError
        names, typenum = set(), typenum_of(self.itemsize)
        for i in range(self.count):
            if input_sizes[i] != input_sizes[i // directions * directions]:
                raise ValueError(f"input_sizes[{i}]: expected that of the layer's other direction, found "
                                 f"{input_sizes[i]}")
            if i >= directions and input_sizes[i] != directions * out or not 1 <= input_sizes[i] <= MOST_UNITS:
                raise ValueError(f"input_sizes[{i}]: expected the width of the layer below, found {input_sizes[i]}")
            layer = &self.layers[i]
            layer.k = products(self.itemsize, precision)
            layer.features = input_sizes[i]
            layer.skip_scale = skip_scale
            completed = kind.completed(words, layer.features, hidden)
            layer.ops = kind.find(completed)
            layer.skips = "square" in completed
            layer.window = window
            layer.input_size = window * layer.features
            layer.hidden = hidden
            layer.out = out
            layer.gate_size = layer.ops.gates * hidden
            apart = LINE // self.itemsize if layer.gate_size * self.itemsize % SHARED_SETS == 0 else 0
            layer.ld_z = layer.gate_size + apart
            layer.saved = layer.ops.saved * hidden + layer.ops.stats
            layer.relu = relu
            if general:
                options = &layer.options
                options.f, options.g, options.h = [activation_of(one) for one in activations[i % directions]]
                options.clip, options.coupled = clip, coupled
            for name, placed in kind.layout(words, layer.features, hidden, out, window).items():
                whole = name + suffixes[i]
                names.add(whole)
                if precision != FULL and len(placed.shape) == 2:
                    field(&layer.params, name)[0] = self._store(i, name, whole, placed.shape, names)
                    continue
                field(&layer.params, name)[0] = _data(params, whole, "params", typenum, placed.shape)
                if precision == FULL:
                    field(&layer.grads, name)[0] = _data(grads, whole, "grads", typenum, placed.shape)
        if params.keys() != names or grads.keys() != (names if precision == FULL else set()):
            raise ValueError(f"params, grads: expected {', '.join(sorted(names))}; found {', '.join(sorted(params))} "
                             f"and {', '.join(sorted(grads))}")

    cdef char *_store(self, int layer, str name, str whole, tuple shape, set names) except NULL:
        """Note where a matrix of few bits and its scales are; returns its memory, which stands for the matrix."""
        cdef tuple known = self.pinned.names
        weight = known.index(whole) if whole in known else -1
        scale = -1
        if self.precision == INT8:
            names.add(whole + _SCALE)
            scale = known.index(whole + _SCALE) if whole + _SCALE in known else -1
        check_stored(self._pinned(weight), self._pinned(scale), f"params[{whole!r}]", self.precision, shape[0],
                     shape[1])
        self.stored.append((layer, name, weight, scale))
        return <char *>cnp.PyArray_DATA(self.pinned.arrays[weight])

    cdef object _pinned(self, int place):
        return self.pinned.arrays[place] if place >= 0 else None

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
        if p > 0 and (self.layers.params.weight_hh == NULL or self.stored):
            raise ValueError("weight: expected 0 of a cell without recurrent weights, or with weights of few bits, "
                             f"found {p}")
        return 0

    cdef Packed backward_pack(self):
        if self.stored:
            raise ValueError("weight_format: expected float for BPTT, found weights for inference only")
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
                nbytes = layer.gate_size * layer.out * layer.k.itemsize
                w_hh = take_array(&arena, layer.gate_size, layer.out, layer.k.itemsize)
                dw_hh = take_array(&arena, 0 if for_forward else layer.gate_size, layer.out, layer.k.itemsize)
                if turn == 0:
                    continue
                drop_weights(w_hh, self.layers[i].params.weight_hh, layer.k.itemsize, layer.gate_size, layer.out, p,
                             purpose_seed(seed, i, FOR_WEIGHTS), False)
                layer.params.weight_hh = w_hh
                if not for_forward:
                    layer.grads.weight_hh = dw_hh
                    memset(layer.grads.weight_hh, 0, nbytes)
            if turn == 0:
                packed.dropped.reserve(arena.used)
        return self._pack(packed, for_forward)

    cdef void add_dropped(self, Packed packed, double p, uint64_t seed) noexcept:
        """Add the gradients that a pack for BPTT has collected to those of the weights that were not dropped."""
        cdef const Layer *layer
        cdef int i
        for i in range(self.count):
            layer = &packed.layers[i]
            drop_weights(self.layers[i].grads.weight_hh, layer.grads.weight_hh, layer.k.itemsize, layer.gate_size,
                         layer.out, p, purpose_seed(seed, i, FOR_WEIGHTS), True)

    def set_dropout(self, double recurrent, double zone_h, double zone_c, double weight):
        """Probabilities of recurrent dropout, of zoneout for h and c, and of dropped recurrent weights."""
        for name, p in (("recurrent", recurrent), ("zone_h", zone_h), ("zone_c", zone_c)):
            check_probability(name, p)
            if p > 0 and self.layers.ops.scan_forward != NULL:
                raise ValueError(f"{name}: expected 0 of a cell whose products depend on no state, found {p}")
        self.check_dropped(weight)
        self.probabilities = Probabilities(recurrent, zone_h, zone_c, weight)

    cdef int _restore(self, Layer *layer, int number, Workspace memory) except -1:
        """Point a layer at its matrices as floats, which stay until the next call."""
        cdef Arena arena
        cdef int turn
        cdef char *to
        for turn in range(2):
            arena.base = memory.data if turn else NULL
            arena.used = 0
            for i, name, weight, scale in self.stored:
                if i != number:
                    continue
                to = take_array(&arena, cnp.PyArray_SIZE(self._pinned(weight)), 1, sizeof(float))
                if turn == 1:
                    restore(<float *>to, self._pinned(weight), self._pinned(scale))
                    field(&layer.params, name)[0] = to
            memory.reserve(arena.used)
        return 0

    cdef int _withdraw(self, Layer *layer, int number) except -1:
        """Point a layer at its matrices as they are stored, because those of `_restore` go."""
        for i, name, weight, _ in self.stored:
            if i == number:
                field(&layer.params, name)[0] = <char *>cnp.PyArray_DATA(self._pinned(weight))
        return 0

    cdef Packed _copies(self):
        cdef Packed packed = Packed.__new__(Packed, self.count)
        memcpy(packed.layers, self.layers, self.count * sizeof(Layer))
        return packed

    cdef Packed _pack(self, Packed packed, bint for_forward):
        cdef Arena arena
        cdef int i, turn
        cdef Workspace restored = Workspace()
        for turn in range(2):
            arena.base = packed.memory.data if turn else NULL
            arena.used = 0
            for i in range(self.count):
                if for_forward:
                    if turn == 1 and self.stored:
                        self._restore(&packed.layers[i], i, restored)
                    self.layers[i].ops.pack_forward(&packed.layers[i], &arena)
                    if turn == 1 and self.stored:
                        self._withdraw(&packed.layers[i], i)
                else:
                    self.layers[i].ops.pack_backward(&packed.layers[i], &arena)
            if turn == 0:
                packed.memory.reserve(arena.used)
        packed.weights = self.number
        packed.for_forward = for_forward
        return packed
