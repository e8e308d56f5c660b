/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a person named, or could have put in our directories: opened without waiting for anybody, and read only
 * where they are files. By their name a pipe would be waited for, for ever, and a device may say anything.
 *
 * What the caller has opened itself and hands over by number (/dev/stdin, /dev/fd/N, and so a shell's <(COMMAND)) is
 * read to its end, whatever it is, as wg(8) does it: there the waiting is the caller's own, and a key need not stand
 * in a file for it.
 */
#ifndef WARREN_FILE_H
#define WARREN_FILE_H

#include <stddef.h>
#include <stdint.h>

/*
 * To read a file; `flags` are further ones of open(). A descriptor or -errno: -EBADMSG for what is none, as for
 * one that is damaged.
 */
int file_open(const char *path, int flags);

/*
 * The whole of a file in one of our directories, of at most `max` bytes, in fresh memory (malloc). 0 or -errno:
 * -EBADMSG also where it is larger, or ends while it is read.
 */
int file_load(const char *path, size_t max, uint8_t **out, size_t *len);

/*
 * The whole of a small text of at most `max` bytes, or of what was handed over; NULL with errno, EILSEQ where a byte
 * is 0. To be freed.
 */
char *file_read(const char *path, size_t max);

/* Of any of them, in words. */
const char *file_error(int err);

#endif
