"""All layers and directions of a runner over a batch.

`_call` describes a call, `_carve` places its arrays in one block (`Activations`), and `_run` holds the workers' tasks.
This module plans calls and checks their arrays. A call may run a `Span` of the steps; the calls of all spans give the
bits of one call over all steps.
Callers in Python check the arguments and word the errors for users; here they are checked again before their memory is
used.
"""

from typing import NamedTuple

import numpy as np

cimport numpy as cnp

from fastrnn.engine.runtime._arrays cimport (
    COPIED, ROWS, WRITE, Pinned, check_array, check_probability, own_ints, plain, plain_parts, typenum_of)
from fastrnn.engine.runtime._backend cimport blas_context, by_blas
from fastrnn.engine.loops._call cimport MAX_PARTS, backwards, block_of, layer_of, layer_seed, runs_of
from fastrnn.engine.loops._carve cimport carve, carve_bptt
from fastrnn.engine.cells._cell cimport Layer, step_work
from fastrnn.engine.loops._dropout cimport drop_sequence
from fastrnn.engine.runtime._kernels cimport FR_NO_ROUND, fr_int, fr_load, fr_product, fr_store, fr_swap, has_barrier
from fastrnn.engine.runtime._pool cimport reserve, run, run_reserved, workers_for
from fastrnn.engine.runtime._rows cimport Rows, View, index_rows, scatter
from fastrnn.engine.loops._run cimport add_sums, backward_task, forward_task, weights_task
from fastrnn.engine.loops._sequence cimport Run
from fastrnn.engine.runtime._signals cimport PIECE, STEP_COST, look_now, settle, watch
from fastrnn.engine.runtime._workspace cimport Arena, Workspace, free_workspace, keep_workspace, pop_or_none

cnp.import_array()

cdef enum:
    # Least multiply-adds of one step for which a lone sequence gets a team: at 0.22 million two threads are 1.17 times
    # as fast as one (bench/NOTES.md, Teams).
    WORTH_A_TEAM = 200000
    # More parts than threads even out a thread that runs late: in turn with NumPy 1.20 times the sum of both instead of
    # 1.44 (bench/NOTES.md, Parts for a thread).
    PARTS_A_THREAD = 4              # most parts of inference
    PART_ROWS = 4                   # least sequences of a part in inference
    KEPT_PART_ROWS = 8              # in training
    SHARE_ROWS = 256                # least rows of a share of a weight gradient
    NEARBY_BYTES = 16777216         # of weights a layer, up to which small parts cost nothing
    # Least rows of a part that is made small so that a signal can end the call soon.
    LONG_STEP_ROWS = 32


class Span(NamedTuple):
    """The steps from `start` to `stop` of each sequence, in the order of each direction, through one layer or all.

    `start` is a multiple of `Engine.block`. Bidirectional layers can only be run one at a time.
    """

    start: int
    stop: int
    layer: int | None = None


cdef void _view(View *view, object array, const fr_int *starts) noexcept:
    """array: (T, B, width), or (N, width) with starts; None gives no data."""
    view.data = NULL
    view.starts = starts
    if array is not None:
        view.data = <char *>cnp.PyArray_DATA(array)
        view.stride_t = cnp.PyArray_STRIDE(array, 0)
        view.stride_b = cnp.PyArray_STRIDE(array, 1)


cdef char *_data(object array) noexcept:
    return <char *>cnp.PyArray_DATA(array) if array is not None else NULL


cdef class Activations:
    @property
    def served(self):
        """Whether BPTT has used this tape, or somebody is using it."""
        return not fr_load(&self.ready)

    cdef int take(self, Engine engine) except -1:
        """Give this tape to the caller alone."""
        if self.owner is not engine or not fr_swap(&self.ready, 0):
            raise ValueError("tape: expected one from a new forward(), found one that backward() has used or is using")
        return 0

    cdef void put_back(self) noexcept:
        fr_store(&self.ready, 1)


