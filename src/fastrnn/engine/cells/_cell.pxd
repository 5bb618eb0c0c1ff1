"""The step contract that every cell fulfils.

Shapes: R rows (active sequences of one step), I input, H hidden, P the width of h (H, or the projection), G gates,
E values saved a unit. Row-major; names start with `d` for gradients.

A cell turns the input product into the next state. Before `step_forward`, z: [R, G*H] holds W_ih x + bias, with the
bias that `pack_forward` has put into `Layer.bias`. A cell whose products do not depend on the state has `scan_forward`
and `scan_backward` instead, which do many steps in one call; see `_scan`. A variant with peepholes, clipping or layer
normalisation has its own step functions and saved values; the code that calls them stays the same. `_noise`, not a
cell, changes states between steps.
"""

from libc.string cimport memset

from fastrnn.engine.cells._activations cimport Activation
from fastrnn.engine.runtime._kernels cimport fr_int, fr_kernels, fr_matrix, fr_panels, fr_scan, fr_team, team_barrier
from fastrnn.engine.runtime._panels cimport pack_columns, pack_rows, panel_share
from fastrnn.engine.runtime._workspace cimport Arena, Scratch, room_in, take_array

cdef struct Params:
    # The parameters of one direction of one layer, or their gradients, by their names; NULL where absent. The cell's
    # `Kind` says which there are, and their shapes.
    char *weight_ih
    char *weight_hh
    char *bias_ih
    char *bias_hh
    char *weight_hr
    char *weight_c
    char *weight_ci
    char *weight_cf
    char *weight_co
    char *gain_ih
    char *gain_hh
    char *gain_c
    char *bias_c

cdef struct Options:
    # Of the cells of `_general`: f, g and h as in the ONNX operators, and the bound of their inputs.
    Activation f, g, h
    double clip
    bint coupled

cdef struct Layer:
    # One direction of one layer: sizes, live parameters and gradients, packed weights.
    const fr_kernels *k
    const CellOps *ops
    fr_int input_size, hidden, out          # I, H, P
    fr_int window, features                 # I = window * features: inputs side by side, oldest first, and their width
    fr_int gate_size                        # G*H
    fr_int ld_z                             # distance between rows of z: G*H, or a little more, see `_weights`
    fr_int saved                            # E*H + the cell's values whose number does not depend on H
    bint relu
    bint skips                              # h also depends on x * skip_scale; `saved` holds that part's gradient
    double skip_scale
    Options options
    Params params                           # live
    Params grads
    # Packed for the forward pass.
    char *bias                              # [GH] start of the sums of z
    char *bias_n                            # [H] the same for a GRU's recurrent part of n
    fr_panels p_ih
    fr_panels p_hh
    fr_panels p_hn                          # recurrent weights of n, if a GRU needs them apart
    fr_panels p_hr
    char *peepholes                         # [3H] those of i, f and o, zeros where absent; for BPTT too
    char *norm                              # [S*H] gains and shifts of layer normalisation, see each cell; for BPTT too
    # Packed for BPTT: the transposed products.
    fr_panels q_ih
    fr_panels q_hh
    fr_panels q_hn
    fr_panels q_hr

cdef struct Step:
    # One time step; pointers move with t, rows are the sequences still active.
    fr_int rows
    char *z                                 # [R, GH] see above; after a kept forward step the gates, after backward dz
    char *saved                             # [R, EH] other values that BPTT needs, see each cell
    const char *h_prev                      # [R, P]
    char *h                                 # [R, P]  may be h_prev when nothing is kept
    const char *h_in                        # [R, P] input of the recurrent product: h_prev, or h_prev with dropout
    fr_int ld_h_prev, ld_h, ld_h_in         # elements from row to row of the three
    const char *c_prev                      # [R, H]
    char *c                                 # [R, H]  may be c_prev when nothing is kept
    char *dh                                # [R, P] gradient of h in, of h_prev out
    char *dh_in                             # [R, P] gradient of h_in out: dh; with `direct` the gradient is added
    char *dp                                # [R, P] gradient of h, kept for the projection's weights
    char *dc                                # [R, H] gradient of c in, of c_prev out
    Scratch scratch                         # [R, H], see unit_room
    char *sums                              # [S*H] the steps' sums for `add_sums`
    # Workers that share this step's columns, or NULL, and the number of this one.
    fr_team *team
    int part

cdef struct Product:
    # One block of the recurrent weight gradient: dW_hh[row : row+width] += left[:, column : column+width]^T right,
    # db_hh likewise. left is saved or z; with z column is row. right is h_prev or saved.
    bint left_saved
    fr_int column, row, width
    bint right_saved

