/* The C contract of the fused kernels.
 *
 * Row-major throughout. R: rows (batch entries of one step, or packed time steps), H: hidden units, K: the summed
 * dimension, N: columns. `ld*` is the distance between rows in elements. Elements are float in the f32 table and double
 * in the f64 table, hence `void *`. Unless said otherwise no argument may overlap another.
 *
 * Every output element of our own `multiply` is one chain of multiply-adds in the order k = 0 .. K-1, started from
 * `init`, whatever R and N are. So threads may share rows or columns, and the bits stay the same.
 */
#ifndef FASTRNN_KERNELS_H
#define FASTRNN_KERNELS_H

#include <stdint.h>

typedef int64_t fr_int;

/* `steps` steps of the same `rows` sequences, for cells whose products do not depend on the state. Kernels compute the
 * units first .. end - 1 of H only. ld_* is the distance in elements from row to row, step_* from step to step; an
 * array without step_* holds step t of sequence j in row t * rows + j. A pointer that a cell does not use is NULL, and
 * its distances are 0. */
typedef struct fr_scan {
    fr_int steps, rows, hidden, first, end;
    int keep;              /* write the values that BPTT needs over z */
    int trace;             /* write the state's whole gradient over dy */
    void *z;               /* [steps * rows, GH] */
    void *saved;           /* [steps * rows, H] */
    void *state;           /* [steps, rows, H]; with step_state 0 each state overwrites the one before it */
    const void *before;    /* [rows, H] state before the first step */
    void *out;             /* [steps, rows, H] h, if it is not the state */
    const void *skip;      /* [steps * rows, H] skip connection past the state, multiplied by skip_scale */
    const void *weight;    /* [2H] weights of the state */
    void *dy;              /* [steps * rows, H] gradient of h */
    void *carry;           /* [rows, H] in: gradient of the last state; out: gradient of `before` */
    void *sums;            /* [2H] += gradient of the weight */
    fr_int ld_z, ld_saved, ld_state, step_state, ld_before, ld_out, step_out, ld_skip, ld_dy, ld_carry;
    double skip_scale;
} fr_scan;

/* A matrix in memory, its rows `ld` elements apart. */
typedef struct fr_matrix {
    void *data;
    fr_int ld;
} fr_matrix;

/* Weights [K,N] as products read them, packed in a format of panels of some columns each. */
typedef struct fr_panels fr_panels;
typedef struct fr_format {
    int itemsize; /* bytes an element of the products */
    int width;    /* columns a panel */
    /* dst: [ceil(N/width)][K][width] <- src[n*stride_n + k*stride_k]; dst aligned to 64 bytes. */
    void (*pack)(void *dst, const void *src, fr_int n, fr_int k, fr_int stride_n, fr_int stride_k);
    /* Columns first .. first + n of c: [R,N] = init: [R,N] + a: [R,K] w: [K,N]. `first` begins a panel.
     * init may be c itself (accumulate), a bias row (ld 0), or have no data (zero). */
    void (*multiply)(fr_matrix c, fr_matrix a, const fr_panels *w, fr_matrix init, fr_int r, fr_int first, fr_int n);
} fr_format;

struct fr_panels {
    const fr_format *format;
    void *data;
    fr_int columns, inner; /* N, K */
    fr_int stride;         /* bytes from panel to panel */
    double scale;          /* factor of the values; 1 in a format that does not scale them */
};

