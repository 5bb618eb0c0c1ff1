/* Gate arithmetic, forward and backward, over a block of rows. The forward functions go over each row twice, so that no
 * activation waits for another one: 40 ns a vector instead of 51 (bench/NOTES.md, Two passes over a row). */

#define FR_ROWS for (fr_int m = 0; m < r; m++)
#define FR_UNITS for (fr_int j = 0, left = hidden; left > 0; j += VL, left -= VL)
#define FR_EACH FR_ROWS FR_UNITS
#define LD(p, ld) FN(vload_n)((p) + m * (ld) + j, left)
#define ST(p, ld, x) FN(vstore_n)((p) + m * (ld) + j, x, left)
#define ONE ((REAL)1)

static void FN(rnn_forward)(void *h_, fr_int ldh, const void *z_, fr_int ldz, int relu, fr_int r, fr_int hidden)
{
    REAL *h = h_;
    const REAL *z = z_;
    if (relu) {
        FR_EACH {
            const V x = LD(z, ldz);
            ST(h, ldh, FN(vselect)((VI)(x < (REAL)0), (V){0}, x)); /* NaN stays NaN */
        }
    } else {
        FR_EACH ST(h, ldh, FN(vtanh)(LD(z, ldz)));
    }
}

static void FN(rnn_backward)(void *dz_, fr_int ldz, const void *dh_, fr_int lddh, const void *h_, fr_int ldh, int relu,
                             fr_int r, fr_int hidden)
{
    REAL *dz = dz_;
    const REAL *dh = dh_, *h = h_;
    FR_EACH {
        const V y = LD(h, ldh), g = LD(dh, lddh);
        const V slope = ONE - y * y;
        ST(dz, ldz, relu ? FN(vselect)((VI)(y > (REAL)0), g, (V){0}) : (V)(g * slope));
    }
}

/* i, f, g, o from z, and c; with_out: also writes o to `out`. */
FR_INLINE void FN(lstm_row)(const int with_out, REAL *out, REAL *c, REAL *z, const REAL *c_prev, int keep,
                            fr_int hidden)
{
    FR_UNITS {
        const V i = FN(vsigmoid)(FN(vload_n)(z + j, left));
        const V f = FN(vsigmoid)(FN(vload_n)(z + hidden + j, left));
        const V g = FN(vtanh)(FN(vload_n)(z + 2 * hidden + j, left));
        const V o = FN(vsigmoid)(FN(vload_n)(z + 3 * hidden + j, left));
        FN(vstore_n)(c + j, FN(vfma)(f, FN(vload_n)(c_prev + j, left), i * g), left);
        if (with_out)
            FN(vstore_n)(out + j, o, left);
        if (keep) {
            FN(vstore_n)(z + j, i, left);
            FN(vstore_n)(z + hidden + j, f, left);
            FN(vstore_n)(z + 2 * hidden + j, g, left);
            FN(vstore_n)(z + 3 * hidden + j, o, left);
        }
    }
}

static void FN(lstm_forward)(void *h_, fr_int ldh, void *c_, fr_int ldc, void *z_, fr_int ldz, const void *c_prev_,
                             fr_int ldcp, int keep, fr_int r, fr_int hidden)
{
    REAL *h = h_, *c = c_, *z = z_;
    const REAL *c_prev = c_prev_;
    FR_ROWS {
        FN(lstm_row)(1, h + m * ldh, c + m * ldc, z + m * ldz, c_prev + m * ldcp, keep, hidden);
        FR_UNITS ST(h, ldh, LD(h, ldh) * FN(vtanh)(LD(c, ldc)));
    }
}

static void FN(lstm_cell)(void *c_, fr_int ldc, void *z_, fr_int ldz, const void *c_prev_, fr_int ldcp, fr_int r,
                          fr_int hidden)
{
    REAL *c = c_, *z = z_;
    const REAL *c_prev = c_prev_;
    FR_ROWS FN(lstm_row)(0, 0, c + m * ldc, z + m * ldz, c_prev + m * ldcp, 1, hidden);
}

