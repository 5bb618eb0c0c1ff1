/* Products with 8-bit weights by AVX-VNNI; empty where the compiler was not asked for it. */
#include "isa.h"
#if defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#define FR_BYTES 32
#include "dot_only.inc.h"
const fr_format *const fr_avxvnni = &fr_format8_f32;
#else
const fr_format *const fr_avxvnni = 0;
#endif
