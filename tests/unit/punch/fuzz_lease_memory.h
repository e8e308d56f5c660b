/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite's memory in the fuzz target: one block after another, with poisoned bytes around each, none used twice within
 * an input. What ASan's allocator does for thousands of small blocks takes as long as SQLite itself.
 */
#ifndef WARREN_FUZZ_LEASE_MEMORY_H
#define WARREN_FUZZ_LEASE_MEMORY_H

void lease_memory_once(void); /* before anything of SQLite */
void lease_memory_end(void);  /* of an input: aborts where SQLite, or who asked it, keeps a block */

#endif
