/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world that takes long to make, made once: after snapshot_take() everything that the code under test has
 * allocated, and the static memory that was named, is what snapshot_restore() puts back. The allocator
 * (the linker puts it before the C library's, and the mappings of key arenas with it) never uses
 * memory twice within an input, and has poisoned bytes around each block, so that ASan sees as much.
 */
#ifndef WARREN_SNAPSHOT_H
#define WARREN_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

void snapshot_begin(void);		   /* from now on memory is of here */
void snapshot_static(void *p, size_t len); /* a variable of the world; before snapshot_take() */
void snapshot_take(void);
bool snapshot_taken(void);
void snapshot_restore(void);
/*
 * Is the world to be taken down after this input? That writes to all of it, which costs more than most inputs do:
 * one in sixteen is, and the first, so that an input which was found shows it again.
 */
bool snapshot_ends(void);
/*
 * The end of an input. Where the world is gone: aborts where a block of it is left. Between inputs memory is the C library's, for what a
 * fuzzer keeps must not be put back.
 */
void snapshot_end(void);

#endif
