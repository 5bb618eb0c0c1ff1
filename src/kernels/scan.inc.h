/* Cells whose products do not depend on the state: one call computes many steps of a block of rows. Time is the outer
 * loop, so each row of z and of the states is read and written once, in order. The units of a step are independent, so
 * the activations of one vector overlap with those of the next. */

#define FR_STEPS for (fr_int t = 0; t < s->steps; t++)
#define FR_STEPS_BACK for (fr_int t = s->steps - 1; t >= 0; t--)
#define FR_ROWS for (fr_int m = 0; m < s->rows; m++)
#define FR_UNITS for (fr_int j = s->first, left = s->end - s->first; left > 0; j += VL, left -= VL)
#define LD(p) FN(vload_n)((p) + j, left)
#define ST(p, x) FN(vstore_n)((p) + j, x, left)
#define ADD(p, x) ST(p, LD(p) + (x))
#define ONE ((REAL)1)

/* The pointers of one row of one step. */
typedef struct {
    REAL *z, *saved, *state, *out, *dy, *carry, *sums;
    const REAL *before, *skip, *weight;
} FN(place);

FR_INLINE FN(place) FN(place_of)(const fr_scan *s, fr_int t, fr_int m)
{
    const fr_int row = t * s->rows + m;
    REAL *const state = (REAL *)s->state + m * s->ld_state;
    const FN(place) p = {
        .z = (REAL *)s->z + row * s->ld_z,
        .saved = (REAL *)s->saved + row * s->ld_saved,
        .state = state + t * s->step_state,
        .out = (REAL *)s->out + t * s->step_out + m * s->ld_out,
        .dy = (REAL *)s->dy + row * s->ld_dy,
        .carry = (REAL *)s->carry + m * s->ld_carry,
        .sums = s->sums,
        .before = t > 0 ? state + (t - 1) * s->step_state : (const REAL *)s->before + m * s->ld_before,
        .skip = (const REAL *)s->skip + row * s->ld_skip,
        .weight = s->weight,
    };
    return p;
}

/* g(x) = x + 1/2 for x >= 0, else sigmoid(x): continuous, above 0; NaN gives NaN. */
FR_INLINE V FN(vpositive)(V x)
{
    return FN(vselect)((VI)(x >= (REAL)0), x + (REAL)0.5, FN(vsigmoid)(x));
}

/* g'(x) from g(x). */
FR_INLINE V FN(vpositive_slope)(V g)
{
    return FN(vselect)((VI)(g >= (REAL)0.5), FN(vset)(1), g * (ONE - g));
}

/* after + share * (before - after) */
FR_INLINE V FN(vblend)(V share, V before, V after) { return FN(vfma)(share, before - after, after); }

/* The whole gradient of a state: the part from later steps plus `more`. With `trace` it also replaces dy. */
FR_INLINE V FN(state_gradient)(const fr_scan *s, FN(place) p, fr_int j, fr_int left, V more)
{
    const V total = LD(p.carry) + more;
    if (s->trace)
        ST(p.dy, total);
    return total;
}

static void FN(mingru_forward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    FR_STEPS FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            const V update = FN(vsigmoid)(LD(p.z)), g = FN(vpositive)(LD(p.z + hidden));
            if (s->keep) {
                ST(p.z, update);
                ST(p.z + hidden, g);
            }
            ST(p.state, FN(vblend)(update, g, LD(p.before)));
        }
    }
}

static void FN(mingru_backward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    FR_STEPS_BACK FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            const V dh = FN(state_gradient)(s, p, j, left, LD(p.dy));
            const V update = LD(p.z), g = LD(p.z + hidden), taken = dh * update;
            ST(p.z, (g - LD(p.before)) * taken * (ONE - update));
            ST(p.z + hidden, taken * FN(vpositive_slope)(g));
            ST(p.carry, dh - taken);
        }
    }
}