typedef struct fr_kernels {
    int itemsize;             /* bytes an element */
    int lanes;                /* elements a vector */
    fr_format own;            /* our panels: values beyond N are zero */
    const fr_format *forward;  /* format of the packed weights in forward passes: ours or BLAS's */
    const fr_format *backward; /* the same in BPTT */

    /* c: [M,N] += a: [K,M]^T b: [K,N].  work: gemm_tn_work bytes, aligned to 64. */
    void (*gemm_tn)(fr_matrix c, fr_matrix a, fr_matrix b, fr_int m, fr_int n, fr_int k, void *work);
    fr_int gemm_tn_work;

    /* sum: [N] += column sums of a: [R,N]. */
    void (*sum_rows)(void *sum, const void *a, fr_int lda, fr_int r, fr_int n);

    /* dst: [R,N] += src: [R,N]. */
    void (*add)(void *dst, fr_int ldd, const void *src, fr_int lds, fr_int r, fr_int n);

    /* dst may be src. At most 4 ULP in float; NaN gives NaN, infinities saturate. */
    void (*exp_)(void *dst, const void *src, fr_int n);
    void (*sigmoid)(void *dst, const void *src, fr_int n);
    void (*tanh_)(void *dst, const void *src, fr_int n);

    /* h: [R,H] = tanh(z) or relu(z), z: [R,H]; h may be z. */
    void (*rnn_forward)(void *h, fr_int ldh, const void *z, fr_int ldz, int relu, fr_int r, fr_int hidden);
    /* dz: [R,H] = dh * (1 - h^2) or dh * (h > 0). */
    void (*rnn_backward)(void *dz, fr_int ldz, const void *dh, fr_int lddh, const void *h, fr_int ldh, int relu,
                         fr_int r, fr_int hidden);

    /* i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of z: [R,4H]
     * c: [R,H] = f * c_prev + i * g,  h: [R,H] = o * tanh(c).  c may be c_prev; keep: gate values replace z. */
    void (*lstm_forward)(void *h, fr_int ldh, void *c, fr_int ldc, void *z, fr_int ldz, const void *c_prev,
                         fr_int ldcp, int keep, fr_int r, fr_int hidden);
    /* gates: [R,4H] i f g o in, dz out.  dc: [R,H] gradient of c in, of c_prev out.  dh: [R,H]. */
    void (*lstm_backward)(void *gates, fr_int ldz, void *dc, fr_int lddc, const void *dh, fr_int lddh, const void *c,
                          fr_int ldc, const void *c_prev, fr_int ldcp, fr_int r, fr_int hidden);
    /* Reset-after GRU. z: [R,3H] = (r, z, input part of n) before activation, hn: [R,H] = W_hn h + b_hn.
     * r, z = sigmoid; n = tanh(z_n + r * hn); h = (1 - z) * n + z * h_prev.  r, z, n replace z. h may be h_prev. */
    void (*gru_forward)(void *h, fr_int ldh, void *z, fr_int ldz, const void *hn, fr_int ldhn, const void *h_prev,
                        fr_int ldhp, fr_int r, fr_int hidden);
    /* gates: [R,3H] r z n in, dz out; hn: [R,H] in, its gradient out; dh: [R,H] in, direct part of dh_prev out. */
    void (*gru_backward)(void *gates, fr_int ldz, void *hn, fr_int ldhn, void *dh, fr_int lddh, const void *h_prev,
                         fr_int ldhp, fr_int r, fr_int hidden);

    /* Reset-before GRU, first half: r, z = sigmoid(z[:, :2H]) in place, rh: [R,H] = r * h_prev. */
    void (*gru_reset)(void *rh, fr_int ldrh, void *z, fr_int ldz, const void *h_prev, fr_int ldhp, fr_int r,
                      fr_int hidden);
    /* Second half: n = tanh(z_n) in place; h = (1 - z) * n + z * h_prev. */
    void (*gru_update)(void *h, fr_int ldh, void *z, fr_int ldz, const void *h_prev, fr_int ldhp, fr_int r,
                       fr_int hidden);
    /* Backward of gru_update: gates: [R,3H] (r, z, n) in, (r, dz_z, dz_n) out; dh in, z * dh out. */
    void (*gru_update_backward)(void *gates, fr_int ldz, void *dh, fr_int lddh, const void *h_prev, fr_int ldhp,
                                fr_int r, fr_int hidden);
    /* Backward of gru_reset: gates (r, ., .) in, (dz_r, ., .) out; drh: [R,H]; dh: [R,H] += r * drh. */
    void (*gru_reset_backward)(void *gates, fr_int ldz, void *dh, fr_int lddh, const void *drh, fr_int lddrh,
                               const void *h_prev, fr_int ldhp, fr_int r, fr_int hidden);

    /* The two halves of an LSTM step, for cells with an operation between c and h. Gate values replace z: [R,4H];
     * c: [R,H] = f * c_prev + i * g, may be c_prev. */
    void (*lstm_cell)(void *c, fr_int ldc, void *z, fr_int ldz, const void *c_prev, fr_int ldcp, fr_int r,
                      fr_int hidden);
    /* h: [R,H] = o * tanh(m), o of gates: [R,4H]; h may be m. */
    void (*lstm_output)(void *h, fr_int ldh, const void *gates, fr_int ldz, const void *m, fr_int ldm, fr_int r,
                        fr_int hidden);
    /* m = scaled: [R,H] * gain: [H] + shift: [H].  dm: [R,H] = dh * o * (1 - tanh(m)^2), may be dh; dz_o replaces o. */
    void (*lstm_output_backward)(void *dm, fr_int lddm, void *gates, fr_int ldz, const void *dh, fr_int lddh,
                                 const void *scaled, fr_int lds, const void *gain, const void *shift, fr_int r,
                                 fr_int hidden);
    /* gates: [R,4H] i f g in, their dz out; o's part stays.  dc: [R,H] gradient of c in, of c_prev out. */
    void (*lstm_cell_backward)(void *gates, fr_int ldz, void *dc, fr_int lddc, const void *c_prev, fr_int ldcp,
                               fr_int r, fr_int hidden);

    /* scaled: [R,N] = (x - mean) * rstd with the mean and rstd: [R] = 1 / sqrt(variance + 1e-5) of each row of x: [R,N];
     * y: [R,N] = scaled * gain: [N] + shift: [N], or += scaled * gain if shift is NULL. scaled may be x; with shift, y
     * may be x, too. */
    void (*norm_forward)(void *y, fr_int ldy, void *scaled, fr_int lds, void *rstd, fr_int ldr, const void *x,
                         fr_int ldx, const void *gain, const void *shift, fr_int r, fr_int n);
    /* dx: [R,N] = rstd (g - mean(g) - scaled mean(g scaled)), g = dy: [R,N] * gain;  dgain: [N] += sum of dy scaled.
     * dx may be dy or scaled. */
    void (*norm_backward)(void *dx, fr_int lddx, void *dgain, const void *dy, fr_int lddy, const void *scaled,
                          fr_int lds, const void *rstd, fr_int ldr, const void *gain, fr_int r, fr_int n);

    /* Attention of one query over the rows of a memory. scores: [S] = v: [N] . tanh(q: [N] + keys: [S,N]), or q . keys
     * if v is NULL. */
    void (*attention_scores)(void *scores, const void *q, const void *keys, fr_int ldk, const void *v, fr_int s, fr_int n);
    /* sum: [N] = weights: [S] rows: [S,N]. */
    void (*weighted_sum)(void *sum, const void *weights, const void *rows, fr_int ldr, fr_int s, fr_int n);
    /* Gradients of the scores with v: dkeys: [S,N] += dscores tanh' v, dq: [N] = its sum over the rows,
     * dv: [N] += dscores tanh. */
    void (*attention_backward)(void *dq, void *dkeys, fr_int lddk, void *dv, const void *dscores, const void *q,
                               const void *keys, fr_int ldk, const void *v, fr_int s, fr_int n);
    /* Steps of the cells without a recurrent product; backward: z becomes dz.
     * minGRU, z: (z, candidate).  z = sigmoid, g = x + 1/2 for x >= 0, else sigmoid; state = (1 - z) before + z g. */
    void (*mingru_forward)(const fr_scan *s);
    void (*mingru_backward)(const fr_scan *s);
    /* minLSTM, z: (f, i, candidate).  f, i = sigmoid; f' = f / (f + i), i' = i / (f + i), state = f' before + i' g.
     * Kept: f', i', g, and f + i in saved. */
    void (*minlstm_forward)(const fr_scan *s);
    void (*minlstm_backward)(const fr_scan *s);
    /* SRU, z: (candidate u, f, r, perhaps skip).  f, r = sigmoid(z + weight * before), state = f before + (1 - f) u,
     * out = r state + (1 - r) skip_scale skip.  Backward: skip's gradient goes to saved, which may be skip. */
    void (*sru_forward)(const fr_scan *s);
    void (*sru_backward)(const fr_scan *s);
    /* QRNN, z: (u, f, o).  u = tanh, f, o = sigmoid, state = f before + (1 - f) u, out = o state. */
    void (*qrnn_forward)(const fr_scan *s);
    void (*qrnn_backward)(const fr_scan *s);
} fr_kernels;

