"""One direction of one layer over a sequence: forward and BPTT; see ``_sequence.pyx``."""

from fastrnn.engine.cells._cell cimport Layer, Step
from fastrnn.engine.runtime._kernels cimport fr_int, fr_team
from fastrnn.engine.loops._noise cimport Noise
from fastrnn.engine.runtime._rows cimport Rows, View
from fastrnn.engine.runtime._signals cimport Interrupt
from fastrnn.engine.scan._window cimport Window
from fastrnn.engine.runtime._workspace cimport Arena, Scratch

cdef struct Run:
    # The arrays of one direction of one layer for one worker's rows, in that direction's packed order.
    Window window   # its source: the inputs, [N, W]
    char *x         # [N, I] the source, or each step's window of inputs; when not kept [block, I]
    char *z         # [N, GH] when kept, else [block, GH]
    char *saved     # [N, EH] when kept, else [batch, EH]
    char *h         # [batch + N, P]; the first `batch` rows are the initial state; with y there are no others
    char *y         # NULL, or the place of h_t: step_y bytes from step to step, ld_y elements from row to row
    fr_int step_y, ld_y
    char *c         # [batch + N, H] when kept, else [batch, H]
    char *dh        # [batch, P]
    char *dc        # [batch, H]
    char *dp        # [N, P] gradient of h_t, kept for the projection's weights
    Scratch scratch     # [batch, H]
    char *sums      # [blocks, S*H] of the cell; NULL if S is 0
    View dh_steps   # (T, B, P), the caller's, for dL/dh_t of every step; may have no data
    bint reverse
    Noise *noise    # recurrent dropout and zoneout; or NULL

cdef fr_int block_count(const Rows *rows) noexcept nogil
cdef void carve_forward(const Layer *layer, const Rows *rows, Run *run, Arena *arena, bint keep) noexcept nogil
cdef void carve_backward(const Layer *layer, const Rows *rows, Run *run, Arena *arena) noexcept nogil
cdef void set_step(Step *step, const Layer *layer, const Rows *rows, const Run *run, fr_int t, bint keep) noexcept nogil
cdef void forward(const Layer *layer, const Rows *rows, const Run *run, bint keep, fr_team *team, int part,
                  Interrupt *interrupt) noexcept nogil
cdef void backward(const Layer *layer, const Rows *rows, const Run *run, char *dy, fr_int stride, char *dx,
                   char *dunfolded, fr_team *team, int part, Interrupt *interrupt) noexcept nogil
cdef void weight_gradient(const Layer *layer, const Rows *rows, const Run *run, fr_int block, int part, int parts,
                          const Scratch *work) noexcept nogil
cdef fr_int share(fr_int n, int part, int parts) noexcept nogil
