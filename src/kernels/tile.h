/* The tile of a packed product: up to MR rows x NR columns of sums in registers. */
#ifndef FASTRNN_TILE_H
#define FASTRNN_TILE_H

#define NR (2 * VL)
#if FR_BYTES == 64
#define MR 12 /* 24 sums + 2 weights + 1 broadcast of 32 registers */
#elif defined(__aarch64__)
#define MR 12
#else
#define MR 6 /* 12 sums + 2 weights + 1 broadcast of 16 registers */
#endif

/* For each block at .. at + rows - 1 of r: the fewest blocks of at most `most` rows, of nearly equal size. 16 rows
 * run as 8 + 8, not 12 + 4. */
#define FR_EACH_BLOCK(at, rows, r, most)                                                                              \
    for (fr_int at = 0, rows, blocks = ((r) + (most)-1) / (most);                                                     \
         blocks > 0 && (rows = ((r)-at + blocks - 1) / blocks, 1); at += rows, blocks--)

/* One function per row count, so that every loop over rows unrolls into registers. */
#if MR == 12
#define FR_EACH_COUNT(DO, ...)                                                                                        \
    DO(__VA_ARGS__, 1) DO(__VA_ARGS__, 2) DO(__VA_ARGS__, 3) DO(__VA_ARGS__, 4) DO(__VA_ARGS__, 5) DO(__VA_ARGS__, 6) \
    DO(__VA_ARGS__, 7) DO(__VA_ARGS__, 8) DO(__VA_ARGS__, 9) DO(__VA_ARGS__, 10) DO(__VA_ARGS__, 11)                  \
    DO(__VA_ARGS__, 12)
#else
#define FR_EACH_COUNT(DO, ...)                                                                                        \
    DO(__VA_ARGS__, 1) DO(__VA_ARGS__, 2) DO(__VA_ARGS__, 3) DO(__VA_ARGS__, 4) DO(__VA_ARGS__, 5) DO(__VA_ARGS__, 6)
#endif

#endif