typedef struct fr_isa {
    const char *name;
    const fr_kernels *const *f32; /* *f32 is NULL if this build lacks the instruction set */
    const fr_kernels *const *f64;
    int (*supported)(void); /* by this processor and operating system */
} fr_isa;

/* Best first; ends with name == NULL. The last real entry is the baseline. */
const fr_isa *fr_isas(void);

/* Our calls flush denormals. fr_flush_begin returns the control word that fr_flush_end restores. */
uint64_t fr_flush_begin(void);
void fr_flush_end(uint64_t word);

/* Workers that share one step. In fr_barrier each waits until all `size` have come. They spin, because a step is short,
 * and yield the CPU when one of them seems not to run. */
typedef struct fr_team {
    int size, arrived, round;
    int last; /* the round in which all workers end; FR_NO_ROUND until the leader sets it */
} fr_team;
enum { FR_NO_ROUND = 0x7fffffff };
void fr_barrier(fr_team *team);
/* fr_team_end: the leader asks all workers to end after the next barrier. fr_team_ended: whether that barrier has
 * passed. Call both between two barriers: then every worker gets the same answer at the same place. */
void fr_team_end(fr_team *team);
int fr_team_ended(const fr_team *team);
int fr_has_barrier(void); /* whether this build has a barrier */

/* Linux sometimes puts a worker on its caller's CPU, for 10 ms and more (bench/NOTES.md, Threads apart). fr_play sets a
 * thread's role; fr_keep_apart moves a worker off the CPU that the last caller ran on and leaves its affinity as it
 * was. */
enum { FR_NOBODY, FR_WORKER, FR_CALLER };
void fr_play(int role);
void fr_keep_apart(void);

/* A 64-bit fingerprint of n bytes, chained from seed. Different bytes give the same one with probability 2^-64. */
uint64_t fr_fingerprint(const void *data, fr_int n, uint64_t seed);

#endif
