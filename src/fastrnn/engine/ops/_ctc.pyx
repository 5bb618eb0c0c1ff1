"""Connectionist temporal classification (Graves et al. 2006): the loss over all alignments, and its gradient.

A path is in one state at each of T steps: blank 0, label 0, blank 1, label 1, .., label L-1, blank L. It begins in one
of the first two states and ends in one of the last two. At each step it stays, moves to the next state, or moves from a
label to the next label if the two differ. With p[t][s] the softmax's probability of state s:

    before[t][s] = sum of before[t-1][r] p[t-1][r] over the states r that lead to s
    after[t][s]  = sum of after[t+1][r] p[t+1][r] over the states r that s leads to
    P = sum over s of before[t][s] p[t][s] after[t][s], the same for every t;   loss = -log(P)
    dloss/dlogit[t][k] = softmax[t][k] - sum over the states s of k of before[t][s] p[t][s] after[t][s] / P

Both recursions have the range of log space without its exp and log: a number is m 2^e, where e is a second double with
a whole value, so sums and products keep all digits of m. Zero has the exponent NOTHING, too small to change any sum.
"""

from cython cimport floating
from libc.math cimport INFINITY, NAN, log
from libc.stdint cimport int64_t

from fastrnn.engine.runtime._arrays cimport check_aligned, check_sizes
from fastrnn.engine.runtime._kernels cimport fr_times, kernels
from fastrnn.engine.runtime._pool cimport run, workers_for
from fastrnn.engine.runtime._sums cimport largest, row_total
from fastrnn.engine.runtime._workspace cimport Arena, Workspace, take_array

cdef enum:
    # Cost of one state of one step, and of one exponential, in multiply-adds, the unit of `workers_for`.
    STATE_COST = 200
    EXP_COST = 50

cdef double NOTHING = -1e300
cdef double WHOLE = 4503599627370496.0           # 2^52: WHOLE + n has the whole number n in its low bits
cdef double BIAS = 1023.0                        # of a double's exponent
cdef double LN2 = 0.6931471805599453, LOG2E = 1.4426950408889634
cdef int64_t FRACTION = 0xFFFFFFFFFFFFF          # a double's low 52 bits
cdef int64_t ONE = 0x3FF0000000000000            # 1.0
cdef int64_t WHOLE_BITS = 0x4330000000000000     # 2^52

cdef union Bits:
    double value
    int64_t bits

# Numbers m 2^e of the L+1 blanks and the L labels, and of the labels -1 and L, which are zero.
cdef struct States:
    double *blank_m
    double *blank_e
    double *label_m
    double *label_e

cdef struct Task:
    int itemsize, parts
    char *dlogits
    const char *logits
    Py_ssize_t batch, steps, classes, stride_t, stride_b
    const long long *labels
    const long long *starts
    const long long *lengths
    const double *weight
    double *losses
    long long blank
    bint zero_infinity
    double scale
    char *memory
    size_t share

# The arrays of one sequence. T: its steps, L: its labels.
cdef struct Work:
    Py_ssize_t steps, count
    const long long *labels
    double *states      # [T+1] States: before
    States now          # before, or after, times p
    States after
    double *p_m         # [T, L+1]: the blank's probability, then the labels'
    double *p_e
    double *total       # [T]: sum of the softmax's exponentials
    double *no_skip     # [L+1]: 0 if label i-1 leads to label i, else NOTHING
    double *gamma       # [L+1]


cdef inline double _power(double e) noexcept nogil:
    """2^e for whole e up to 1023; 0 from -1023 down."""
    cdef Bits u
    u.value = (e if e > -BIAS else -BIAS) + (WHOLE + BIAS)
    u.bits <<= 52
    return u.value


cdef inline void _multiply(double *out_m, double *out_e, const double *m, const double *e, double p_m,
                           double p_e) noexcept nogil:
    """out = m 2^e p, with 1 <= out_m < 2."""
    cdef Bits u, k
    cdef double exponent
    u.value = m[0] * p_m
    k.bits = (u.bits >> 52) | WHOLE_BITS
    exponent = e[0] + p_e + (k.value - (WHOLE + BIAS))
    out_e[0] = exponent if exponent > NOTHING else NOTHING
    u.bits = (u.bits & FRACTION) | ONE
    out_m[0] = u.value


cdef void _emit(States *out, const States *x, const double *p_m, const double *p_e, Py_ssize_t count) noexcept nogil:
    """out[s] = x[s] p[s]."""
    cdef Py_ssize_t i
    cdef double m = p_m[0], e = p_e[0]
    for i in range(count + 1):
        _multiply(out.blank_m + i, out.blank_e + i, x.blank_m + i, x.blank_e + i, m, e)
    for i in range(count):
        _multiply(out.label_m + i, out.label_e + i, x.label_m + i, x.label_e + i, p_m[1 + i], p_e[1 + i])


