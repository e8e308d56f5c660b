/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is put back as it was. What was written to since is asked of the kernel (userfaultfd's asynchronous
 * write protection and PAGEMAP_SCAN, Linux 6.7); one that cannot tell has all of it copied.
 */
#ifndef WARREN_FUZZ_IMAGE_H
#define WARREN_FUZZ_IMAGE_H

#include <stddef.h>

/* As it is now, poisoned or not. */
void image_take(void *p, size_t len);
/* All that were taken. */
void image_restore(void);

/* As memcpy() and memset(), of poisoned memory too, and of ASan's own. */
void image_copy(void *to, const void *from, size_t n);
void image_clear(void *p, size_t n);

#endif
