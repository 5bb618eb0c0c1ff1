/* Both element types for one instruction set; the including file has set FR_BYTES, the vector width. */
#include "kernels.h"
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "table.inc.h"
#define FR_F64
#include "table.inc.h"
#undef FR_F64