cdef void _move(States *out, const States *x, const double *no_skip, int way, Py_ssize_t count) noexcept nogil:
    """out[s] = sum of x[r] over the states r that lead to s (way 1), or that s leads to (way -1)."""
    cdef Py_ssize_t i
    cdef const double *m = x.label_m - (way > 0)
    cdef const double *e = x.label_e - (way > 0)
    cdef double top, a, b, c
    for i in range(count + 1):
        a, b = x.blank_e[i], e[i]
        top = a if a > b else b
        out.blank_m[i] = x.blank_m[i] * _power(a - top) + m[i] * _power(b - top)
        out.blank_e[i] = top
    m, e = x.label_m - way, x.label_e - way
    cdef const double *blank_m = x.blank_m + (way < 0)
    cdef const double *blank_e = x.blank_e + (way < 0)
    no_skip += way < 0
    for i in range(count):
        a, b, c = x.label_e[i], blank_e[i], e[i] + no_skip[i]
        top = a if a > b else b
        top = top if top > c else c
        out.label_m[i] = x.label_m[i] * _power(a - top) + blank_m[i] * _power(b - top) + m[i] * _power(c - top)
        out.label_e[i] = top


cdef Py_ssize_t _row(Py_ssize_t count) noexcept nogil:
    """The number of doubles in `States`."""
    return 2 * (count + 1) + 2 * (count + 2)


cdef States _states(double *at, Py_ssize_t count) noexcept nogil:
    cdef States s
    s.blank_m = at
    s.blank_e = s.blank_m + count + 1
    s.label_m = s.blank_e + count + 2
    s.label_e = s.label_m + count + 2
    return s


cdef void _clear(States *s, Py_ssize_t count) noexcept nogil:
    """Set all numbers to zero."""
    cdef Py_ssize_t i
    for i in range(count + 1):
        s.blank_m[i], s.blank_e[i] = 1, NOTHING
    for i in range(-1, count + 1):
        s.label_m[i], s.label_e[i] = 1, NOTHING


cdef void _carve(Work *w, Arena *arena) noexcept nogil:
    cdef Py_ssize_t row = _row(w.count), n = w.count
    w.states = <double *>take_array(arena, w.steps + 1, row, sizeof(double))
    w.now = _states(<double *>take_array(arena, row, 1, sizeof(double)), n)
    w.after = _states(<double *>take_array(arena, row, 1, sizeof(double)), n)
    w.p_m = <double *>take_array(arena, w.steps, n + 1, sizeof(double))
    w.p_e = <double *>take_array(arena, w.steps, n + 1, sizeof(double))
    w.total = <double *>take_array(arena, w.steps, 1, sizeof(double))
    w.no_skip = <double *>take_array(arena, n + 1, 1, sizeof(double))
    w.gamma = <double *>take_array(arena, n + 1, 1, sizeof(double))


cdef bint _probabilities(const Task *task, Work *w, floating *dlogits, const floating *logits) noexcept nogil:
    """dlogits = exp(logits - their largest), and p of the blank and the labels; False if the softmax is NaN."""
    cdef Py_ssize_t t, i, k, count = w.count
    cdef const floating *x
    cdef floating *e
    cdef double *p_m
    cdef double *p_e
    cdef floating top
    cdef double shift, y, whole
    for t in range(w.steps):
        x, e = logits + t * task.stride_t, dlogits + t * task.stride_t
        top = largest(x, task.classes)
        for k in range(task.classes):
            e[k] = x[k] - top
        kernels(sizeof(floating)).map_exp(e, e, task.classes)
        w.total[t] = row_total(e, task.classes)
        if not w.total[t] < INFINITY:
            return False
        shift = top + log(w.total[t])
        p_m, p_e = w.p_m + t * (count + 1), w.p_e + t * (count + 1)
        p_m[0] = x[task.blank]
        for i in range(count):
            p_m[1 + i] = x[w.labels[i]]
        for i in range(count + 1):  # e is log2(p) rounded; a log2(p) so large that it is whole stays as it is
            y = (p_m[i] - shift) * LOG2E
            whole = (y + 1.5 * WHOLE) - 1.5 * WHOLE
            whole = whole if y > -WHOLE / 4 else (y if y > NOTHING else NOTHING)
            p_e[i] = whole
            p_m[i] = ((y if y > NOTHING else NOTHING) - whole) * LN2
        kernels(sizeof(double)).map_exp(p_m, p_m, count + 1)
    return True


