/* The list of kernels. Each name and signature stands here once: from this list come the members of fr_kernels
 * (kernels.h), the declarations and the table (table.inc.h), and Cython's view (written by setup.py). kernels.h says what
 * the letters mean. */

/* c: [M,N] += a: [K,M]^T b: [K,N].  work: gemm_tn_work bytes, aligned to 64. */
FR_KERNEL(gemm_tn, (fr_matrix c, fr_matrix a, fr_matrix b, fr_int m, fr_int n, fr_int k, void *work))

/* sum: [N] += column sums of a: [R,N]. */
FR_KERNEL(sum_rows, (void *sum, const void *a, fr_int lda, fr_int r, fr_int n))

/* dst: [R,N] += src: [R,N]. */
FR_KERNEL(add, (void *dst, fr_int ldd, const void *src, fr_int lds, fr_int r, fr_int n))

/* dst may be src. At most 4 ULP in float; NaN gives NaN, infinities saturate. */
FR_KERNEL(map_exp, (void *dst, const void *src, fr_int n))
FR_KERNEL(map_sigmoid, (void *dst, const void *src, fr_int n))
FR_KERNEL(map_tanh, (void *dst, const void *src, fr_int n))

/* h: [R,H] = tanh(z) or relu(z), z: [R,H]; h may be z. */
FR_KERNEL(rnn_forward, (void *h, fr_int ldh, const void *z, fr_int ldz, int relu, fr_int r, fr_int hidden))
/* dz: [R,H] = dh * (1 - h^2) or dh * (h > 0). */
FR_KERNEL(rnn_backward, (void *dz, fr_int ldz, const void *dh, fr_int lddh, const void *h, fr_int ldh, int relu,
                         fr_int r, fr_int hidden))

/* i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of z: [R,4H]
 * c: [R,H] = f * c_prev + i * g,  h: [R,H] = o * tanh(c).  c may be c_prev; keep: gate values replace z. */
FR_KERNEL(lstm_forward, (void *h, fr_int ldh, void *c, fr_int ldc, void *z, fr_int ldz, const void *c_prev,
                         fr_int ldcp, int keep, fr_int r, fr_int hidden))
/* gates: [R,4H] i f g o in, dz out.  dc: [R,H] gradient of c in, of c_prev out.  dh: [R,H]. */
FR_KERNEL(lstm_backward, (void *gates, fr_int ldz, void *dc, fr_int lddc, const void *dh, fr_int lddh, const void *c,
                          fr_int ldc, const void *c_prev, fr_int ldcp, fr_int r, fr_int hidden))
/* Reset-after GRU. z: [R,3H] = (r, z, input part of n) before activation, hn: [R,H] = W_hn h + b_hn.
 * r, z = sigmoid; n = tanh(z_n + r * hn); h = (1 - z) * n + z * h_prev.  r, z, n replace z. h may be h_prev. */
FR_KERNEL(gru_forward, (void *h, fr_int ldh, void *z, fr_int ldz, const void *hn, fr_int ldhn, const void *h_prev,
                        fr_int ldhp, fr_int r, fr_int hidden))
/* gates: [R,3H] r z n in, dz out; hn: [R,H] in, its gradient out; dh: [R,H] in, direct part of dh_prev out. */
FR_KERNEL(gru_backward, (void *gates, fr_int ldz, void *hn, fr_int ldhn, void *dh, fr_int lddh, const void *h_prev,
                         fr_int ldhp, fr_int r, fr_int hidden))

/* Reset-before GRU, first half: r, z = sigmoid(z[:, :2H]) in place, rh: [R,H] = r * h_prev. */
FR_KERNEL(gru_reset, (void *rh, fr_int ldrh, void *z, fr_int ldz, const void *h_prev, fr_int ldhp, fr_int r,
                      fr_int hidden))
/* Second half: n = tanh(z_n) in place; h = (1 - z) * n + z * h_prev. */
FR_KERNEL(gru_update, (void *h, fr_int ldh, void *z, fr_int ldz, const void *h_prev, fr_int ldhp, fr_int r,
                       fr_int hidden))
/* Backward of gru_update: gates: [R,3H] (r, z, n) in, (r, dz_z, dz_n) out; dh in, z * dh out. */
FR_KERNEL(gru_update_backward, (void *gates, fr_int ldz, void *dh, fr_int lddh, const void *h_prev, fr_int ldhp,
                                fr_int r, fr_int hidden))
/* Backward of gru_reset: gates (r, ., .) in, (dz_r, ., .) out; drh: [R,H]; dh: [R,H] += r * drh. */
FR_KERNEL(gru_reset_backward, (void *gates, fr_int ldz, void *dh, fr_int lddh, const void *drh, fr_int lddrh,
                               const void *h_prev, fr_int ldhp, fr_int r, fr_int hidden))

