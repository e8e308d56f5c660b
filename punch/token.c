/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/token.h"

#include <sodium.h>

#include "base/blake2s.h"

static const char text_prefix[] = "warren1_";

enum {
	TOKEN_BINARY_VERSION = 1,
	CHECKSUM_LEN = 8,
	BINARY_MAX = TOKEN_TEXT_MAX * 3 / 4,
	PREFIX_TEXT_LEN = sizeof(text_prefix) - 1,
};

/* Types of a token's TLVs; each at most once but for PREFIX and RENDEZVOUS. */
enum field {
	FIELD_NETWORK = 1,    /* text */
	FIELD_PREFIX = 2,     /* u8 bits, address[16] */
	FIELD_RENDEZVOUS = 3, /* be16 UDP port, be16 TCP port, host as text */
	FIELD_KEY = 4,	      /* [32] */
	FIELD_TLS = 5,	      /* [32] */
	FIELD_ADMISSION = 6,  /* [32] */
	FIELD_EXPIRES = 7,    /* be64 seconds since 1970 */
	FIELD_ONLY_FOR = 8,   /* text */
	FIELD_TICKET = 9,     /* be32 epoch, MAC[16]; critical: nobody gets in without it */
	FIELD_MORE_KEYS = 10, /* [32] for the second RENDEZVOUS, and each further one */
	FIELD_END,
};

static bool network_name_valid(const char *s)
{
	size_t len = 0;
	for (; s[len]; len++) {
		char c = s[len];
		bool alnum =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (len >= NETWORK_NAME_LEN - 1)
			return false;
		if (!alnum && (len == 0 || (c != '_' && c != '.' && c != '-')))
			return false;
	}
	return len > 0;
}

/* A DNS name or an address literal; nothing that a shell, a log or a resolver could trip over. */
static bool host_valid(const char *s)
{
	size_t len = 0;
	for (; s[len]; len++) {
		char c = s[len];
		bool alnum =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (len >= TOKEN_HOST_LEN - 1 || (!alnum && !strchr("._-:", c)))
			return false;
	}
	return len > 0;
}

static bool token_prefix_valid(const struct prefix *p)
{
	unsigned max = addr_is_v4(&p->addr) ? 32 : 128;
	if (p->bits == 0 || p->bits > max || addr_is_any(&p->addr) || addr_is_loopback(&p->addr) ||
	    addr_is_multicast(&p->addr))
		return false;
	struct prefix canonical = prefix_of(&p->addr, p->bits);
	return addr_eq(&canonical.addr, &p->addr);
}

/* One each, and no two the same. */
static bool keys_valid(const struct token *t)
{
	if (t->nmore_keys && t->nmore_keys + 1 != t->nrendezvous)
		return false;
	for (unsigned i = 0; i < token_count(t); i++) {
		if (sodium_is_zero(token_key(t, i), 32))
			return false;
		for (unsigned k = 0; k < i; k++)
			if (memcmp(token_key(t, i), token_key(t, k), 32) == 0)
				return false;
	}
	return true;
}

static bool token_valid(const struct token *t)
{
	if (!network_name_valid(t->network) || t->nprefixes == 0 ||
	    t->nprefixes > TOKEN_MAX_PREFIXES || t->nrendezvous == 0 ||
	    t->nrendezvous > TOKEN_MAX_RENDEZVOUS || t->expires < 0)
		return false;
	for (size_t i = 0; i < t->nprefixes; i++)
		if (!token_prefix_valid(&t->prefixes[i]))
			return false;
	for (size_t i = 0; i < t->nrendezvous; i++)
		if (!host_valid(t->rendezvous[i].host) || t->rendezvous[i].udp_port == 0)
			return false;
	if (t->only_for[0] && !worker_id_valid(t->only_for))
		return false;
	return keys_valid(t) && !sodium_is_zero(t->admission, 32);
}

/* --- reading --- */

