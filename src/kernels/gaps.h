/* Gaps after the arrays of an arena. Built with -fsanitize=address, whoever reads or writes there is found; in all other
 * builds there are none. */
#ifndef FASTRNN_GAPS_H
#define FASTRNN_GAPS_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define FR_GAP 64
/* Of `whole` bytes the first `used` are free for use, the others for none. */
static inline void fr_fence(const char *at, size_t used, size_t whole)
{
    __asan_unpoison_memory_region(at, used);
    __asan_poison_memory_region(at + used, whole - used);
}
#else
#define FR_GAP 0
static inline void fr_fence(const char *at, size_t used, size_t whole)
{
    (void)at;
    (void)used;
    (void)whole;
}
#endif

#endif