static void FN(lstm_output)(void *h_, fr_int ldh, const void *gates_, fr_int ldz, const void *n_, fr_int ldn, fr_int r,
                            fr_int hidden)
{
    REAL *h = h_;
    const REAL *gates = gates_, *n = n_;
    FR_EACH ST(h, ldh, LD(gates + 3 * hidden, ldz) * FN(vtanh)(LD(n, ldn)));
}

static void FN(lstm_backward)(void *gates_, fr_int ldz, void *dc_, fr_int lddc, const void *dh_, fr_int lddh,
                              const void *c_, fr_int ldc, const void *c_prev_, fr_int ldcp, fr_int r, fr_int hidden)
{
    REAL *gates = gates_, *dc = dc_;
    const REAL *dh = dh_, *c = c_, *c_prev = c_prev_;
    FR_EACH {
        const V i = LD(gates, ldz), f = LD(gates + hidden, ldz), g = LD(gates + 2 * hidden, ldz),
                o = LD(gates + 3 * hidden, ldz);
        const V tc = FN(vtanh)(LD(c, ldc)), dy = LD(dh, lddh);
        const V ds = FN(vfma)(dy * o, ONE - tc * tc, LD(dc, lddc));
        ST(gates, ldz, ds * g * i * (ONE - i));
        ST(gates + hidden, ldz, ds * LD(c_prev, ldcp) * f * (ONE - f));
        ST(gates + 2 * hidden, ldz, ds * i * (ONE - g * g));
        ST(gates + 3 * hidden, ldz, dy * tc * o * (ONE - o));
        ST(dc, lddc, ds * f);
    }
}

static void FN(lstm_output_backward)(void *dn_, fr_int lddn, void *gates_, fr_int ldz, const void *dh_, fr_int lddh,
                                     const void *scaled_, fr_int lds, const void *gain_, const void *shift_, fr_int r,
                                     fr_int hidden)
{
    REAL *dn = dn_, *o = (REAL *)gates_ + 3 * hidden;
    const REAL *dh = dh_, *scaled = scaled_, *gain = gain_, *shift = shift_;
    FR_EACH {
        const V n = FN(vfma)(LD(scaled, lds), FN(vload_n)(gain + j, left), FN(vload_n)(shift + j, left));
        const V tn = FN(vtanh)(n), gate = LD(o, ldz), dy = LD(dh, lddh);
        ST(o, ldz, dy * tn * gate * (ONE - gate));
        ST(dn, lddn, dy * gate * (ONE - tn * tn));
    }
}

static void FN(lstm_cell_backward)(void *gates_, fr_int ldz, void *dc_, fr_int lddc, const void *c_prev_, fr_int ldcp,
                                   fr_int r, fr_int hidden)
{
    REAL *gates = gates_, *dc = dc_;
    const REAL *c_prev = c_prev_;
    FR_EACH {
        const V i = LD(gates, ldz), f = LD(gates + hidden, ldz), g = LD(gates + 2 * hidden, ldz), ds = LD(dc, lddc);
        ST(gates, ldz, ds * g * i * (ONE - i));
        ST(gates + hidden, ldz, ds * LD(c_prev, ldcp) * f * (ONE - f));
        ST(gates + 2 * hidden, ldz, ds * i * (ONE - g * g));
        ST(dc, lddc, ds * f);
    }
}

/* h = (1 - z) n + z h_prev, written n + z (h_prev - n). */
FR_INLINE V FN(gru_blend)(V z, V n, V h_prev) { return FN(vfma)(z, h_prev - n, n); }

static void FN(gru_forward)(void *h_, fr_int ldh, void *z_, fr_int ldz, const void *hn_, fr_int ldhn,
                            const void *h_prev_, fr_int ldhp, fr_int r, fr_int hidden)
{
    REAL *h = h_, *gates = z_;
    const REAL *hn = hn_, *h_prev = h_prev_;
    FR_ROWS {
        FR_UNITS {
            const V reset = FN(vsigmoid)(LD(gates, ldz));
            ST(gates, ldz, reset);
            ST(gates + hidden, ldz, FN(vsigmoid)(LD(gates + hidden, ldz)));
            ST(gates + 2 * hidden, ldz, FN(vfma)(reset, LD(hn, ldhn), LD(gates + 2 * hidden, ldz)));
        }
        FR_UNITS {
            const V n = FN(vtanh)(LD(gates + 2 * hidden, ldz));
            ST(gates + 2 * hidden, ldz, n);
            ST(h, ldh, FN(gru_blend)(LD(gates + hidden, ldz), n, LD(h_prev, ldhp)));
        }
    }
}

