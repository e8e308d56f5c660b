/* SPDX-License-Identifier: Apache-2.0 */
/* Where there is no ASan there is nothing to poison. */
#ifndef WARREN_FUZZ_POISON_H
#define WARREN_FUZZ_POISON_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#endif

#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#define UNCHECKED __attribute__((no_sanitize("address"))) /* may touch what is poisoned */
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define UNCHECKED
#endif

#endif