/* The two halves of an LSTM step, for cells with an operation between c and h. Gate values replace z: [R,4H];
 * c: [R,H] = f * c_prev + i * g, may be c_prev. */
FR_KERNEL(lstm_cell, (void *c, fr_int ldc, void *z, fr_int ldz, const void *c_prev, fr_int ldcp, fr_int r,
                      fr_int hidden))
/* h: [R,H] = o * tanh(m), o of gates: [R,4H]; h may be m. */
FR_KERNEL(lstm_output, (void *h, fr_int ldh, const void *gates, fr_int ldz, const void *m, fr_int ldm, fr_int r,
                        fr_int hidden))
/* m = scaled: [R,H] * gain: [H] + shift: [H].  dm: [R,H] = dh * o * (1 - tanh(m)^2), may be dh; dz_o replaces o. */
FR_KERNEL(lstm_output_backward, (void *dm, fr_int lddm, void *gates, fr_int ldz, const void *dh, fr_int lddh,
                                 const void *scaled, fr_int lds, const void *gain, const void *shift, fr_int r,
                                 fr_int hidden))
/* gates: [R,4H] i f g in, their dz out; o's part stays.  dc: [R,H] gradient of c in, of c_prev out. */
FR_KERNEL(lstm_cell_backward, (void *gates, fr_int ldz, void *dc, fr_int lddc, const void *c_prev, fr_int ldcp,
                               fr_int r, fr_int hidden))

/* scaled: [R,N] = (x - mean) * rstd with the mean and rstd: [R] = 1 / sqrt(variance + 1e-5) of each row of x: [R,N];
 * y: [R,N] = scaled * gain: [N] + shift: [N], or += scaled * gain if shift is NULL. scaled may be x; with shift, y
 * may be x, too. */
FR_KERNEL(norm_forward, (void *y, fr_int ldy, void *scaled, fr_int lds, void *rstd, fr_int ldr, const void *x,
                         fr_int ldx, const void *gain, const void *shift, fr_int r, fr_int n))
/* dx: [R,N] = rstd (g - mean(g) - scaled mean(g scaled)), g = dy: [R,N] * gain;  dgain: [N] += sum of dy scaled.
 * dx may be dy or scaled. */
FR_KERNEL(norm_backward, (void *dx, fr_int lddx, void *dgain, const void *dy, fr_int lddy, const void *scaled,
                          fr_int lds, const void *rstd, fr_int ldr, const void *gain, fr_int r, fr_int n))

/* Attention of one query over the rows of a memory. scores: [S] = v: [N] . tanh(q: [N] + keys: [S,N]), or q . keys
 * if v is NULL. */
FR_KERNEL(attention_scores, (void *scores, const void *q, const void *keys, fr_int ldk, const void *v, fr_int s,
                             fr_int n))
/* sum: [N] = weights: [S] rows: [S,N]. */
FR_KERNEL(weighted_sum, (void *sum, const void *weights, const void *rows, fr_int ldr, fr_int s, fr_int n))
/* Gradients of the scores with v: dkeys: [S,N] += dscores tanh' v, dq: [N] = its sum over the rows,
 * dv: [N] += dscores tanh. */
FR_KERNEL(attention_backward, (void *dq, void *dkeys, fr_int lddk, void *dv, const void *dscores, const void *q,
                               const void *keys, fr_int ldk, const void *v, fr_int s, fr_int n))
/* Steps of the cells without a recurrent product; backward: z becomes dz.
 * minGRU, z: (z, candidate).  z = sigmoid, g = x + 1/2 for x >= 0, else sigmoid; state = (1 - z) before + z g. */
FR_KERNEL(mingru_forward, (const fr_scan *s))
FR_KERNEL(mingru_backward, (const fr_scan *s))
/* minLSTM, z: (f, i, candidate).  f, i = sigmoid; f' = f / (f + i), i' = i / (f + i), state = f' before + i' g.
 * Kept: f', i', g, and f + i in saved. */
FR_KERNEL(minlstm_forward, (const fr_scan *s))
FR_KERNEL(minlstm_backward, (const fr_scan *s))
/* SRU, z: (candidate u, f, r, perhaps skip).  f, r = sigmoid(z + weight * before), state = f before + (1 - f) u,
 * out = r state + (1 - r) skip_scale skip.  Backward: skip's gradient goes to saved, which may be skip. */
FR_KERNEL(sru_forward, (const fr_scan *s))
FR_KERNEL(sru_backward, (const fr_scan *s))
/* QRNN, z: (u, f, o).  u = tanh, f, o = sigmoid, state = f before + (1 - f) u, out = o state. */
FR_KERNEL(qrnn_forward, (const fr_scan *s))
FR_KERNEL(qrnn_backward, (const fr_scan *s))
