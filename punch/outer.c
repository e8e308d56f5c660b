/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/outer.h"

#include <sodium.h>

/* The layout, said once; outer.h draws it. */
enum { VERSION_AT = 1, SENDER_AT = 4, RECEIVER_AT = 8, TLV_LEN_AT = 58, TLV_HEADER = 4 };

static_assert(OUTER_FIXED == 4 + 4 + 4 + 8 + 8 + TXID_LEN + 16 + 2 + 2, "the layout adds up");

/* A padding TLV: its value means nothing; it makes a pong as long as the ping that it answers. */
enum { TLV_PADDING = 1 };

enum { STUN_HEADER_LEN = 20, STUN_COOKIE = 0x2112a442 };

/* WireGuard's message lengths (its paper, section 5.4): 148, 92, 64, and data of 32 or more. */
static enum outer_kind classify_wg(uint32_t type, size_t len, enum drop *why)
{
	static const size_t exact[4] = { 0, 148, 92, 64 };
	if (type == 4 && len >= 32)
		return OUTER_WG_DATA;
	if (type < 4 && len == exact[type])
		return OUTER_WG_HANDSHAKE;
	*why = DROP_OUTER_BAD_LENGTH;
	return OUTER_NONE;
}

static enum outer_kind classify_ours(const uint8_t *p, size_t len, enum drop *why)
{
	/* Another version may have another layout: its number is looked at before any length. */
	if (p[VERSION_AT] != OUTER_VERSION) {
		*why = DROP_OUTER_VERSION;
		return OUTER_NONE;
	}
	*why = DROP_OUTER_BAD_LENGTH;
	if (p[0] == OUTER_TYPE_RELAY) {
		if (len < RELAY_HEADER_LEN + RELAY_INNER_MIN)
			return OUTER_NONE;
		*why = DROP_NONE;
		return OUTER_RELAY;
	}
	if (len < OUTER_PING_LEN || len > OUTER_MAX ||
	    len != OUTER_PING_LEN + (size_t)load_be16(p + TLV_LEN_AT))
		return OUTER_NONE;
	*why = DROP_NONE;
	return p[0] == OUTER_TYPE_PING ? OUTER_PING : OUTER_PONG;
}

/* RFC 8489 section 5: the two top bits are zero, the length counts what follows, in steps of 4. */
static bool is_stun(const uint8_t *p, size_t len)
{
	return len >= STUN_HEADER_LEN && (p[0] & 0xc0) == 0 && load_be32(p + 4) == STUN_COOKIE &&
	       len == STUN_HEADER_LEN + (size_t)load_be16(p + 2) && len % 4 == 0;
}

enum outer_kind outer_classify(const uint8_t *p, size_t len, enum drop *why)
{
	*why = DROP_NONE;
	if (len < 4) { /* not even a first word: nothing here speaks so */
		*why = DROP_OUTER_BAD_LENGTH;
		return OUTER_NONE;
	}
	uint32_t word = load_le32(p);
	if (word >= 1 && word <= 4)
		return classify_wg(word, len, why);
	if (p[0] == OUTER_TYPE_PING || p[0] == OUTER_TYPE_PONG || p[0] == OUTER_TYPE_RELAY)
		return classify_ours(p, len, why);
	if (is_stun(p, len))
		return OUTER_STUN;
	*why = DROP_OUTER_UNKNOWN_TYPE;
	return OUTER_NONE;
}

enum drop outer_peek(const uint8_t *p, size_t len, uint32_t *sender, uint32_t *receiver)
{
	enum drop why;
	enum outer_kind kind = outer_classify(p, len, &why);
	*sender = *receiver = 0;
	if (kind != OUTER_PING && kind != OUTER_PONG)
		return kind == OUTER_NONE ? why : DROP_OUTER_UNKNOWN_TYPE;
	*sender = load_be32(p + SENDER_AT);
	*receiver = load_be32(p + RECEIVER_AT);
	return DROP_NONE;
}

/* No TLV of version 1 but padding has a meaning: others are skipped unless marked critical. */
static enum drop check_tlvs(struct rd *r)
{
	struct tlv t;
	while (rd_tlv(r, &t))
		if (t.critical && t.type != TLV_PADDING)
			return DROP_OUTER_VERSION;
	return rd_ok(r) ? DROP_NONE : DROP_OUTER_BAD_LENGTH;
}

enum drop outer_parse(const uint8_t *p, size_t len, const uint8_t key[static OUTER_KEY_LEN],
		      struct outer_msg *out)
{
	struct outer_msg m = { 0 };
	uint8_t mac[MAC_LEN];
	enum drop why = outer_peek(p, len, &m.sender, &m.receiver);
	if (why)
		return why;
	blake2s_mac(key, OUTER_KEY_LEN, p, len - MAC_LEN, mac);
	if (sodium_memcmp(mac, p + len - MAC_LEN, MAC_LEN) != 0)
		return DROP_OUTER_BAD_MAC;

	struct rd r = rd_of(p, len - MAC_LEN);
	m.type = rd_u8(&r);
	/* version and length were checked; flags and the zero byte are free for later: ignored */
	rd_take(&r, 3 + 4 + 4);
	m.boot = rd_be64(&r);
	m.counter = rd_be64(&r);
	rd_bytes(&r, m.txid, TXID_LEN);
	m.observed = rd_endpoint(&r);
	m.tlv_len = rd_be16(&r);
	struct rd tlvs = rd_sub(&r, m.tlv_len);
	if (!rd_done(&r))
		return DROP_OUTER_BAD_LENGTH;
	why = check_tlvs(&tlvs);
	if (!why)
		*out = m;
	return why;
}

size_t outer_write(const struct outer_msg *m, const uint8_t key[static OUTER_KEY_LEN], uint8_t *out,
		   size_t cap)
{
	struct wr w = wr_of(out, size_min(cap, OUTER_MAX));
	uint8_t mac[MAC_LEN];

	wr_u8(&w, m->type);
	wr_u8(&w, OUTER_VERSION);
	wr_zeros(&w, 2);
	wr_be32(&w, m->sender);
	wr_be32(&w, m->receiver);
	wr_be64(&w, m->boot);
	wr_be64(&w, m->counter);
	wr_bytes(&w, m->txid, TXID_LEN);
	wr_endpoint(&w, &m->observed);
	wr_be16(&w, m->tlv_len);
	if (m->tlv_len >= TLV_HEADER) {
		size_t mark = wr_tlv_begin(&w, TLV_PADDING);
		wr_zeros(&w, m->tlv_len - (size_t)TLV_HEADER);
		wr_tlv_end(&w, mark);
	} else if (m->tlv_len) {
		return 0; /* no TLV is so short */
	}
	if (!wr_ok(&w))
		return 0;
	blake2s_mac(key, OUTER_KEY_LEN, out, w.len, mac);
	wr_bytes(&w, mac, MAC_LEN);
	return wr_ok(&w) ? w.len : 0;
}