cdef class Engine:
    """Runs sequences through the layers of `weights`; arrays are time-major views with a contiguous last axis."""

    def __cinit__(self, Weights weights not None):
        cdef int i
        self.weights = weights
        for i in range(weights.count):
            self.window_width = max(self.window_width, (weights.layers[i].window - 1) * weights.layers[i].features)
        self.directions = weights.directions
        self.layers = weights.count // weights.directions
        self.free_calls = []
        self.memories = []
        self.backward_memories = []
        self.gradient_memories = []

    cdef Activations _activations(self, bint keep):
        """Activations with memory for one call; with `keep` always new ones, for a tape."""
        cdef Activations act = None if keep else pop_or_none(self.free_calls)
        if act is None:
            act = Activations()
        act.memory = free_workspace(self.memories)
        return act

    cdef int _deal(self, Call *call, fr_int B, fr_int T, fr_int total) except -1:
        """Decide how many threads the call is worth, and whether they share the sequences or the columns of a lone
        one."""
        cdef fr_int madds = 0, most = 1, rows
        cdef int i
        for i in range(-call.cell, self.weights.count - call.cell):      # all layers, so that a span is shared alike
            madds += step_work(&call.packed[i])
            most = max(most, step_work(&call.packed[i]))
        call.madds = fr_product(madds, total) + fr_product(T, self.weights.count * <fr_int>STEP_COST)
        call.interrupt = NULL
        call.threads = workers_for(fr_product(madds, total))
        call.parts = <int>max(1, min(call.threads, B))
        call.shares = call.threads * (2 if call.packed.gate_size >= 2 * SHARE_ROWS * call.threads else 1)
        if call.parts > 1 and madds * call.packed.k.itemsize <= NEARBY_BYTES * self.weights.count:
            if not call.keep:
                call.parts = <int>max(call.parts, min(PARTS_A_THREAD * call.threads, B // PART_ROWS))
            elif total == B * T:
                call.parts = <int>max(call.parts, min(2 * call.threads, B // KEPT_PART_ROWS))
            call.parts = min(call.parts, MAX_PARTS)
        # A signal can end a call only between two steps, and a step of few rows ends soon.
        rows = max(<fr_int>LONG_STEP_ROWS, (2 if call.keep else 1) * PIECE // most)
        call.parts = <int>min(max(call.parts, (B + rows - 1) // rows), MAX_PARTS)
        call.team.size = 1
        call.team.arrived = call.team.round = 0
        call.team.last = FR_NO_ROUND
        if B == 1 and call.threads > 1 and has_barrier() and (
                call.packed.ops.scan_forward != NULL or madds >= WORTH_A_TEAM * self.weights.count):
            call.team.size = call.threads
        return 0

    def plan(self, fr_int batch, fr_int steps):
        """How threads share inference on `batch` sequences of `steps` valid steps in all: (parts of the batch, threads
        that share the columns of a lone sequence, threads in all)."""
        cdef Call call
        if min(batch, steps) < 0:
            raise ValueError(f"batch, steps: expected at least 0, found {batch} and {steps}")
        call.keep = False
        call.cell = 0
        cdef Packed packed = self.weights.forward_pack()
        call.packed = packed.layers
        self._deal(&call, batch, steps // max(1, batch), steps)
        return call.parts, call.team.size, call.threads

    cdef object _share(self, Activations act, object x, object y, object lengths, bint keep, double dropout,
                       uint64_t seed, fr_int first, object span):
        """Deal the sequences to the workers; with lengths, return the sequences' order, longest first."""
        cdef Call *call = &act.call
        cdef Rows *rows
        cdef fr_int b, total = 0, B, T, start = 0, stop
        cdef bint packed_rows = x.ndim == 2
        cdef fr_int[::1] order
        cdef fr_int[::1] length
        cdef int part
        if packed_rows:
            B = len(lengths)
            T = lengths.max() if B else 0
        else:
            T = x.shape[0]
            B = x.shape[1]
            total = B * T
        stop = T
        call.layers = self.layers
        call.cell = 0
        if span is not None:
            start, stop = span.start, min(T, span.stop)
            if span.layer is not None:
                call.layers = 1
                call.cell = span.layer * self.directions
        call.directions = self.directions
        call.reverse = self.weights.reverse
        call.keep = keep
        call.dropout = dropout
        call.probabilities = self.weights.probabilities
        call.seed = seed
        call.first = first + start
        call.start = start
        call.whole = T
        call.adds_dx = span is not None and self.directions == 2
        call.packed = act.packed.layers + call.cell
        call.batch = B
        act.starts = None
        if packed_rows:
            act.starts = np.zeros(max(B, 1), np.int64)
            np.cumsum(lengths[:B - 1], out=act.starts[1:])
        _view(&call.x, x, <const fr_int *>_data(act.starts))
        _view(&call.y, y, <const fr_int *>_data(act.starts))
        if lengths is not None:
            length = lengths
            order = np.argsort(-lengths, kind="stable")
            total = lengths.sum()
        self._deal(call, B, T, total)
        call.y_in_place = not keep and lengths is None and T > 0 and y is not None
        call.x_in_place = (not keep and not call.reverse and lengths is None and call.parts == 1
                           and cnp.PyArray_ISALIGNED(x)
                           and call.x.stride_t == B * call.packed.features * call.packed.k.itemsize
                           and (B == 1 or call.x.stride_b * B == call.x.stride_t))
        for part in range(call.parts):
            rows = &call.rows[part]
            rows.start = start
            rows.block = block_of(B)
            if lengths is None:
                rows.first = B * part // call.parts
                rows.batch = B * (part + 1) // call.parts - rows.first
                rows.steps = stop - start if rows.batch else 0
                rows.count = rows.batch * rows.steps
            else:
                # Dealt in turn, longest first, so every worker gets about as many steps. A span leaves out sequences
                # that have fewer steps than `start`.
                rows.batch = rows.steps = rows.count = 0
                for b in range(part, B, call.parts):
                    if length[order[b]] < start:
                        break
                    rows.batch += 1
                    rows.count += min(length[order[b]], stop) - start
                if rows.batch:
                    rows.steps = min(length[order[part]], stop) - start
        return None if lengths is None else np.asarray(order)

    cdef int _prepare(self, Activations act, object x, object y, object lengths, bint keep, double dropout,
                      uint64_t seed, fr_int first, object span) except -1:
        """Deal the sequences to the workers and place all arrays."""
        cdef Call *call = &act.call
        cdef Rows *rows
        cdef Arena arena
        cdef fr_int b, number, stop
        cdef fr_int[::1] order
        cdef fr_int[::1] length
        cdef int part
        found = self._share(act, x, y, lengths, keep, dropout, seed, first, span)
        if lengths is not None:
            order = found
            length = lengths
        stop = call.whole if span is None else min(call.whole, <fr_int>span.stop)
        arena.base = NULL
        arena.used = 0
        carve(call, &arena)
        act.memory.reserve(arena.used)
        arena.base = act.memory.data
        arena.used = 0
        carve(call, &arena)
        for part in range(call.parts):
            rows = &call.rows[part]
            for b in range(rows.batch):
                if lengths is None:
                    number = rows.first + b
                    rows.whole[b] = call.whole
                else:
                    number = order[part + b * call.parts]
                    rows.whole[b] = length[number]
                rows.length[b] = min(rows.whole[b], stop) - call.start
                rows.seq[b] = number
            index_rows(rows)
        return 0

    def infer(self, x, y, initial, final, lengths=None):
        """Inference: fills y: (T, B, D*P) and the final states.

        initial, final: a state's parts h, c and last inputs w, each (layers * directions, B, .), or None.
        lengths: int64 (B,) or None. x: (N, I) and y: (N, D*P) hold the valid steps of one sequence after another.
        """
        cdef Activations act = self._activations(False)
        x, y, initial, final = plain(x), plain(y), plain_parts(initial, "initial"), plain_parts(final, "final")
        act.packed = self.weights.forward_pack()
        lengths = self._check_forward(act, x, y, initial, final, lengths, None, False)
        self._prepare(act, x, y, lengths, False, 0.0, 0, 0, None)
        self._forward(act, initial, final)
        self._give_back(act)

    def forward(self, x, y, initial, final, lengths=None, double dropout=0.0, uint64_t seed=0, fr_int first=0,
                span=None, Packed packed=None, bint keep=True):
        """The training pass: as `infer`, and returns the tape for `backward`.

        `dropout` acts between layers; the seed determines every mask; `first` is the number of the first step.

        span: a `Span` of the steps; initial and final are then the states before and after it, and final is not written
        for a sequence that has ended before. y may then be None. packed: from `packs`. Without `keep` there is no tape.
        """
        cdef Activations act = self._activations(keep)
        check_probability("dropout", dropout)
        x, y, initial, final = plain(x), plain(y), plain_parts(initial, "initial"), plain_parts(final, "final")
        act.packed = self.packs(self.weights.probabilities.weight, seed, True) if packed is None else packed
        self.weights.check(act.packed, True)
        lengths = self._check_forward(act, x, y, initial, final, lengths, span, True)
        self._prepare(act, x, y, lengths, keep, dropout, seed, first, span)
        self._forward(act, initial, final)
        if keep:
            act.owner = self
            act.put_back()
            return act
        self._give_back(act)

    cdef object _check_forward(self, Activations act, x, y, initial, final, lengths, span, bint may_lack_y):
        """Check the arguments of `infer` and `forward`; return a copy of lengths that nobody else can write to."""
        cdef fr_int batch, steps = 0, rows = 0, layers = self.layers, features = self.weights.layers.features
        cdef int typenum = typenum_of(self.weights.itemsize)
        cdef fr_int width = self.weights.layers.out * self.directions
        if not isinstance(x, np.ndarray) or cnp.PyArray_NDIM(x) not in (2, 3):
            raise ValueError("x: expected shape (T, B, I) or (N, I)")
        if cnp.PyArray_NDIM(x) == 2:
            rows = cnp.PyArray_DIM(x, 0)
            if lengths is None:
                raise ValueError("lengths: expected those of the sequences whose steps follow one another, found None")
            lengths = own_ints(lengths, "lengths", -1, 0, rows)
            batch = len(lengths)
            steps = lengths.max() if batch else 0
            if lengths.sum() != rows:
                raise ValueError(f"lengths: expected {rows} steps in all, as x has rows; found {lengths.sum()}")
        else:
            steps, batch = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
            if lengths is not None:
                lengths = own_ints(lengths, "lengths", batch, 0, steps)
        if span is not None:
            layers = self._check_span(span, steps, batch)
            features = self.weights.layers[(span.layer or 0) * self.directions].features
        if cnp.PyArray_NDIM(x) == 2:
            check_array(x, "x", typenum, ROWS | COPIED, rows, features)
            if y is not None:
                check_array(y, "y", typenum, WRITE | ROWS, rows, width)
        else:
            check_array(x, "x", typenum, ROWS | COPIED, steps, batch, features)
            if y is not None:
                check_array(y, "y", typenum, WRITE | ROWS, steps, batch, width)
        if y is None and not may_lack_y:
            raise ValueError("y: expected an array, found None")
        self._check_states(initial, "initial", COPIED, layers, batch)
        self._check_states(final, "final", WRITE, layers, batch)
        act.layers, act.rows, act.packed_rows = layers, rows, cnp.PyArray_NDIM(x) == 2
        return lengths

    cdef fr_int _check_span(self, span, fr_int steps, fr_int batch) except -1:
        """Check the steps and the layer of a span; return the number of layers that it runs through."""
        if (type(span) is not Span or type(span.start) is not int or type(span.stop) is not int
                or not 0 <= span.start <= min(span.stop, steps) or span.start % block_of(batch)):
            raise ValueError(f"span: expected steps 0 <= start <= stop of {steps}, the first one a multiple of "
                             f"{block_of(batch)}; found {span!r}")
        if span.layer is None and self.directions == 1:
            return self.layers
        if type(span.layer) is not int or not 0 <= span.layer < self.layers:
            raise ValueError(f"span: expected a layer of 0 to {self.layers - 1}, found {span.layer!r}")
        return 1

    cdef int _check_states(self, tuple parts, str name, int kind, fr_int layers, fr_int batch) except -1:
        """Check h, c and the last inputs, each (layers * directions, B, .) or None."""
        cdef const Layer *cell = self.weights.layers
        cdef fr_int widths[3]
        cdef fr_int i, count = layers * self.directions
        cdef int typenum = typenum_of(self.weights.itemsize)
        widths[0], widths[1], widths[2] = cell.out, cell.hidden, self.window_width
        for i in range(3):
            if parts[i] is None:
                continue
            if batch == 1 and isinstance(parts[i], cnp.ndarray) and cnp.PyArray_NDIM(parts[i]) == 2:
                check_array(parts[i], f"{name}[{i}]", typenum, kind, count, widths[i])
            else:
                check_array(parts[i], f"{name}[{i}]", typenum, kind, count, batch, widths[i])
        return 0

    cdef int _check_backward(self, Activations act, dy, tuple dfinal, dx, tuple dinitial, dh) except -1:
        """Check the arguments of `backward`, apart from the tape."""
        cdef const Call *call = &act.call
        cdef int typenum = typenum_of(self.weights.itemsize)
        cdef fr_int width = self.weights.layers.out * self.directions
        cdef fr_int features = self.weights.layers[call.cell].features
        for array, name, kind, size in ((dy, "dy", ROWS | COPIED, width), (dx, "dx", WRITE | ROWS, features)):
            if array is None:
                continue
            if act.packed_rows:
                check_array(array, name, typenum, kind, act.rows, size)
            else:
                check_array(array, name, typenum, kind, call.whole, call.batch, size)
        if dh is not None:
            check_array(dh, "dh", typenum, WRITE | ROWS, act.layers * self.directions, call.whole, call.batch,
                        self.weights.layers.out)
        self._check_states(dfinal, "dfinal", COPIED, act.layers, call.batch)
        self._check_states(dinitial, "dinitial", WRITE, act.layers, call.batch)
        self.weights.grads.check(True)
        return 0

    def packs(self, double p, uint64_t seed, bint for_forward):
        """The packed weights of one pass, each recurrent weight dropped with probability p."""
        self.weights.check_dropped(p)
        if p > 0:
            return self.weights.dropped_pack(p, seed, for_forward)
        return self.weights.forward_pack() if for_forward else self.weights.backward_pack()

    def collect(self, Packed packed not None, double p, uint64_t seed):
        """Add the gradients that a pack for BPTT has collected, once all spans have used it."""
        self.weights.check(packed, False)
        self.weights.grads.check(True)
        self.weights.check_dropped(p)
        if p > 0:
            self.weights.add_dropped(packed, p, seed)

    def block(self, fr_int batch):
        """Steps of a block of weight gradients of this batch."""
        return block_of(batch)

    def drop(self, x, lengths, double dropout, uint64_t seed, fr_int first, int layer):
        """Drop values of x: (T, B, width) or (N, width), the input of `layer`, as `forward` does between layers."""
        cdef View view
        cdef Call call
        cdef int typenum = typenum_of(self.weights.itemsize)
        cdef fr_int b, count
        x = plain(x)
        check_probability("dropout", dropout)
        if not isinstance(x, np.ndarray) or cnp.PyArray_NDIM(x) not in (2, 3) or layer < 0:
            raise ValueError("x, layer: expected shape (T, B, width) or (N, width) and a layer of 0 or more")
        if cnp.PyArray_NDIM(x) == 3:
            check_array(x, "x", typenum, WRITE | ROWS, x.shape[0], x.shape[1], x.shape[2])
            count = x.shape[1]
        else:
            check_array(x, "x", typenum, WRITE | ROWS, x.shape[0], x.shape[1])
            count = -1
        if lengths is not None or count < 0:
            lengths = own_ints(lengths, "lengths", count, 0, x.shape[0])
            count = len(lengths)
            if x.ndim == 2 and lengths.sum() != x.shape[0]:
                raise ValueError(f"lengths: expected {x.shape[0]} steps in all, found {lengths.sum()}")
        starts = np.cumsum(lengths) - lengths if x.ndim == 2 else None
        _view(&view, x, <const fr_int *>_data(starts))
        call.seed = seed
        for b in range(count):
            drop_sequence(&view, x.itemsize, x.shape[x.ndim - 1], b, len(x) if lengths is None else lengths[b], first,
                          dropout, layer_seed(&call, layer))

    def measure(self, fr_int batch, fr_int steps, lengths=None, double dropout=0.0, span=None):
        """Bytes that the training pass takes: (forward, and BPTT beside it)."""
        cdef Activations act = Activations()
        cdef Arena arena, bptt
        if min(batch, steps) < 0:
            raise ValueError(f"batch, steps: expected at least 0, found {batch} and {steps}")
        if lengths is not None:
            lengths = own_ints(lengths, "lengths", batch, 0, 2**40)     # a span may hold only a part of the steps
        if span is not None:
            self._check_span(span, steps, batch)
        act.packed = self.weights.forward_pack()
        x = np.broadcast_to(np.float32(0), (steps, batch, 1))
        self._share(act, x, None, lengths, True, dropout, 0, 0, span)
        arena.base = bptt.base = NULL
        arena.used = bptt.used = 0
        carve(&act.call, &arena)
        carve_bptt(&act.call, &bptt)
        return arena.used, bptt.used

    cdef int _forward(self, Activations act, tuple initial, tuple final) except -1:
        cdef Call *call = &act.call
        call.h0, call.c0, call.w0 = _data(initial[0]), _data(initial[1]), _data(initial[2])
        call.hn, call.cn, call.wn = _data(final[0]), _data(final[1]), _data(final[2])
        call.w_bytes = self.window_width * self.weights.itemsize
        call.interrupt = watch(&call.signals, call.madds)
        if not by_blas(call.packed.k, &call.packed.p_ih):
            return self._run_forward(call)
        with blas_context():
            return self._run_forward(call)

    cdef int _run_forward(self, Call *call) except -1:
        cdef int workers
        with nogil:
            if call.team.size > 1:
                # Members of a team wait for one another, so it has only as many as there are free threads now.
                workers = call.team.size = reserve(call.team.size)
                run_reserved(forward_task, call, workers, call.interrupt)
            else:
                run(forward_task, call, call.parts, call.threads, call.interrupt)
        return settle(call.interrupt)

    cdef int _add_weight_gradients(self, Activations act, Workspace memory) except -1:
        """Add up what BPTT has left in `act` and `memory`, and give both back. If a signal ends this, the gradients are
        as they were before."""
        cdef Call *call = &act.call
        cdef Pinned grads = self.weights.grads
        cdef Workspace before = None
        call.interrupt = watch(&call.signals, call.madds) if call.madds > PIECE else NULL
        if call.interrupt != NULL:
            # The memory is kept between calls: new pages took 8 of 51 ms (bench/NOTES.md, Copies of gradients).
            before = free_workspace(self.gradient_memories)
            grads.copy_to(before)
        try:
            with nogil:
                run(weights_task, call, call.shares, call.threads, call.interrupt)
            settle(call.interrupt)
            with nogil:
                add_sums(call)
            keep_workspace(self.backward_memories, memory, 1)   # hundreds of MB take milliseconds to free
            self._give_back(act)
            with nogil:
                look_now(call.interrupt)    # a signal at the last moment still restores the gradients
            settle(call.interrupt)
        except BaseException:
            if before is not None:
                grads.copy_back(before)
            raise
        finally:
            if before is not None:
                keep_workspace(self.gradient_memories, before, 1)
        return 0

    def backward(self, Activations act not None, dy, dfinal, dx, dinitial, dh=None, Packed packed=None):
        """BPTT from `act`, which it uses up: fills dx and dinitial (None: not wanted) and adds to the gradients.

        dh: (layers * directions, T, B, P) or None. BPTT writes the whole gradient of h_t into it (of c_t for cells
        whose h is no state) for every step that a sequence has. With the tape of a span dinitial is not written for a
        sequence that has ended before, and bidirectional layers add to dx. packed: from `packs`; the caller must then
        call `collect`.
        """
        cdef Call *call = &act.call
        cdef Workspace memory
        cdef const fr_int *starts
        cdef bint collects = packed is None
        dy, dx, dh = plain(dy), plain(dx), plain(dh)
        dfinal, dinitial = plain_parts(dfinal, "dfinal"), plain_parts(dinitial, "dinitial")
        act.take(self)
        try:
            if packed is None:
                packed = self.packs(call.probabilities.weight, call.seed, False)
            self.weights.check(packed, False)
            self._check_backward(act, dy, dfinal, dx, dinitial, dh)
            memory = self._place_bptt(act, packed)
            starts = <const fr_int *>_data(act.starts)
            _view(&call.dy, dy, starts)
            _view(&call.dx, dx, starts)
            call.dhn, call.dcn, call.dwn = _data(dfinal[0]), _data(dfinal[1]), _data(dfinal[2])
            call.dh0, call.dc0, call.dw0 = _data(dinitial[0]), _data(dinitial[1]), _data(dinitial[2])
            _view(&call.dh_steps, dh[0] if dh is not None else None, NULL)
            call.dh_layer = dh.strides[0] if dh is not None else 0
        except BaseException:
            act.put_back()      # nothing has changed
            raise
        call.team.last = FR_NO_ROUND
        with blas_context():
            self._run_backward(call)
            self._add_weight_gradients(act, memory)
        if collects:
            self.collect(packed, call.probabilities.weight, call.seed)

    cdef int _run_backward(self, Call *call) except -1:
        cdef int workers
        call.interrupt = watch(&call.signals, call.madds)
        with nogil:
            if call.packed.ops.scan_backward == NULL:
                call.team.size = 1
            if call.team.size > 1:
                workers = call.team.size = reserve(call.team.size)
                run_reserved(backward_task, call, workers, call.interrupt)
            else:
                run(backward_task, call, call.parts, call.threads, call.interrupt)
        return settle(call.interrupt)

    cdef Workspace _place_bptt(self, Activations act, Packed packed):
        """Memory that holds the arrays of the backward pass."""
        cdef Workspace memory = free_workspace(self.backward_memories)
        cdef Arena arena
        cdef int turn
        act.call.packed = packed.layers + act.call.cell
        for turn in range(2):
            arena.base = memory.data if turn else NULL
            arena.used = 0
            carve_bptt(&act.call, &arena)
            memory.reserve(arena.used)
        return memory

    def activations(self, Activations act not None, gates, h, c):
        """Fill gates: (layers * directions, T, B, G*H), h: (..., P) and c: (..., H), each or None, for every step that
        a sequence has, from a tape that BPTT has not used."""
        gates, h, c = plain(gates), plain(h), plain(c)
        act.take(self)
        try:
            self._activations_of(&act.call, gates, h, c)
        finally:
            act.put_back()

    cdef int _activations_of(self, Call *call, gates, h, c) except -1:
        cdef Rows *rows
        cdef Run *at
        cdef const Layer *cell
        cdef View view
        cdef int part, layer, direction, index
        cdef fr_int size = call.packed.k.itemsize, count = call.layers * call.directions, width
        cdef bint reverse
        cdef int typenum = typenum_of(<int>size)
        if gates is not None:
            if not isinstance(gates, np.ndarray) or cnp.PyArray_NDIM(gates) != 4:
                raise ValueError("gates: expected shape (layers * directions, T, B, G*H)")
            check_array(gates, "gates", typenum, WRITE | ROWS, count, call.whole, call.batch, gates.shape[3])
        if h is not None:
            check_array(h, "h", typenum, WRITE | ROWS, count, call.whole, call.batch, call.packed.out)
        if c is not None:
            if not call.packed.ops.has_c:
                raise ValueError("c: expected None of a cell without c")
            check_array(c, "c", typenum, WRITE | ROWS, count, call.whole, call.batch, call.packed.hidden)
        for part in range(call.parts):
            rows = &call.rows[part]
            for index in range(count):
                layer = index // call.directions
                direction = index % call.directions
                at = runs_of(call, part, layer) + direction
                cell = layer_of(call, layer, direction)
                reverse = backwards(call, direction)
                if gates is not None:
                    _view(&view, gates[index], NULL)
                    width = min(cell.gate_size, gates.shape[3]) * size
                    if cell.ops.values_saved:
                        scatter(&view, at.saved + cell.ops.values * cell.hidden * size, cell.saved * size, rows,
                                reverse, width)
                    else:
                        scatter(&view, at.z, cell.ld_z * size, rows, reverse, width)
                if h is not None:
                    _view(&view, h[index], NULL)
                    scatter(&view, at.h + rows.batch * cell.out * size, cell.out * size, rows, reverse,
                            cell.out * size)
                if c is not None:
                    _view(&view, c[index], NULL)
                    scatter(&view, at.c + rows.batch * cell.hidden * size, cell.hidden * size, rows, reverse,
                            cell.hidden * size)
        return 0

    cdef int _give_back(self, Activations act) except -1:
        """End a call: later calls may use its memory and, after inference, the object itself."""
        cdef Workspace memory = act.memory
        act.packed = act.memory = act.starts = act.owner = None
        keep_workspace(self.memories, memory, 2)
        if not act.call.keep and len(self.free_calls) < 2:
            self.free_calls.append(act)
        return 0
