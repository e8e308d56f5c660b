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

static int keep(const char *path, int fd)
{
	struct stat st;
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
static bool answer(void *path, int chan)
{
	struct chan_msg m, reply = { .kind = CHAN_KEPT };
	int fd, got = chan_recv(chan, &m, &fd);

	if (got <= 0)
		return got == 0;
	if (m.kind == CHAN_KEEP && fd >= 0) {
		reply.code = keep(path, fd);
		chan_send(chan, &reply, -1);
	}
	if (fd >= 0)
		close(fd);
	return true;
}

_Noreturn void keeper_main(const char *dir, int chan)
{
	const char *const writable[] = { dir, NULL };
	char path[300];

	snprintf(path, sizeof(path), "%s/" MEMBERS_FILE, dir);
	if (sandbox_enter(SANDBOX_KEEPER, writable) < 0)
		_exit(EXIT_CANNOT);
	chan_serve(chan, answer, path);
	_exit(0);
}
