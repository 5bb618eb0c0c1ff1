"""The arrays of a call, of all its parts, layers and directions, in one block of memory.

The same code runs twice: once to measure, once to place.
"""

from fastrnn.engine.loops._call cimport BUFFERS, Call, backwards, layer_of, runs_of
from fastrnn.engine.cells._cell cimport Layer
from fastrnn.engine.runtime._kernels cimport fr_int
from fastrnn.engine.loops._noise cimport carve_noise
from fastrnn.engine.runtime._rows cimport Rows, carve_rows
from fastrnn.engine.loops._sequence cimport Run, carve_backward, carve_forward
from fastrnn.engine.runtime._workspace cimport Arena, Scratch, take_array, take_scratch


cdef void aim_output(const Call *call, const Rows *rows, Run *at, int layer, int direction) noexcept nogil:
    """Let the last layer write its h straight into the caller's y, if every sequence has every step."""
    cdef fr_int width = call.packed.out * call.packed.k.itemsize
    at.y = NULL
    if call.y_in_place and layer == call.layers - 1:
        at.y = call.y.data + rows.first * call.y.stride_b + direction * width + call.start * call.y.stride_t
        at.step_y = call.y.stride_t
        at.ld_y = call.y.stride_b // call.packed.k.itemsize
        if backwards(call, direction):
            at.y += (call.whole - 1 - 2 * call.start) * call.y.stride_t
            at.step_y = -call.y.stride_t


cdef void carve(Call *call, Arena *arena) noexcept nogil:
    cdef int part, layer, direction
    cdef Rows *rows
    cdef Run *runs
    cdef Run measured
    cdef const Layer *cell
    cdef char *own
    cdef fr_int size = call.packed.k.itemsize
    cdef bint real = arena.base != NULL
    measured.y = NULL
    call.runs = <Run *>take_array(arena, call.parts, <fr_int>call.layers * call.directions, sizeof(Run))
    call.inputs = <char **>take_array(arena, call.parts, call.layers, sizeof(char *))
    for part in range(call.parts):
        rows = &call.rows[part]
        carve_rows(rows, arena, rows.batch, rows.steps)
        for layer in range(call.layers):
            cell = layer_of(call, layer, 0)
            own = NULL
            if layer == 0 and call.x_in_place:
                own = call.x.data + call.start * call.x.stride_t
            elif layer == 0 or call.directions == 2 or call.dropout > 0:
                own = take_array(arena, rows.count, cell.features, size)
            for direction in range(call.directions):
                runs = runs_of(call, part, layer) + direction if real else &measured
                aim_output(call, rows, runs, layer, direction)
                carve_forward(layer_of(call, layer, direction), rows, runs, arena, call.keep)
                runs.noise = carve_noise(&call.probabilities, layer_of(call, layer, direction), rows.batch, rows.count,
                                         arena, call.keep)
                runs.window.source = own
                if direction == 1:
                    runs.window.source = take_array(arena, rows.count, cell.features, size)
                elif real and own == NULL:
                    # The layer below has one direction: its h is this layer's input.
                    runs.window.source = runs_of(call, part, layer - 1).h + rows.batch * cell.features * size
                if cell.window == 1:
                    runs.x = <char *>runs.window.source
            if real:
                call.inputs[<fr_int>part * call.layers + layer] = <char *>runs_of(call, part, layer).window.source


cdef void carve_bptt(Call *call, Arena *arena) noexcept nogil:
    """Place the arrays of the backward pass: the states' gradients, and for each part the `BUFFERS`. Two of these hold
    the gradients of a layer's output and input in turn, two the reverse direction's, and the last one the gradient of
    a window of inputs."""
    cdef int part, layer, direction
    cdef fr_int size = call.packed.k.itemsize, width = 0, wide = 0
    cdef const Layer *cell
    cdef Run measured
    call.buffers = <char **>take_array(arena, call.parts, BUFFERS, sizeof(char *))
    call.work = <Scratch *>take_array(arena, call.shares, 1, sizeof(Scratch))
    for layer in range(call.layers):
        cell = layer_of(call, layer, 0)
        width = max(width, max(cell.features, cell.out * call.directions))
        if cell.window > 1:
            wide = max(wide, cell.input_size)
    cdef char *block
    cdef Scratch work
    cdef bint real = arena.base != NULL
    for part in range(call.parts):
        for layer in range(call.layers):
            for direction in range(call.directions):
                carve_backward(layer_of(call, layer, direction), &call.rows[part],
                               runs_of(call, part, layer) + direction if real else &measured, arena)
        for direction in range(2 + 2 * (call.directions - 1)):
            block = take_array(arena, call.rows[part].count, width, size)
            if real:
                call.buffers[part * BUFFERS + direction] = block
        block = take_array(arena, call.rows[part].count, wide, size)
        if real:
            call.buffers[part * BUFFERS + BUFFERS - 1] = block
    for part in range(call.shares):
        work = take_scratch(arena, call.packed.k.gemm_tn_work)
        if real:
            call.work[part] = work
