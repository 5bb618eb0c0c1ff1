/* Attention of one query over the S rows of a memory. Every sum has one order, so its bits do not depend on what else
 * is computed. The backward pass computes tanh(q + k) again: keeping it would take S * N numbers a step, and BPTT
 * otherwise keeps S. */

FR_INLINE V FN(score_term)(const REAL *q, const REAL *key, const REAL *v, fr_int j, fr_int left)
{
    const V a = FN(vload_n)(q + j, left), b = FN(vload_n)(key + j, left);
    return v ? FN(vload_n)(v + j, left) * FN(vtanh)(a + b) : a * b;
}

static void FN(attention_scores)(void *scores_, const void *q_, const void *keys_, fr_int ldk, const void *v_, fr_int s,
                                 fr_int n)
{
    REAL *scores = scores_;
    const REAL *q = q_, *v = v_;
    for (fr_int m = 0; m < s; m++) {
        const REAL *key = (const REAL *)keys_ + m * ldk;
        V part[4];
        for (int p = 0; p < 4; p++)
            part[p] = (V){0};
        fr_int j = 0;
        for (; j + 4 * VL <= n; j += 4 * VL)
            FR_UNROLL
            for (int p = 0; p < 4; p++)
                part[p] += FN(score_term)(q, key, v, j + p * VL, VL);
        for (; j < n; j += VL)
            part[0] += FN(score_term)(q, key, v, j, n - j);
        scores[m] = FN(lane_total)((part[0] + part[1]) + (part[2] + part[3]));
    }
}

static void FN(weighted_sum)(void *sum_, const void *weights_, const void *rows_, fr_int ldr, fr_int s, fr_int n)
{
    REAL *sum = sum_;
    const REAL *weights = weights_, *rows = rows_;
    fr_int j = 0;
    for (; j + 4 * VL <= n; j += 4 * VL) {
        V part[4];
        for (int p = 0; p < 4; p++)
            part[p] = (V){0};
        for (fr_int m = 0; m < s; m++) {
            const V w = FN(vset)(weights[m]);
            FR_UNROLL
            for (int p = 0; p < 4; p++)
                part[p] = FN(vfma)(w, FN(vload)(rows + m * ldr + j + p * VL), part[p]);
        }
        for (int p = 0; p < 4; p++)
            FN(vstore)(sum + j + p * VL, part[p]);
    }
    for (; j < n; j += VL) {
        V part = {0};
        for (fr_int m = 0; m < s; m++)
            part = FN(vfma)(FN(vset)(weights[m]), FN(vload_n)(rows + m * ldr + j, n - j), part);
        FN(vstore_n)(sum + j, part, n - j);
    }
}

static void FN(attention_backward)(void *dq_, void *dkeys_, fr_int lddk, void *dv_, const void *dscores_, const void *q_,
                                   const void *keys_, fr_int ldk, const void *v_, fr_int s, fr_int n)
{
    REAL *dq = dq_, *dv = dv_;
    const REAL *dscores = dscores_, *q = q_, *v = v_;
    for (fr_int j = 0, left = n; left > 0; j += VL, left -= VL) {
        const V a = FN(vload_n)(q + j, left), b = FN(vload_n)(v + j, left);
        V sum_q = {0}, sum_v = FN(vload_n)(dv + j, left);
        for (fr_int m = 0; m < s; m++) {
            REAL *dkey = (REAL *)dkeys_ + m * lddk + j;
            const V t = FN(vtanh)(a + FN(vload_n)((const REAL *)keys_ + m * ldk + j, left));
            const V d = FN(vset)(dscores[m]);
            const V slope = d * b * ((REAL)1 - t * t);
            sum_v = FN(vfma)(d, t, sum_v);
            sum_q += slope;
            FN(vstore_n)(dkey, FN(vload_n)(dkey, left) + slope, left);
        }
        FN(vstore_n)(dq + j, sum_q, left);
        FN(vstore_n)(dv + j, sum_v, left);
    }
}
