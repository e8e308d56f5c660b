/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WireGuard's configuration format (wg(8) "CONFIGURATION FILE FORMAT", wg-quick(8)): lines are pushed
 * in, so that tests and fuzzers need no file. DNS and the hook commands are never acted on; an unknown
 * key is refused with its line's number.
 */
#ifndef WARREN_WGCONF_H
#define WARREN_WGCONF_H

#include "base/addr.h"

/* Table: where routes go. 0: the main table, or a full tunnel; a number: that one; WGCONF_NO_ROUTES: nowhere. */
#define WGCONF_NO_ROUTES UINT32_MAX

/* A line may be as long as a whole file. */
enum {
	WGCONF_MAX_ADDRESSES = 16,
	WGCONF_HOST_LEN = 256,
	WGCONF_FILE_MAX = 4 << 20,
	WGCONF_MAX_PEERS = 16384, /* a gateway's */
};

/* One of ours, and how many bits of it are its network's. */
struct wgconf_address {
	struct addr addr;
	uint8_t bits;
};

struct wgconf_peer {
	uint8_t key[32], *psk; /* psk: in the arena */
	bool has_key, has_psk;
	char host[WGCONF_HOST_LEN]; /* "" none */
	uint16_t port;
	uint16_t keepalive;
	bool has_keepalive;
	struct prefix *allowed; /* owned */
	size_t nallowed, cap;
};

struct wgconf {
	struct arena *psks;
	uint8_t private_key[32]; /* the structure itself belongs into one, too */
	bool has_private_key;
	uint16_t listen_port;
	uint32_t fwmark, mtu, table;
	struct wgconf_address addresses[WGCONF_MAX_ADDRESSES];
	size_t naddresses;
	struct wgconf_peer
		*peers; /* owned; a key that comes again changes what it was told before */
	size_t npeers, cap;
	/* the parser's own */
	unsigned line;
	enum { WGCONF_NONE, WGCONF_INTERFACE, WGCONF_PEER } section;
	char error[200];   /* why the last line was refused, with its number */
	char skipped[200]; /* keys that were read and not acted on, "" none */
};

void wgconf_init(struct wgconf *c);
/* One line without its end; false with c->error. */
MUST_CHECK bool wgconf_line(struct wgconf *c, const char *line);
/* After the last line: what is missing. */
MUST_CHECK bool wgconf_finish(struct wgconf *c);
void wgconf_free(struct wgconf *c); /* wipes the keys */

/* A whole file; false with c->error. */
MUST_CHECK bool wgconf_read(struct wgconf *c, const char *path);

/* 44 characters of base64 and nothing else. */
MUST_CHECK bool key_parse(const char *text, uint8_t key[static 32]);
/* The same, but not of zeros, which stand for no key. */
MUST_CHECK bool private_key_parse(const char *text, uint8_t key[static 32]);

#endif
