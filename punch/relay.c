/* SPDX-License-Identifier: Apache-2.0 */
/* The relay header's codec. outer.h draws it. */
#include "punch/outer.h"

#include <sodium.h>

enum { MAC_AT = 20, RELAY_MAC_LEN = 8 };

static_assert(RELAY_HEADER_LEN == MAC_AT + RELAY_MAC_LEN, "the MAC ends the header");
static_assert(RELAY_KEY_LEN == crypto_shorthash_siphash24_KEYBYTES, "SipHash's key");
static_assert(RELAY_MAC_LEN == crypto_shorthash_siphash24_BYTES, "SipHash's tag");

enum drop relay_peek(const uint8_t *p, size_t len, struct relay_msg *out)
{
	enum drop why;
	enum outer_kind kind = outer_classify(p, len, &why);
	if (kind != OUTER_RELAY)
		return kind == OUTER_NONE ? why : DROP_OUTER_UNKNOWN_TYPE;
	out->destination = load_be32(p + 4);
	out->source = load_be32(p + 8);
	out->counter = load_be64(p + 12);
	return DROP_NONE;
}

/*
 * The header, the datagram's length, and its first 16 bytes: enough to tie the header to this
 * datagram (WireGuard's counter, our boot and counter stand there), at a cost that does not grow
 * with its size. A shorter datagram counts as filled up with zeros.
 */
static void header_mac(const uint8_t *p, size_t inner, const uint8_t key[static RELAY_KEY_LEN],
		       uint8_t mac[static RELAY_MAC_LEN])
{
	uint8_t in[MAC_AT + 4 + RELAY_INNER_MIN] = { 0 };
	memcpy(in, p, MAC_AT);
	store_be32(in + MAC_AT, (uint32_t)inner);
	memcpy(in + MAC_AT + 4, p + RELAY_HEADER_LEN, size_min(inner, RELAY_INNER_MIN));
	crypto_shorthash_siphash24(mac, in, sizeof(in), key);
}

bool relay_mac_ok(const uint8_t *p, size_t len, const uint8_t key[static RELAY_KEY_LEN])
{
	uint8_t mac[RELAY_MAC_LEN];
	if (len < RELAY_HEADER_LEN)
		return false;
	header_mac(p, len - RELAY_HEADER_LEN, key, mac);
	return sodium_memcmp(mac, p + MAC_AT, RELAY_MAC_LEN) == 0;
}

void relay_write(uint8_t *p, size_t len, const struct relay_msg *m,
		 const uint8_t key[static RELAY_KEY_LEN])
{
	p[0] = OUTER_TYPE_RELAY;
	p[1] = OUTER_VERSION;
	store_be16(p + 2, 0);
	store_be32(p + 4, m->destination);
	store_be32(p + 8, m->source);
	store_be64(p + 12, m->counter);
	header_mac(p, len, key, p + MAC_AT);
}
