/* Products with 8-bit weights by AVX-512 VNNI; empty where the compiler was not asked for it. */
#include "isa.h"
#if FR_COMPILES_AVX512 && defined(__AVX512VNNI__)
#define FR_BYTES 64
#include "dot_only.inc.h"
const fr_format *const fr_avx512vnni = &fr_format8_f32;
#else
const fr_format *const fr_avx512vnni = 0;
#endif