cdef void _forward(Work *w) noexcept nogil:
    """before at all T + 1 steps."""
    cdef Py_ssize_t t, i, count = w.count, row = _row(count)
    cdef States before = _states(w.states, count), following
    for i in range(count + 1):
        w.no_skip[i] = 0.0 if 0 < i < count and w.labels[i] != w.labels[i - 1] else NOTHING
    _clear(&before, count)
    _clear(&w.now, count)
    before.blank_e[0] = 0
    if count > 0:
        before.label_e[0] = 0
    for t in range(w.steps):
        _emit(&w.now, &before, w.p_m + t * (count + 1), w.p_e + t * (count + 1), count)
        following = _states(w.states + (t + 1) * row, count)
        _move(&following, &w.now, w.no_skip, 1, count)
        before = following


cdef void _backward(const Task *task, Work *w, floating *dlogits, double p_m, double p_e, double scale) noexcept nogil:
    """dlogits = scale (softmax - each label's share of P); P = p_m 2^p_e."""
    cdef Py_ssize_t t, i, k, count = w.count, row = _row(count)
    cdef floating *out
    cdef floating factor
    cdef double share = scale / p_m
    cdef States before
    _clear(&w.after, count)
    w.after.blank_e[count] = 0
    if count > 0:
        w.after.label_e[count - 1] = 0
    for t in range(w.steps - 1, -1, -1):
        out = dlogits + t * task.stride_t
        factor = <floating>(scale / w.total[t])
        for k in range(task.classes):
            out[k] *= factor
        _emit(&w.now, &w.after, w.p_m + t * (count + 1), w.p_e + t * (count + 1), count)
        before = _states(w.states + t * row, count)
        for i in range(count + 1):
            w.gamma[i] = before.blank_m[i] * w.now.blank_m[i] * _power(before.blank_e[i] + w.now.blank_e[i] - p_e)
        out[task.blank] -= <floating>(share * row_total(w.gamma, count + 1))
        for i in range(count):
            w.gamma[i] = before.label_m[i] * w.now.label_m[i] * _power(before.label_e[i] + w.now.label_e[i] - p_e)
        for i in range(count):
            out[w.labels[i]] -= <floating>(share * w.gamma[i])
        _move(&w.after, &w.now, w.no_skip, -1, count)


cdef void _fill(const Task *task, floating *dlogits, Py_ssize_t first, Py_ssize_t stop, double value) noexcept nogil:
    cdef Py_ssize_t t, k
    for t in range(first, stop):
        for k in range(task.classes):
            dlogits[t * task.stride_t + k] = <floating>value


cdef double _sequence(const Task *task, Py_ssize_t b, floating *dlogits, const floating *logits, double scale,
                      Arena *arena) noexcept nogil:
    """The loss of sequence b; dlogits = scale times its gradient."""
    cdef Work w
    cdef States last
    cdef double p_m, p_e
    w.steps, w.count = task.lengths[b], task.starts[b + 1] - task.starts[b]
    w.labels = task.labels + task.starts[b]
    _carve(&w, arena)
    _fill(task, dlogits, w.steps, task.steps, 0)
    if not _probabilities(task, &w, dlogits, logits):
        _fill(task, dlogits, 0, w.steps, NAN)
        return NAN
    _forward(&w)
    last = _states(w.states + w.steps * _row(w.count), w.count)
    p_m, p_e = last.blank_m[w.count], last.blank_e[w.count]
    if p_e < NOTHING / 2:
        _fill(task, dlogits, 0, w.steps, 0.0 if task.zero_infinity else <double>NAN)
        return 0.0 if task.zero_infinity else <double>INFINITY
    _backward(task, &w, dlogits, p_m, p_e, scale)
    if p_m > 1.5:  # log(p_m) keeps its digits where P is near 1
        p_m, p_e = p_m / 2, p_e + 1
    return max(0.0, -(log(p_m) + p_e * LN2))


cdef void _share(const Task *task, int part, floating *dlogits, const floating *logits) noexcept nogil:
    """Compute every sequence of one worker."""
    cdef Py_ssize_t b, at
    cdef double weight
    cdef Arena arena
    for b in range(task.batch):
        if b % task.parts != part:
            continue
        at = b * task.stride_b
        weight = 1.0 if task.weight == NULL else task.weight[b]
        if weight == 0:
            task.losses[b] = 0
            _fill(task, dlogits + at, 0, task.steps, 0)
        else:
            arena.base, arena.used = task.memory + part * task.share, 0
            task.losses[b] = _sequence(task, b, dlogits + at, logits + at, task.scale * weight, &arena)


cdef void _run_share(void *arg, int part) noexcept nogil:
    cdef Task *task = <Task *>arg
    if task.itemsize == sizeof(float):
        _share(task, part, <float *>task.dlogits, <const float *>task.logits)
    else:
        _share(task, part, <double *>task.dlogits, <const double *>task.logits)


cdef size_t _most_memory(const Task *task) noexcept nogil:
    """Bytes that the largest sequence needs."""
    cdef Py_ssize_t b
    cdef Work w
    cdef Arena arena
    cdef size_t most = 0
    for b in range(task.batch):
        w.steps, w.count = task.lengths[b], task.starts[b + 1] - task.starts[b]
        arena.base, arena.used = NULL, 0
        _carve(&w, &arena)
        most = max(most, arena.used)
    return most


