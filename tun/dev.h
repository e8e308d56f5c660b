/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TUN device: the kernel side of the inner network. Touches the kernel. The descriptor is
 * non-blocking; the device disappears when it is closed.
 */
#ifndef WARREN_TUN_DEV_H
#define WARREN_TUN_DEV_H

#include "base/syscalls.h"
#include "tun/offload.h"
#include <net/if.h>

struct tun {
	int fd;
	unsigned ifindex;
	char name[IFNAMSIZ];
	bool tso, uso; /* which offloads the kernel took; without tso each read is one packet */
	uint64_t reads, empty_reads, writes; /* system calls; empty: there was nothing to read */
};

/* 64 KiB of packet and its vnet header: what one read may give. */
enum { TUN_READ_MAX = VNET_HDR_LEN + 65535 };

/*
 * Creates interface `name` (with "%d" the kernel picks a number) with IFF_TUN | IFF_NO_PI |
 * IFF_VNET_HDR and all offloads that the kernel takes, falling back to fewer. It must not exist
 * already. 0, or -errno: -ENOENT no /dev/net/tun, -EPERM no CAP_NET_ADMIN, -EBUSY in use.
 */
int tun_open(struct tun *t, const char *name);
/* The network namespace that the device is in now, as a descriptor; the name that it has there. Or -errno. */
int tun_netns(const struct tun *t, char name[static IFNAMSIZ]);
void tun_close(struct tun *t);

/* One packet or super-packet: its length without the vnet header, 0 when there is none, or -errno. */
ssize_t tun_read(struct tun *t, struct vnet_hdr *h, uint8_t *buf, size_t cap);
/* 0, or -errno; -EAGAIN when the device's queue is full. One syscall. */
int tun_write(struct tun *t, const struct gro_write *w);

extern const struct syscall_rule tun_syscalls[]; /* after tun_open() */

#endif
