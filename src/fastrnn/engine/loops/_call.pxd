"""One call of an engine: the parts of its batch, its arrays, and functions that find a part, layer or direction."""

from libc.stdint cimport uint64_t

from fastrnn.engine.cells._cell cimport Layer
from fastrnn.engine.runtime._kernels cimport fr_int, fr_team
from fastrnn.engine.loops._noise cimport Probabilities
from fastrnn.engine.runtime._rows cimport Rows, View
from fastrnn.engine.loops._sequence cimport Run
from fastrnn.engine.runtime._signals cimport Interrupt
from fastrnn.engine.runtime._workspace cimport Scratch

cdef enum:
    MAX_PARTS = 256                 # at least MAX_WORKERS of _pool
    BUFFERS = 5                     # arrays of each part in BPTT, see carve_bptt
    # Rows, about, of a block of weight gradients, summed at once. It takes no longer than all rows at once: 98 and 100
    # ms (bench/NOTES.md, Blocks of weight gradients).
    BLOCK_ROWS = 1024

cdef struct Call:
    int layers, directions          # that this call runs: all layers, or one
    int threads                     # that the call is worth
    int parts                       # of the batch; one thread takes a part through all layers
    int shares                      # of the rows of the weight gradients
    fr_int madds                    # approximate multiply-adds of the forward pass
    Interrupt signals
    Interrupt *interrupt            # &signals if the call looks for signals, else NULL
    fr_team team                    # size > 1: so many workers share the columns of the only part
    bint keep
    bint x_in_place, y_in_place     # no copies: the caller's arrays have the layers' row order
    fr_int batch
    double dropout
    Probabilities probabilities
    uint64_t seed
    fr_int first                    # number of the first step, for the masks
    fr_int start                    # the first of the caller's steps to run, in the order of each direction
    fr_int whole                    # all steps of the caller
    int cell                        # number of the first layer and direction among all, for the masks
    bint reverse                    # the single direction reads backwards
    const Layer *packed             # [layers * directions]
    Rows rows[MAX_PARTS]
    Run *runs                       # [parts, layers, directions]
    char **inputs                   # [parts, layers] input of each layer, forward order
    # The caller's arrays; states are (layers * directions, batch, width), NULL for zeros.
    View x, y
    const char *h0
    const char *c0
    char *hn
    char *cn
    const char *w0                  # the last inputs: (layers * directions, batch, w_bytes); NULL for zeros
    char *wn
    fr_int w_bytes
    # BPTT only.
    View dy, dx
    bint adds_dx                    # add to dx instead of writing it
    View dh_steps                   # of the first layer and direction; the next one lies dh_layer bytes further
    fr_int dh_layer
    const char *dhn
    const char *dcn
    char *dh0
    char *dc0
    const char *dwn
    char *dw0
    char **buffers                  # [parts, BUFFERS]
    Scratch *work                   # [shares] of gemm_tn_work bytes


cdef inline Run *runs_of(const Call *call, int part, int layer) noexcept nogil:
    return call.runs + (<fr_int>part * call.layers + layer) * call.directions


cdef inline bint backwards(const Call *call, int direction) noexcept nogil:
    """Whether this direction reads a sequence from its last valid step to its first."""
    return direction == 1 or call.reverse


cdef inline const Layer *layer_of(const Call *call, int layer, int direction) noexcept nogil:
    return call.packed + layer * call.directions + direction


cdef inline fr_int block_of(fr_int batch) noexcept nogil:
    return (BLOCK_ROWS + batch - 1) // batch if batch > 0 else BLOCK_ROWS


cdef inline uint64_t layer_seed(const Call *call, int layer) noexcept nogil:
    return call.seed + <uint64_t>layer * <uint64_t>0xd1b54a32d192ed03
