/* SPDX-License-Identifier: Apache-2.0 */
#include "tun/dev.h"
#include "base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/if_tun.h>

/* since Linux 6.2; the headers we build with may be older */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* since Linux 5.7 */
#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

const struct syscall_rule tun_syscalls[] = {
	CALL(readv),
	CALL(writev),
	/* tun_netns() */
	CALL_IF(ioctl, ARG_IS(1, TUNGETIFF)),
	CALL_IF(ioctl, ARG_IS(1, TUNGETDEVNETNS)),
	CALLS_END,
};

enum {
	OFFLOAD_CSUM = TUN_F_CSUM,
	OFFLOAD_TSO = OFFLOAD_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
	OFFLOAD_ECN = OFFLOAD_TSO | TUN_F_TSO_ECN,
	OFFLOAD_USO = OFFLOAD_ECN | TUN_F_USO4 | TUN_F_USO6,
};

static int open_device(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENXIO: /* the node is there, the driver is not */
	case ENODEV:
	case ENOTDIR:
		return -ENOENT;
	case EACCES:
		return -EPERM;
	default:
		return -errno;
	}
}

/* TUNSETIFF. IFF_TUN_EXCL closes the gap between our look and the kernel's; gVisor refuses it. */
static int create(int fd, struct ifreq *ifr)
{
	short flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
	ifr->ifr_flags = (short)(flags | (short)IFF_TUN_EXCL);
	if (ioctl(fd, TUNSETIFF, ifr) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	ifr->ifr_flags = flags;
	return ioctl(fd, TUNSETIFF, ifr) == 0 ? 0 : -errno;
}

static void set_offloads(struct tun *t)
{
	static const unsigned wanted[] = { OFFLOAD_USO, OFFLOAD_ECN, OFFLOAD_TSO, OFFLOAD_CSUM, 0 };
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		if (ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)wanted[i]) < 0)
			continue;
		t->tso = (wanted[i] & OFFLOAD_TSO) == OFFLOAD_TSO;
		t->uso = wanted[i] == OFFLOAD_USO;
		return;
	}
}

static int set_up(struct tun *t, const char *name)
{
	struct ifreq ifr = { 0 };
	memcpy(ifr.ifr_name, name, strlen(name));
	int err = create(t->fd, &ifr);
	if (err < 0)
		return err;
	memcpy(t->name, ifr.ifr_name, IFNAMSIZ);
	t->name[IFNAMSIZ - 1] = '\0';
	t->ifindex = if_nametoindex(t->name);
	if (!t->ifindex)
		return -errno;
	/* 10 bytes is what a new device has, so a kernel without this call is fine */
	int hdr = VNET_HDR_LEN;
	if (ioctl(t->fd, TUNSETVNETHDRSZ, &hdr) < 0 && errno != ENOTTY && errno != EINVAL)
		return -errno;
	set_offloads(t);
	return 0;
}

int tun_open(struct tun *t, const char *name)
{
	*t = (struct tun){ .fd = -1 };
	if (!*name || strlen(name) >= IFNAMSIZ)
		return -EINVAL;
	if (if_nametoindex(name))
		return -EBUSY;
	t->fd = open_device();
	if (t->fd < 0)
		return t->fd;
	int err = set_up(t, name);
	if (err < 0)
		tun_close(t);
	return err;
}

int tun_netns(const struct tun *t, char name[static IFNAMSIZ])
{
	struct ifreq ifr = { 0 };
	if (ioctl(t->fd, TUNGETIFF, &ifr) < 0)
		return -errno;
	memcpy(name, ifr.ifr_name, IFNAMSIZ);
	name[IFNAMSIZ - 1] = '\0';
	int fd = ioctl(t->fd, TUNGETDEVNETNS);
	return fd < 0 ? -errno : fd;
}

void tun_close(struct tun *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

ssize_t tun_read(struct tun *t, struct vnet_hdr *h, uint8_t *buf, size_t cap)
{
	struct iovec iov[2] = { { .iov_base = h, .iov_len = VNET_HDR_LEN },
				{ .iov_base = buf, .iov_len = cap } };
	ssize_t n;
	do {
		n = readv(t->fd, iov, 2);
		t->reads++;
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		t->empty_reads++;
		return 0;
	}
	if (n < 0)
		return -errno;
	return n > VNET_HDR_LEN ? n - VNET_HDR_LEN : -EIO;
}

int tun_write(struct tun *t, const struct gro_write *w)
{
	ssize_t n;
	do {
		n = writev(t->fd, w->iov, w->iovcnt);
		t->writes++;
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