/* Text of a field: no NUL inside, shorter than `cap`. */
static bool read_text(struct rd *r, char *out, size_t cap)
{
	size_t len = r->left;
	if (len == 0 || len >= cap)
		return false;
	rd_bytes(r, out, len);
	out[len] = 0;
	return strlen(out) == len;
}

static bool read_prefix(struct rd *r, struct token *t)
{
	if (t->nprefixes == TOKEN_MAX_PREFIXES)
		return false;
	struct prefix *p = &t->prefixes[t->nprefixes++];
	p->bits = rd_u8(r);
	rd_bytes(r, p->addr.b, 16);
	return rd_done(r);
}

static bool read_rendezvous(struct rd *r, struct token *t)
{
	if (t->nrendezvous == TOKEN_MAX_RENDEZVOUS)
		return false;
	struct token_rendezvous *z = &t->rendezvous[t->nrendezvous++];
	z->udp_port = rd_be16(r);
	z->tcp_port = rd_be16(r);
	return rd_ok(r) && read_text(r, z->host, sizeof(z->host));
}

static bool read_expires(struct rd *r, struct token *t)
{
	uint64_t v = rd_be64(r);
	t->expires = v <= INT64_MAX ? (int64_t)v : -1;
	return rd_done(r) && t->expires >= 0;
}

static bool read_secret(struct rd *r, uint8_t out[static 32])
{
	rd_bytes(r, out, 32);
	return rd_done(r);
}

static bool read_more_keys(struct rd *r, struct token *t)
{
	t->nmore_keys = r->left / 32;
	if (t->nmore_keys == 0 || t->nmore_keys > ARRAY_SIZE(t->more_keys))
		return false;
	rd_bytes(r, t->more_keys, t->nmore_keys * 32);
	return rd_done(r);
}

static bool read_ticket(struct rd *r, struct ticket *t)
{
	t->epoch = rd_be32(r);
	rd_bytes(r, t->mac, sizeof(t->mac));
	return rd_done(r) && ticket_present(t);
}

static bool read_field(struct tlv *f, struct token *t)
{
	struct rd *r = &f->value;
	switch ((enum field)f->type) {
	case FIELD_NETWORK:
		return read_text(r, t->network, sizeof(t->network));
	case FIELD_PREFIX:
		return read_prefix(r, t);
	case FIELD_RENDEZVOUS:
		return read_rendezvous(r, t);
	case FIELD_KEY:
		return read_secret(r, t->key);
	case FIELD_TLS:
		return read_secret(r, t->tls_sha256);
	case FIELD_ADMISSION:
		return read_secret(r, t->admission);
	case FIELD_EXPIRES:
		return read_expires(r, t);
	case FIELD_ONLY_FOR:
		return read_text(r, t->only_for, sizeof(t->only_for));
	case FIELD_TICKET:
		return read_ticket(r, &t->ticket);
	case FIELD_MORE_KEYS:
		return read_more_keys(r, t);
	case FIELD_END:
		break;
	}
	return false;
}

static enum token_error read_fields(struct rd *r, struct token *t)
{
	unsigned seen = 0;
	struct tlv f;
	while (rd_tlv(r, &f)) {
		if (f.type == 0 || f.type >= FIELD_END) {
			if (f.critical)
				return TOKEN_CRITICAL;
			continue;
		}
		bool repeatable = f.type == FIELD_PREFIX || f.type == FIELD_RENDEZVOUS;
		if ((seen & 1u << f.type && !repeatable) || !read_field(&f, t))
			return TOKEN_INVALID;
		seen |= 1u << f.type;
	}
	t->ticket.expires = ticket_present(&t->ticket) ? t->expires : 0;
	t->ticket.only = ticket_present(&t->ticket) && t->only_for[0];
	return rd_ok(r) && token_valid(t) ? TOKEN_OK : TOKEN_INVALID;
}

