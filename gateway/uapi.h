/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WireGuard's cross-platform configuration protocol (www.wireguard.com/xplatform), so that wg(8) drives
 * a gateway: `get=1` and `set=1`, lines of key=value, an empty line, and `errno=` at the end of the
 * answer. Sans-IO: bytes of one client in, the answer out. As with every implementation a set is
 * not atomic: what stands before a bad line is done, what comes after it is not. What replace_allowed_ips
 * takes away goes when the peer's section ends, so that packets find what stays all the time; it stays where
 * the client is cut off before that.
 *
 * Peers that the rendezvous introduced are shown like others. replace_peers and remove pass them over
 * and succeed; to change one is -EPERM, with a line in the log; so is another private key for a
 * gateway that has joined a network. To say what is so already changes nothing, so that `wg showconf`
 * can be given back; and a file that names no private key leaves a joined gateway its own.
 */
#ifndef WARREN_UAPI_H
#define WARREN_UAPI_H

#include "gateway/node.h"

enum {
	UAPI_LINE_MAX = 4096,	    /* a longer line is -EINVAL */
	UAPI_PEERS_MAX = 20000,	    /* in one request; more is -ENOSPC */
	UAPI_UNSENT_MAX = 32 << 10, /* so much of answers waits, and nothing more is done */
	UAPI_TURN_WORK = 16,	    /* lines a turn, or their worth */
};

/* What lies outside the node. Each returns 0 or -errno. */
struct uapi_device {
	struct node *node;
	void *ctx;
	uint16_t (*port)(void *ctx);
	int (*set_port)(void *ctx, uint16_t port); /* 0: any free one */
	uint32_t (*fwmark)(void *ctx);
	int (*set_fwmark)(void *ctx, uint32_t mark);
	nsec (*wall_offset)(void *ctx); /* wall clock = now + this */
	/* The interface of a name, for link-local endpoints; 0 none. NULL: numbers alone. */
	uint32_t (*ifindex)(void *ctx, const char *name);
};

struct uapi; /* one client's conversation; several requests may follow one another */

struct uapi *uapi_new(const struct uapi_device *dev); /* `dev` is copied. NULL: no memory */
void uapi_free(struct uapi *u);			      /* wipes what it held of keys */
/*
 * A turn: goes on with what is under way, an answer or the removal of many, then takes of the client's bytes
 * what it can with a bounded amount of work, and says how many that were; the others are to be given again.
 * Nothing is done while too much of an answer waits to be sent.
 */
MUST_CHECK size_t uapi_turn(struct uapi *u, nsec now, const char *p, size_t len);
/*
 * The client says no more. As in wireguard-go a set ends there as with an empty line, and what there is
 * of its last line is a line; a get is not answered. Only when uapi_turn() has taken all that came, and is done
 * with it; to be followed by turns like any line.
 */
void uapi_eof(struct uapi *u, nsec now);
/* An answer is under way, or what a line began: another turn is wanted, though there be no bytes. */
bool uapi_works(const struct uapi *u);
bool uapi_is_busy(const struct uapi *u); /* with what a line began */
/*
 * The client has broken the protocol (no get=1 or set=1 where one must be), or there is no memory: what
 * uapi_answer() has is sent, then it is cut off.
 */
bool uapi_broken(const struct uapi *u);
/* What is to be sent to the client, `*len` bytes; valid until the next call. */
const char *uapi_answer(const struct uapi *u, size_t *len);
void uapi_sent(struct uapi *u, size_t len); /* that much of it was sent, and is wiped */

#endif
