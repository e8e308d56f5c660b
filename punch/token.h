/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The join token: all that a node needs to join, as one line of text (docs/protocol.md, "Token").
 * "warren1_" ‖ base64url(version ‖ TLVs ‖ first 8 bytes of BLAKE2s over what stands before). Unknown
 * TLVs are ignored unless marked critical. It holds a secret: it is never logged, only its fingerprint.
 */
#ifndef WARREN_TOKEN_H
#define WARREN_TOKEN_H

#include "punch/member.h"

enum {
	TOKEN_TEXT_MAX = 4096,
	TOKEN_MAX_RENDEZVOUS = 4,
	TOKEN_HOST_LEN = 256,
	TOKEN_MAX_PREFIXES = 8,
	NETWORK_NAME_LEN = 64,	    /* with the NUL; [A-Za-z0-9][A-Za-z0-9_.-]* */
	TOKEN_FINGERPRINT_LEN = 17, /* hex, with the NUL */
};

struct token_rendezvous {
	char host[TOKEN_HOST_LEN];   /* a name or an address */
	uint16_t udp_port, tcp_port; /* tcp 0: none */
};

struct token {
	char network[NETWORK_NAME_LEN];
	struct prefix prefixes
		[TOKEN_MAX_PREFIXES]; /* first IPv4, first IPv6 are where leases come from */
	size_t nprefixes;
	struct token_rendezvous rendezvous[TOKEN_MAX_RENDEZVOUS];
	size_t nrendezvous;
	uint8_t key[32]; /* the (first) rendezvous' static X25519 key */
	/*
	 * With more of them rendezvous[i] is the one of key i, the first of which is `key`; without,
	 * all of rendezvous[] are addresses of the only one.
	 */
	uint8_t more_keys[TOKEN_MAX_RENDEZVOUS - 1][32];
	size_t nmore_keys;
	uint8_t tls_sha256[32];	      /* zeros: none */
	uint8_t admission[32];	      /* the PSK of the first handshake */
	int64_t expires;	      /* seconds since 1970, 0: never */
	char only_for[WORKER_ID_LEN]; /* worker id that alone may be claimed with it; "" any */
	/* what the rendezvous knows its own token by; tokens of earlier releases have none */
	struct ticket ticket;
};

enum token_error {
	TOKEN_OK,
	TOKEN_NOT_A_TOKEN, /* no such prefix or alphabet */
	TOKEN_TRUNCATED,   /* cut short, or a typo: checksum */
	TOKEN_VERSION,	   /* a newer version: *version says which */
	TOKEN_CRITICAL,	   /* an unknown critical field */
	TOKEN_INVALID,	   /* a field with an impossible value, or one missing */
};

/* White space around is ignored. Expiry is the caller's to check. */
MUST_CHECK enum token_error token_parse(const char *text, struct token *out, unsigned *version);
/* One sentence of what is wrong and what to do. */
const char *token_error_text(enum token_error e);
/* The text with its NUL; 0 where it does not fit or a field is impossible. */
size_t token_write(const struct token *t, char *out, size_t cap);
/* How many rendezvous there are, and the key of each. */
unsigned token_count(const struct token *t);
const uint8_t *token_key(const struct token *t, unsigned i);
void token_fingerprint(const struct token *t, char out[static TOKEN_FINGERPRINT_LEN]);
void token_wipe(struct token *t);

#endif