static void checksum(const uint8_t *p, size_t len, uint8_t out[static CHECKSUM_LEN])
{
	uint8_t h[BLAKE2S_LEN];
	blake2s_hash(p, len, NULL, 0, h);
	memcpy(out, h, CHECKSUM_LEN);
}

static enum token_error parse_binary(const uint8_t *p, size_t len, struct token *t,
				     unsigned *version)
{
	uint8_t sum[CHECKSUM_LEN];
	if (len < 1 + CHECKSUM_LEN)
		return TOKEN_TRUNCATED;
	len -= CHECKSUM_LEN;
	checksum(p, len, sum);
	if (sodium_memcmp(sum, p + len, CHECKSUM_LEN) != 0)
		return TOKEN_TRUNCATED;
	*version = p[0];
	if (p[0] != TOKEN_BINARY_VERSION)
		return TOKEN_VERSION;
	struct rd r = rd_of(p + 1, len - 1);
	return read_fields(&r, t);
}

/* "warrenN_" of another N: a token all the same, of a version that we do not know. */
static enum token_error other_prefix(const char *s, size_t len, unsigned *version)
{
	if (len < 8 || memcmp(s, "warren", 6) != 0 || s[6] < '2' || s[6] > '9' || s[7] != '_')
		return TOKEN_NOT_A_TOKEN;
	*version = (unsigned)(s[6] - '0');
	return TOKEN_VERSION;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum token_error parse_trimmed(const char *s, size_t len, struct token *t, unsigned *version)
{
	uint8_t bin[BINARY_MAX];
	size_t n = 0;
	const char *end = NULL;
	if (len < PREFIX_TEXT_LEN || memcmp(s, text_prefix, PREFIX_TEXT_LEN) != 0)
		return other_prefix(s, len, version);
	s += PREFIX_TEXT_LEN;
	len -= PREFIX_TEXT_LEN;
	if (strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") < len)
		return TOKEN_NOT_A_TOKEN;
	enum token_error e = TOKEN_TRUNCATED;
	if (sodium_base642bin(bin, sizeof(bin), s, len, NULL, &n, &end,
			      sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
	    end == s + len)
		e = parse_binary(bin, n, t, version);
	sodium_memzero(bin, sizeof(bin));
	return e;
}

enum token_error token_parse(const char *text, struct token *out, unsigned *version)
{
	struct token t = { 0 };
	unsigned v = 0;
	while (is_space(*text))
		text++;
	size_t len = strnlen(text, TOKEN_TEXT_MAX + 64);
	while (len && is_space(text[len - 1]))
		len--;
	enum token_error e =
		len < TOKEN_TEXT_MAX ? parse_trimmed(text, len, &t, &v) : TOKEN_NOT_A_TOKEN;
	if (e == TOKEN_OK)
		*out = t;
	if (version)
		*version = v;
	token_wipe(&t);
	return e;
}

const char *token_error_text(enum token_error e)
{
	switch (e) {
	case TOKEN_OK:
		return "the join token is good";
	case TOKEN_NOT_A_TOKEN:
		return "this is no join token: it must be the one line, beginning with warren1_, "
		       "that "
		       "`warren token` prints on the rendezvous";
	case TOKEN_TRUNCATED:
		return "the join token is cut short or mistyped: copy the whole line that "
		       "`warren token` prints";
	case TOKEN_VERSION:
		return "the join token was made by a newer release: update warren on this node";
	case TOKEN_CRITICAL:
		return "the join token demands something that this release does not know: update "
		       "warren on this node";
	case TOKEN_INVALID:
		return "the join token lacks a field or holds an impossible value: make a new one "
		       "with `warren token` on the rendezvous";
	}
	return "unknown token error";
}

/* --- writing --- */

static void write_lists(struct wr *w, const struct token *t)
{
	for (size_t i = 0; i < t->nprefixes; i++) {
		size_t mark = wr_tlv_begin(w, FIELD_PREFIX);
		wr_u8(w, t->prefixes[i].bits);
		wr_bytes(w, t->prefixes[i].addr.b, 16);
		wr_tlv_end(w, mark);
	}
	for (size_t i = 0; i < t->nrendezvous; i++) {
		const struct token_rendezvous *z = &t->rendezvous[i];
		size_t mark = wr_tlv_begin(w, FIELD_RENDEZVOUS);
		wr_be16(w, z->udp_port);
		wr_be16(w, z->tcp_port);
		wr_bytes(w, z->host, strlen(z->host));
		wr_tlv_end(w, mark);
	}
}

/* Version and TLVs, the canonical form: what is hashed for checksum and fingerprint. */
static void write_binary(struct wr *w, const struct token *t)
{
	wr_u8(w, TOKEN_BINARY_VERSION);
	wr_tlv(w, FIELD_NETWORK, t->network, strlen(t->network));
	write_lists(w, t);
	wr_tlv(w, FIELD_KEY, t->key, 32);
	if (!sodium_is_zero(t->tls_sha256, 32))
		wr_tlv(w, FIELD_TLS, t->tls_sha256, 32);
	wr_tlv(w, FIELD_ADMISSION, t->admission, 32);
	if (t->expires) {
		size_t mark = wr_tlv_begin(w, FIELD_EXPIRES);
		wr_be64(w, (uint64_t)t->expires);
		wr_tlv_end(w, mark);
	}
	if (t->only_for[0])
		wr_tlv(w, FIELD_ONLY_FOR, t->only_for, strlen(t->only_for));
	if (ticket_present(&t->ticket)) {
		size_t mark = wr_tlv_begin(w, FIELD_TICKET | TLV_CRITICAL);
		wr_be32(w, t->ticket.epoch);
		wr_bytes(w, t->ticket.mac, sizeof(t->ticket.mac));
		wr_tlv_end(w, mark);
	}
	if (t->nmore_keys)
		wr_tlv(w, FIELD_MORE_KEYS, t->more_keys, t->nmore_keys * 32);
}

static size_t write_text(const struct wr *w, char *out, size_t cap)
{
	const int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
	size_t need = PREFIX_TEXT_LEN + sodium_base64_encoded_len(w->len, variant);
	if (!wr_ok(w) || need > cap || need > TOKEN_TEXT_MAX)
		return 0;
	memcpy(out, text_prefix, PREFIX_TEXT_LEN);
	sodium_bin2base64(out + PREFIX_TEXT_LEN, cap - PREFIX_TEXT_LEN, w->base, w->len, variant);
	return need;
}

size_t token_write(const struct token *t, char *out, size_t cap)
{
	uint8_t bin[BINARY_MAX], sum[CHECKSUM_LEN];
	struct wr w = wr_of(bin, sizeof(bin));
	if (!token_valid(t))
		return 0;
	write_binary(&w, t);
	checksum(w.base, w.len, sum);
	wr_bytes(&w, sum, sizeof(sum));
	size_t n = write_text(&w, out, cap);
	sodium_memzero(bin, sizeof(bin));
	return n;
}

unsigned token_count(const struct token *t)
{
	return 1 + (unsigned)t->nmore_keys;
}

const uint8_t *token_key(const struct token *t, unsigned i)
{
	return i == 0 ? t->key : t->more_keys[i - 1];
}

void token_fingerprint(const struct token *t, char out[static TOKEN_FINGERPRINT_LEN])
{
	static const char label[] = "warren token fingerprint";
	uint8_t bin[BINARY_MAX], h[BLAKE2S_LEN];
	struct wr w = wr_of(bin, sizeof(bin));
	write_binary(&w, t);
	blake2s_hash(label, sizeof(label), bin, w.len, h);
	sodium_bin2hex(out, TOKEN_FINGERPRINT_LEN, h, (TOKEN_FINGERPRINT_LEN - 1) / 2);
	sodium_memzero(bin, sizeof(bin));
}

void token_wipe(struct token *t)
{
	sodium_memzero(t, sizeof(*t));
}
