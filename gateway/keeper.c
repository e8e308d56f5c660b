/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/keeper.h"
#include "gateway/memory.h"
#include "gateway/proc.h"
#include "gateway/sandbox.h"
#include "gateway/state.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int keep(const char *dir, int code, int fd)
{
	static const char *const names[] = {
		[KEEPER_MEMBERS] = MEMBERS_FILE, [KEEPER_IDENTITY] = IDENTITY_FILE
	};
	char path[300];
	struct stat st;
	if (code < KEEPER_MEMBERS || code > KEEPER_IDENTITY)
		return -EINVAL;
	snprintf(path, sizeof(path), "%s/%s", dir, names[code]);
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > MEMORY_FILE_MAX)
		return -EINVAL;
	size_t len = (size_t)st.st_size;
	void *bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	int err = file_replace(path, bytes, len);
	munmap(bytes, len);
	return err;
}

/* What the gateway says; false when it is gone. */
static bool answer(void *dir, int chan)
{
	struct chan_msg m, reply = { .kind = CHAN_KEPT };
	int fd, got = chan_recv(chan, &m, &fd);

	if (got <= 0)
		return got == 0;
	if (m.kind == CHAN_KEEP && fd >= 0) {
		reply.code = keep(dir, m.code, fd);
		chan_send(chan, &reply, -1);
	}
	if (fd >= 0)
		close(fd);
	return true;
}

_Noreturn void keeper_main(const char *dir, int chan)
{
	const char *const writable[] = { dir, NULL };
	char where[256];

	snprintf(where, sizeof(where), "%s", dir);
	if (sandbox_enter(SANDBOX_KEEPER, writable) < 0)
		_exit(EXIT_CANNOT);
	chan_serve(chan, answer, where);
	_exit(0);
}
