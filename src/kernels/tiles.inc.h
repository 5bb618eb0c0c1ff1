/* Products of a block of rows with one panel of NR = 32 columns by AMX: tiles of 16 rows x 64 bytes.
 * Tiles 0 to 3 hold the sums of 32 rows x 32 columns, 4 and 5 rows of a, 6 and 7 the panel's two halves.
 * Rows beyond the last one, up to a multiple of 16, are read and their sums are dropped.
 */

/* rows: of a tile of a and of sums; fr_tiles_begin ... _tile_release() is one use of the tiles. */
FR_INLINE void fr_tiles_begin(int rows)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int tile = 0; tile < 8; tile++) {
        config.bytes[tile] = 64;
        config.rows[tile] = (uint8_t)(tile < 6 ? rows : 16);
    }
    _tile_loadconfig(&config);
}

/* sums: [32][NR] of rows m .. m + 31, in steps of k that fill a tile. */
#define FR_TILE_SUMS(dot, a, lda, b, k, unit, rows)                                                                   \
    do {                                                                                                              \
        _tile_zero(0);                                                                                                \
        _tile_zero(1);                                                                                                \
        _tile_zero(2);                                                                                                \
        _tile_zero(3);                                                                                                \
        for (fr_int kk = 0; kk < (k); kk += (unit)) {                                                                 \
            _tile_loadd(6, (b) + kk * NR, 128);                                                                       \
            _tile_loadd(7, (const char *)((b) + kk * NR) + 64, 128);                                                  \
            _tile_loadd(4, (a) + kk, (lda) * (fr_int)sizeof *(a));                                                    \
            dot(0, 4, 6);                                                                                             \
            dot(1, 4, 7);                                                                                             \
            if ((rows) > 16) {                                                                                        \
                _tile_loadd(5, (a) + 16 * (lda) + kk, (lda) * (fr_int)sizeof *(a));                                   \
                dot(2, 5, 6);                                                                                         \
                dot(3, 5, 7);                                                                                         \
            }                                                                                                         \
        }                                                                                                             \
        _tile_stored(0, sums, 128);                                                                                   \
        _tile_stored(1, (char *)sums + 64, 128);                                                                      \
        _tile_stored(2, sums + 16 * NR, 128);                                                                         \
        _tile_stored(3, (char *)(sums + 16 * NR) + 64, 128);                                                          \
    } while (0)

/* c: [rows, cols] = init + a b, as fr_int8_rows computes it. */
FR_INLINE void fr_tiles8(float *c, fr_int ldc, const int8_t *a, fr_int lda, const int32_t *zero, const float *scale,
                         const int8_t *b, const float *column_scale, const float *init, fr_int ldi, fr_int rows,
                         fr_int k, fr_int cols)
{
    _Alignas(64) int32_t sums[32 * NR];
    for (fr_int m = 0; m < rows; m += 32) {
        FR_TILE_SUMS(_tile_dpbsud, a + m * lda, lda, b, k, 64, rows - m);
        for (fr_int i = 0; i < 32 && m + i < rows; i++)
            for (int v = 0; v < 2 && cols > v * VL; v++) {
                const VI sum = FN(vloadi)(sums + i * NR + v * VL) + zero[m + i];
                FN(finish8)(c + (m + i) * ldc + v * VL, sum, column_scale + v * VL, scale[m + i],
                            init ? init + (m + i) * ldi + v * VL : 0, cols - v * VL);
            }
    }
}

/* c: [rows, cols] = init + a b. */
FR_INLINE void fr_tiles16(float *c, fr_int ldc, const uint16_t *a, fr_int lda, const uint16_t *b, const float *init,
                          fr_int ldi, fr_int rows, fr_int k, fr_int cols)
{
    _Alignas(64) float sums[32 * NR];
    for (fr_int m = 0; m < rows; m += 32) {
        FR_TILE_SUMS(_tile_dpbf16ps, a + m * lda, lda, b, k, 32, rows - m);
        for (fr_int i = 0; i < 32 && m + i < rows; i++)
            for (int v = 0; v < 2 && cols > v * VL; v++) {
                const fr_int at = (m + i) * ldi + v * VL, left = cols - v * VL;
                const V sum = FN(vload)(sums + i * NR + v * VL);
                const V start = init ? FN(vload_n)(init + at, left) : (V){0};
                FN(vstore_n)(c + (m + i) * ldc + v * VL, start + sum, left);
            }
    }
}
