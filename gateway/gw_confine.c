/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/gw_confine.h"
#include "gateway/gw.h"
#include "gateway/sandbox.h"
#include "gateway/uapi_server.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

const struct syscall_rule gateway_syscalls[] = {
	/* if_nametoindex(), for an endpoint with a zone */
	CALL_IF(socket, ARG_IS(0, AF_UNIX), ARG_IS(1, SOCK_DGRAM | SOCK_CLOEXEC)),
	CALL_IF(ioctl, ARG_IS(1, SIOCGIFINDEX)),
	/* is the configuration socket still there? */
	CALL(lstat),
	CALL(newfstatat),
	CALL(fstatat64),
	/* the file of the addresses is for all to read */
	CALL(chmod),
	CALL(fchmodat),
	CALL(fchmodat2),
	CALL(pwrite64), /* src_valid_mark */
	/* what the keeper is to write */
	CALL(memfd_create),
	/* a bare interface leaves its terminal */
	CALL(dup2),
	CALL(dup3),
	CALLS_END,
};

int gw_confine(const struct gw *g)
{
	const char *const writable[] = { g->cfg->state.dir, g->cfg->run_dir, UAPI_DIR, NULL };
	return sandbox_enter(SANDBOX_GATEWAY, writable);
}