cdef int _check(double[::1] losses, logits, const long long[::1] labels, const long long[::1] starts,
                const long long[::1] lengths, const double[::1] weight, long long blank, bint batch_first) except -1:
    """Raise unless the sizes fit together and all ints that are read lie in their ranges."""
    cdef Py_ssize_t b, k, batch = lengths.shape[0], steps = logits.shape[1 if batch_first else 0]
    cdef long long classes = logits.shape[2]
    check_sizes("logits", batch, logits.shape[0 if batch_first else 1])
    check_sizes("losses", batch, losses.shape[0])
    check_sizes("starts", batch + 1, starts.shape[0])
    if weight is not None:
        check_sizes("weight", batch, weight.shape[0])
    if not 0 <= blank < classes or starts[0] != 0 or starts[batch] != labels.shape[0]:
        raise ValueError(f"blank, starts: expected a class of 0 .. {classes - 1} and starts from 0 to "
                         f"{labels.shape[0]}, found {blank}, {starts[0]} and {starts[batch]}")
    for b in range(batch):
        if not 0 <= lengths[b] <= steps or not starts[b] <= starts[b + 1] <= labels.shape[0]:
            raise ValueError(f"lengths, starts: expected 0 .. {steps} steps and starts that do not fall, found "
                             f"{lengths[b]} and {starts[b]} to {starts[b + 1]} at {b}")
        for k in range(starts[b], starts[b + 1]):
            if (weight is None or weight[b] != 0) and not 0 <= labels[k] < classes:
                raise ValueError(f"labels: expected 0 .. {classes - 1}, found {labels[k]}")
    return 0


def ctc(double[::1] losses not None, floating[:, :, ::1] dlogits not None, const floating[:, :, ::1] logits not None,
        const long long[::1] labels not None, const long long[::1] starts not None,
        const long long[::1] lengths not None, const double[::1] weight, long long blank, bint zero_infinity,
        double scale, bint batch_first):
    """losses: [B] = -log P of each sequence; dlogits = scale weight times its gradient.

    dlogits, logits: [B,T,K], or [T,B,K] unless batch_first; labels: of all sequences, one after another, in 0 .. K-1
    without the blank; starts: [B+1], the first label of each sequence, and the number of labels; lengths: [B], steps,
    0 .. T; weight: [B] or None. A sequence of weight 0 is not read and has loss and gradient 0. A sequence without any
    path has loss inf and gradient NaN, or with zero_infinity 0 and 0. A NaN in logits makes its sequence's loss and
    gradient NaN.
    """
    cdef Task task
    cdef Workspace memory = Workspace()
    cdef Py_ssize_t b, work = 0
    check_aligned("losses", &losses[0], sizeof(double))
    check_aligned("dlogits", &dlogits[0, 0, 0], sizeof(floating))
    check_aligned("logits", &logits[0, 0, 0], sizeof(floating))
    check_aligned("labels", &labels[0], sizeof(long long))
    check_aligned("starts", &starts[0], sizeof(long long))
    check_aligned("lengths", &lengths[0], sizeof(long long))
    if weight is not None:
        check_aligned("weight", &weight[0], sizeof(double))
    task.batch = lengths.shape[0]
    if task.batch == 0:
        return
    _check(losses, logits, labels, starts, lengths, weight, blank, batch_first)
    for b in range(3):
        check_sizes("dlogits", logits.shape[b], dlogits.shape[b])
    task.itemsize = sizeof(floating)
    task.steps, task.classes = logits.shape[1 if batch_first else 0], logits.shape[2]
    task.stride_t = task.classes * (1 if batch_first else task.batch)
    task.stride_b = task.classes * (task.steps if batch_first else 1)
    task.dlogits = <char *>&dlogits[0, 0, 0]
    task.logits = <const char *>&logits[0, 0, 0]
    task.labels = &labels[0] if labels.shape[0] > 0 else NULL
    task.starts, task.lengths, task.losses = &starts[0], &lengths[0], &losses[0]
    task.weight = NULL
    if weight is not None:
        task.weight = &weight[0]
    task.blank, task.zero_infinity, task.scale = blank, zero_infinity, scale
    for b in range(task.batch):
        work += lengths[b] * (STATE_COST * (2 * (starts[b + 1] - starts[b]) + 1) + EXP_COST * task.classes)
    task.parts = <int>min(<Py_ssize_t>workers_for(work), task.batch)
    task.share = _most_memory(&task)
    memory.reserve(fr_times(task.parts, task.share))
    task.memory = memory.data
    with nogil:
        run(&_run_share, &task, task.parts, task.parts, NULL)