static void FN(minlstm_forward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    FR_STEPS FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            /* If both are below -40, raise both by the same amount: there a sigmoid is e^x to the last bit, so f / i
             * stays as it is. */
            V f = FN(vclamp)(LD(p.z), (REAL)-1e30, (REAL)1e30);
            V i = FN(vclamp)(LD(p.z + hidden), (REAL)-1e30, (REAL)1e30);
            const V top = FN(vselect)((VI)(f > i), f, i);
            const V up = FN(vselect)((VI)(top < (REAL)-40), (REAL)-40 - top, (V){0});
            f = FN(vsigmoid)(f + up);
            i = FN(vsigmoid)(i + up);
            const V sum = f + i, inverse = FN(vdiv)(FN(vset)(1), sum), g = FN(vpositive)(LD(p.z + 2 * hidden));
            f *= inverse;
            i *= inverse;
            if (s->keep) {
                ST(p.z, f);
                ST(p.z + hidden, i);
                ST(p.z + 2 * hidden, g);
                ST(p.saved, sum);
            }
            ST(p.state, FN(vfma)(f, LD(p.before), i * g));
        }
    }
}

static void FN(minlstm_backward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    FR_STEPS_BACK FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            const V dh = FN(state_gradient)(s, p, j, left, LD(p.dy));
            const V f = LD(p.z), i = LD(p.z + hidden), g = LD(p.z + 2 * hidden), sum = LD(p.saved);
            const V d = dh * (LD(p.before) - g) * f * i;
            ST(p.z, d * (ONE - f * sum));
            ST(p.z + hidden, d * (i * sum - ONE));
            ST(p.z + 2 * hidden, dh * i * FN(vpositive_slope)(g));
            ST(p.carry, dh * f);
        }
    }
}

static void FN(sru_forward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    const REAL scale = (REAL)s->skip_scale;
    FR_STEPS FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            const V before = LD(p.before);
            const V f = FN(vsigmoid)(FN(vfma)(LD(p.weight), before, LD(p.z + hidden)));
            const V r = FN(vsigmoid)(FN(vfma)(LD(p.weight + hidden), before, LD(p.z + 2 * hidden)));
            const V c = FN(vblend)(f, before, LD(p.z));
            if (s->keep) {
                ST(p.z + hidden, f);
                ST(p.z + 2 * hidden, r);
            }
            ST(p.state, c);
            ST(p.out, FN(vblend)(r, c, LD(p.skip) * scale));
        }
    }
}

static void FN(sru_backward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    const REAL scale = (REAL)s->skip_scale;
    FR_STEPS_BACK FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            const V u = LD(p.z), f = LD(p.z + hidden), r = LD(p.z + 2 * hidden), before = LD(p.before);
            const V dh = LD(p.dy), shown = dh * r;
            const V dr = (LD(p.state) - LD(p.skip) * scale) * shown * (ONE - r);
            const V dc = FN(state_gradient)(s, p, j, left, shown), kept = dc * f;
            const V df = (before - u) * kept * (ONE - f);
            ST(p.saved, (dh - shown) * scale);
            ST(p.z, dc - kept);
            ST(p.z + hidden, df);
            ST(p.z + 2 * hidden, dr);
            ST(p.carry, FN(vfma)(df, LD(p.weight), FN(vfma)(dr, LD(p.weight + hidden), kept)));
            ADD(p.sums, df * before);
            ADD(p.sums + hidden, dr * before);
        }
    }
}

static void FN(qrnn_forward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    FR_STEPS FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            const V u = FN(vtanh)(LD(p.z)), f = FN(vsigmoid)(LD(p.z + hidden)), o = FN(vsigmoid)(LD(p.z + 2 * hidden));
            const V c = FN(vblend)(f, LD(p.before), u);
            if (s->keep) {
                ST(p.z, u);
                ST(p.z + hidden, f);
                ST(p.z + 2 * hidden, o);
            }
            ST(p.state, c);
            ST(p.out, o * c);
        }
    }
}

static void FN(qrnn_backward)(const fr_scan *s)
{
    const fr_int hidden = s->hidden;
    FR_STEPS_BACK FR_ROWS {
        const FN(place) p = FN(place_of)(s, t, m);
        FR_UNITS {
            const V u = LD(p.z), f = LD(p.z + hidden), o = LD(p.z + 2 * hidden), shown = LD(p.dy) * o;
            const V dc = FN(state_gradient)(s, p, j, left, shown), kept = dc * f;
            ST(p.z, (dc - kept) * (ONE - u * u));
            ST(p.z + hidden, (LD(p.before) - u) * kept * (ONE - f));
            ST(p.z + 2 * hidden, LD(p.state) * shown * (ONE - o));
            ST(p.carry, kept);
        }
    }
}
#undef FR_STEPS
#undef FR_STEPS_BACK
#undef FR_ROWS
#undef FR_UNITS
#undef LD
#undef ST
#undef ADD
#undef ONE
