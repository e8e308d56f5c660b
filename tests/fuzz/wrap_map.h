/* SPDX-License-Identifier: Apache-2.0 */
/* What the linker puts before the kernel's for the mappings of key arenas, and the kernel's own. */
#ifndef WARREN_FUZZ_WRAP_MAP_H
#define WARREN_FUZZ_WRAP_MAP_H

#include <sys/mman.h>
#include <sys/types.h>

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t len);
int __real_mprotect(void *at, size_t len, int prot);
int __real_madvise(void *at, size_t len, int advice);
int __real_mlock2(const void *at, size_t len, unsigned flags);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t len);
int __wrap_mprotect(void *at, size_t len, int prot);
int __wrap_madvise(void *at, size_t len, int advice);
int __wrap_mlock2(const void *at, size_t len, unsigned flags);

#endif
