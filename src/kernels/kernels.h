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

/* Weights [K,N] as products read them, packed in a format of panels of some columns each. Formats with weights of 8
 * and 16 bits (dot.inc.h) serve products of floats. */
typedef struct fr_panels fr_panels;
typedef struct fr_format {
    int itemsize; /* bytes a weight */
    int width;    /* columns a panel */
    fr_int (*panel_bytes)(fr_int k);
    /* dst: ceil(N/width) panels <- src[n*stride_n + k*stride_k]; dst aligned to 64 bytes. */
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
};

typedef struct fr_kernels {
    int itemsize;             /* bytes an element */
    int lanes;                /* elements a vector */
    fr_format own;            /* our panels [ceil(N/width)][K][width]; values beyond N are zero */
    const fr_format *forward;  /* format of the packed weights in forward passes: ours or BLAS's */
    const fr_format *backward; /* the same in BPTT */

    fr_int gemm_tn_work;       /* bytes */
#define FR_KERNEL(name, arguments) void (*name) arguments;
#include "kernels.inc.h"
#undef FR_KERNEL
} fr_kernels;

/* Formats with few bits a weight that need further instructions. */
typedef struct fr_dot {
    const char *name;
    const fr_format *const *int8; /* *int8 or *bf16 is NULL where this build lacks the instructions */
    const fr_format *const *bf16;
    int (*supported)(void);
} fr_dot;

typedef struct fr_isa {
    const char *name;
    const fr_kernels *const *f32; /* *f32 is NULL if this build lacks the instruction set */
    const fr_kernels *const *f64;
    int (*supported)(void); /* by this processor and operating system */
    const fr_dot *dots;     /* best first; ends with "plain", which needs nothing further, and name == NULL */
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