static void FN(gru_backward)(void *gates_, fr_int ldz, void *hn_, fr_int ldhn, void *dh_, fr_int lddh,
                             const void *h_prev_, fr_int ldhp, fr_int r, fr_int hidden)
{
    REAL *gates = gates_, *hn = hn_, *dh = dh_;
    const REAL *h_prev = h_prev_;
    FR_EACH {
        const V reset = LD(gates, ldz), update = LD(gates + hidden, ldz), n = LD(gates + 2 * hidden, ldz);
        const V g = LD(dh, lddh);
        const V dn = g * (ONE - update) * (ONE - n * n);
        ST(gates, ldz, dn * LD(hn, ldhn) * reset * (ONE - reset));
        ST(gates + hidden, ldz, g * (LD(h_prev, ldhp) - n) * update * (ONE - update));
        ST(gates + 2 * hidden, ldz, dn);
        ST(hn, ldhn, dn * reset);
        ST(dh, lddh, g * update);
    }
}

static void FN(gru_reset)(void *rh_, fr_int ldrh, void *z_, fr_int ldz, const void *h_prev_, fr_int ldhp, fr_int r,
                          fr_int hidden)
{
    REAL *rh = rh_, *gates = z_;
    const REAL *h_prev = h_prev_;
    FR_EACH {
        const V reset = FN(vsigmoid)(LD(gates, ldz));
        ST(gates, ldz, reset);
        ST(gates + hidden, ldz, FN(vsigmoid)(LD(gates + hidden, ldz)));
        ST(rh, ldrh, reset * LD(h_prev, ldhp));
    }
}

static void FN(gru_update)(void *h_, fr_int ldh, void *z_, fr_int ldz, const void *h_prev_, fr_int ldhp, fr_int r,
                           fr_int hidden)
{
    REAL *h = h_, *gates = z_;
    const REAL *h_prev = h_prev_;
    FR_EACH {
        const V n = FN(vtanh)(LD(gates + 2 * hidden, ldz));
        ST(gates + 2 * hidden, ldz, n);
        ST(h, ldh, FN(gru_blend)(LD(gates + hidden, ldz), n, LD(h_prev, ldhp)));
    }
}

static void FN(gru_update_backward)(void *gates_, fr_int ldz, void *dh_, fr_int lddh, const void *h_prev_, fr_int ldhp,
                                    fr_int r, fr_int hidden)
{
    REAL *gates = gates_, *dh = dh_;
    const REAL *h_prev = h_prev_;
    FR_EACH {
        const V update = LD(gates + hidden, ldz), n = LD(gates + 2 * hidden, ldz), g = LD(dh, lddh);
        ST(gates + hidden, ldz, g * (LD(h_prev, ldhp) - n) * update * (ONE - update));
        ST(gates + 2 * hidden, ldz, g * (ONE - update) * (ONE - n * n));
        ST(dh, lddh, g * update);
    }
}

static void FN(gru_reset_backward)(void *gates_, fr_int ldz, void *dh_, fr_int lddh, const void *drh_, fr_int lddrh,
                                   const void *h_prev_, fr_int ldhp, fr_int r, fr_int hidden)
{
    REAL *gates = gates_, *dh = dh_;
    const REAL *drh = drh_, *h_prev = h_prev_;
    FR_EACH {
        const V reset = LD(gates, ldz), g = LD(drh, lddrh);
        ST(gates, ldz, g * LD(h_prev, ldhp) * reset * (ONE - reset));
        ST(dh, lddh, FN(vfma)(reset, g, LD(dh, lddh)));
    }
}
#undef FR_EACH
#undef FR_ROWS
#undef FR_UNITS
#undef LD
#undef ST
#undef ONE
