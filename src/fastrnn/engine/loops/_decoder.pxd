"""A decoder over target sequences, with attention to its sources; see ``_decoder.pyx``."""

from fastrnn.engine.loops._attention cimport Attention, AttentionWeights, Memory, Packing, Reading
from fastrnn.engine.cells._cell cimport Layer
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.runtime._rows cimport Rows
from fastrnn.engine.loops._sequence cimport Run
from fastrnn.engine.runtime._signals cimport Interrupt
from fastrnn.engine.loops._weights cimport Packed, Weights
from fastrnn.engine.runtime._workspace cimport Arena, Scratch, Workspace

cdef enum:
    MOST_PARTS = 256                # at least MAX_WORKERS of _pool

cdef struct Track:
    # One worker's arrays besides those of the layers, packed rows.
    char *x                         # [N,I] input of the first layer
    char *dx                        # [batch,I] its gradient, for one step
    char *context                   # [batch,W] for one step, if attention stands behind the layers
    Reading reading

cdef struct Decoding:
    int layers, threads, parts
    fr_int madds                    # approximate multiply-adds of the forward pass
    Interrupt signals
    Interrupt *interrupt            # &signals if the call looks for signals, else NULL
    bint keep
    bint attends, before            # before: the first layer's input ends with the context of h_{t-1}
    fr_int batch, embedding         # E
    const Layer *packed             # [layers]
    Attention attention
    Memory memory
    Rows rows[MOST_PARTS]
    Run *runs                       # [parts, layers]
    Track *tracks                   # [parts]
    # The caller's arrays: steps of one sequence after another, states (layers, batch, H); NULL if not wanted.
    const fr_int *starts            # [batch]
    const char *x                   # [N,E]
    char *y                         # [N,H]
    char *context                   # [N,W]
    char *weights                   # [N,S]
    const char *h0
    const char *c0
    char *hn
    char *cn
    # BPTT only.
    const char *dy
    const char *dcontext
    char *dx
    char *dh0
    char *dc0
    Scratch *work                   # [threads] of gemm_tn_work bytes


ctypedef void (*carve_fn)(Decoding *call, Arena *arena) noexcept nogil


cdef class Decoder


cdef class DecoderTape:
    """The arrays of one call. A tape keeps them until BPTT; only one caller gets to do that."""
    cdef Workspace memory
    cdef Decoding call
    cdef Packed packed
    cdef Packing attention
    cdef object arrays              # that the call points into
    cdef Decoder owner
    cdef fr_int rows                # N
    cdef int ready                  # 1 while it holds a pass that nobody uses; an atomic swap takes it


cdef class Decoder:
    cdef readonly Weights weights
    cdef readonly AttentionWeights attention
    cdef bint before
    cdef int typenum
    cdef fr_int embedding           # E
    # Lists of objects to use again; no training tape is among them, because somebody may still hold it.
    cdef list free_calls            # tapes of inference, without memory
    cdef list memories
    cdef list backward_memories

    cdef int _check_states(self, tuple states, fr_int batch, bint writes) except -1
    cdef tuple _own_memory(self, memory, fr_int batch, bint keep)
    cdef int _check_gradients(self, DecoderTape tape, dy, dcontext, dx, dh0, dc0, dvalues, dkeys) except -1
    cdef int _begin_backward(self, DecoderTape tape, Workspace memory, Packed packed, Packing packing) except -1
    cdef DecoderTape _run(self, x, lengths, memory, h0, c0, y, context, weights, hn, cn, bint keep)
    cdef int _deal(self, Decoding *call, lengths) except -1
    cdef int _place(self, carve_fn carve, Decoding *call, Workspace memory) except -1
    cdef int _index(self, Decoding *call, lengths) except -1
    cdef int _give_back(self, DecoderTape tape) except -1
    cdef int _run_steps(self, Decoding *call) except -1