cdef struct CellOps:
    int gates                               # G
    int saved                               # E
    int stats                               # further values in a row of `saved`
    int sums                                # S
    int values                              # with values_saved: their place in `saved`, in units of H
    bint values_saved                       # the gates' values lie in `saved`, not in z
    bint has_c
    bint direct                             # h_t depends on h_{t-1} not only through h_in
    # Carve and fill the packed weights; with arena.base NULL only measure.
    void (*pack_forward)(Layer *layer, Arena *arena) noexcept nogil
    void (*pack_backward)(Layer *layer, Arena *arena) noexcept nogil
    void (*step_forward)(const Layer *layer, const Step *step, bint keep) noexcept nogil
    void (*step_backward)(const Layer *layer, const Step *step) noexcept nogil
    # Fills at most 2 products, returns how many.
    int (*products)(const Layer *layer, Product *products) noexcept nogil
    # Adds the steps' `sums` to the live gradients; NULL if S is 0.
    void (*add_sums)(const Layer *layer, const char *sums) noexcept nogil
    # Instead of the steps, for cells whose products do not depend on the state; the scan's skip points at x.
    void (*scan_forward)(const Layer *layer, fr_scan *scan) noexcept nogil
    void (*scan_backward)(const Layer *layer, fr_scan *scan) noexcept nogil


cdef inline CellOps no_cell() noexcept nogil:
    """All fields empty; each cell fills in its own."""
    cdef CellOps ops
    memset(&ops, 0, sizeof(CellOps))
    return ops


cdef inline fr_int step_work(const Layer *layer) noexcept nogil:
    """Multiply-adds of one step of one sequence."""
    return layer.gate_size * (layer.input_size + (layer.out if layer.ops.scan_forward == NULL else 0))


cdef inline Step lone_step() noexcept nogil:
    """A step of one worker alone, with all pointers NULL."""
    cdef Step step
    memset(&step, 0, sizeof(Step))
    return step


cdef inline char *unit_room(const Layer *layer, const Step *step) noexcept nogil:
    """Scratch memory: [R, H]."""
    return room_in(&step.scratch, step.rows * layer.hidden * layer.k.itemsize)


cdef inline bint leads(const Step *step) noexcept nogil:
    """Whether this worker does the work that is not shared."""
    return step.team == NULL or step.part == 0


cdef inline void barrier(const Step *step) noexcept nogil:
    """Wait until every worker of the team has come here."""
    if step.team != NULL:
        team_barrier(step.team)


cdef inline void product(const Step *step, fr_matrix out, fr_matrix left, const fr_panels *w,
                         fr_matrix start) noexcept nogil:
    """This worker's panels of out: [R,N] = start: [R,N] + left: [R,K] w: [K,N]; a barrier must follow."""
    cdef fr_int first = 0, end = w.columns
    if step.team != NULL:
        first = panel_share(w.columns, w.format.width, step.part, step.team.size)
        end = panel_share(w.columns, w.format.width, step.part + 1, step.team.size)
    if end > first:
        w.format.multiply(out, left, w, start, step.rows, first, end - first)


cdef inline char *summed_bias(Arena *arena, const Layer *layer, fr_int width, const char *first,
                              const char *second) noexcept nogil:
    """[width] = first + second, either of which may be NULL."""
    cdef int itemsize = layer.k.itemsize
    cdef char *bias = take_array(arena, width, 1, itemsize)
    cdef fr_int j
    if bias != NULL:
        for j in range(width * itemsize):
            bias[j] = first[j] if first != NULL else 0
        if second != NULL:
            layer.k.add(bias, width, second, width, 1, width)
    return bias


cdef inline char *peephole(const Params *params, int part) noexcept nogil:
    """[H] that of i, f or o."""
    return params.weight_ci if part == 0 else params.weight_cf if part == 1 else params.weight_co


# For cells whose recurrent product is one matrix and whose biases just add up.

cdef inline void pack_whole(Layer *layer, Arena *arena) noexcept nogil:
    layer.bias = summed_bias(arena, layer, layer.gate_size, layer.params.bias_ih, layer.params.bias_hh)
    layer.p_ih = pack_rows(arena, layer.k, layer.params.weight_ih, layer.gate_size, layer.input_size)
    layer.p_hh = pack_rows(arena, layer.k, layer.params.weight_hh, layer.gate_size, layer.out)


cdef inline void pack_whole_transposed(Layer *layer, Arena *arena) noexcept nogil:
    layer.q_ih = pack_columns(arena, layer.k, layer.params.weight_ih, layer.input_size, layer.gate_size)
    layer.q_hh = pack_columns(arena, layer.k, layer.params.weight_hh, layer.out, layer.gate_size)


cdef inline int whole_product(const Layer *layer, Product *products) noexcept nogil:
    products[0] = Product(False, 0, 0, layer.gate_size, False)
    return 1
