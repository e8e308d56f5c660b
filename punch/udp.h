/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one UDP socket, 64 KiB per syscall: UDP_SEGMENT on the way out, UDP_GRO on the way in, each
 * with a fall-back where the kernel, the route or the driver does not take it. Touches the kernel.
 *
 * One dual-stack socket (IPv4 as v4-mapped), or an IPv4 one where the kernel has no IPv6. Non-blocking.
 */
#ifndef WARREN_UDP_H
#define WARREN_UDP_H

#include "base/addr.h"
#include "base/drop.h"
#include "base/syscalls.h"

enum { UDP_RX_MAX = 65536, UDP_GSO_MAX_SEGMENTS = 63, UDP_GSO_MAX_BYTES = 65507 - 40 };

struct udp_socket {
	int fd;
	bool v6; /* the socket is AF_INET6 */
	bool gso,
		gro; /* in use; gso turns false by itself when the kernel refuses it, see udp_gso_turn() */
	uint16_t port; /* the bound port, host order */
	bool errors;   /* udp_errors() may have something */
	uint64_t tx_calls, tx_datagrams, gso_fallbacks;
	uint64_t rx_calls, rx_empty, rx_datagrams; /* empty: there was nothing to receive */
	/* the rest is udp*.c's */
	bool df_clear[2]; /* [IPv4] */
	bool gso_wanted;
	nsec gso_again;	  /* when gso is tried once more */
	unsigned unheard; /* calls of udp_recv() since `errors` became true */
};

/*
 * Binds `port` (0: random) on `bind` (any: all). Outer DF set, and the kernel's own path MTU cache
 * not asked (IP_PMTUDISC_PROBE), but for what `may_fragment` is said of. Socket buffers of 7 MiB
 * (SO_*BUFFORCE, else SO_*BUF). 0 or -errno (-EADDRINUSE).
 */
int udp_open(struct udp_socket *s, const struct addr *bind, uint16_t port);
void udp_close(struct udp_socket *s);

struct udp_rx {
	uint8_t *buf; /* in: UDP_RX_MAX bytes, the caller's */
	uint32_t len; /* bytes received: one or several datagrams of `seg`, the last ≤ seg */
	uint32_t seg;
	struct endpoint from;
	struct addr local; /* the address it came to, */
	uint32_t ifindex;  /* and the interface */
	uint8_t tos;	   /* DS field and ECN */
	bool truncated;	   /* to be dropped as DROP_UDP_TRUNCATED */
};

/* Fills up to n slots (≤ 8) by one recvmmsg; how many, 0 when there is nothing, or -errno. */
int udp_recv(struct udp_socket *s, struct udp_rx *rx, unsigned n);

struct udp_tx {
	const uint8_t
		*buf; /* `len` bytes: datagrams of `seg`, back to back, the last may be shorter */
	uint32_t len, seg;
	struct endpoint to;
	struct addr local; /* source address; :: leaves it to the kernel */
	uint32_t ifindex;  /* 0: any */
	uint8_t tos;	   /* DS field and ECN; 0x88 for handshakes */
	bool may_fragment; /* outer DF clear: to stock peers, which answer no probe */
	bool single;	   /* no segmentation offload: batches are lost on this path */
};

/*
 * Sends n (any number) by as few sendmmsg as it takes. A batch that the kernel refuses as such
 * (EINVAL, EMSGSIZE, EIO) goes out again as single datagrams from the first unsent one; a source
 * address that is gone (EINVAL, EADDRNOTAVAIL, ENETUNREACH) is tried once more without one. What may
 * be an ICMP error about some earlier datagram is tried again as it was, first. Returns how many
 * datagrams were lost to an error (a full socket buffer or device queue included): the caller counts
 * DROP_UDP_SEND.
 */
unsigned udp_send(struct udp_socket *s, const struct udp_tx *tx, unsigned n);

/*
 * The kernel's error queue: an ICMP "too big" about a datagram of ours (anybody who knows the ports can
 * make one: the quote has to be checked), or a datagram that was larger than our own device takes.
 */
enum { UDP_QUOTE_MAX = 64 };

struct udp_too_big {
	struct endpoint to; /* where the datagram went */
	uint32_t mtu;	    /* bytes of IP packet that would pass, as is said */
	bool local;	    /* said by this host itself; nothing is quoted */
	uint32_t quoted;    /* bytes of its payload that came back, 0 … UDP_QUOTE_MAX */
	uint8_t quote[UDP_QUOTE_MAX];
};

/*
 * Takes up to n of them from the queue, skipping all other errors; how many. To be called where
 * `errors` is set after udp_recv(), until it returns 0. It looks at no more than 64 errors a call; as
 * long as any are left, `errors` stays set and the descriptor polls as readable (EPOLLERR), which
 * leads here again. An owner that never calls it loses nothing else: after some wakes in vain
 * udp_recv() empties the queue itself. Of an IPv4 datagram too large for our own device the kernel
 * does not say the port: it is 0.
 */
unsigned udp_errors(struct udp_socket *s, struct udp_too_big *out, unsigned n);

/* SO_MARK for what is sent, 0: none. Needs CAP_NET_ADMIN. 0 or -errno. */
int udp_set_mark(struct udp_socket *s, uint32_t mark);

/* Asks for one datagram each instead of batches; for tests and `WARREN_GSO=0`. */
void udp_set_offload(struct udp_socket *s, bool gso, bool gro);

/*
 * What refused batches may have been one device, which is another now: from time to time (seconds), this tries them
 * again where they have been off for UDP_GSO_AGAIN.
 */
#define UDP_GSO_AGAIN (600 * NSEC_PER_SEC)
void udp_gso_turn(struct udp_socket *s, nsec now);

extern const struct syscall_rule udp_syscalls[]; /* udp_open() too: `wg set … listen-port` */

#endif
