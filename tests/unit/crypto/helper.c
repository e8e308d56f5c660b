/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include "tests/unit/splitmix.h"

static uint64_t state;

uint64_t rnd(void)
{
	return splitmix64(&state);
}

uint32_t rnd_below(uint32_t n)
{
	return n ? (uint32_t)(rnd() % n) : 0;
}

static const char *seeded_name(void)
{
	return "seeded";
}

static uint32_t seeded_random(void)
{
	return (uint32_t)rnd();
}

static void seeded_buf(void *const out, const size_t n)
{
	uint8_t *p = out;
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rnd();
}

void seed_all(uint64_t seed)
{
	static struct randombytes_implementation seeded = { .implementation_name = seeded_name,
							    .random = seeded_random,
							    .buf = seeded_buf };
	state = seed;
	randombytes_set_implementation(&seeded);
	if (sodium_init() < 0)
		abort();
}

static uint8_t nibble(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

size_t unhex(const char *hex, uint8_t *out, size_t cap)
{
	size_t n = strlen(hex) / 2;
	assert_true(n <= cap);
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
	return n;
}

void assert_hex(const uint8_t *got, const char *hex)
{
	uint8_t want[512];
	size_t n = unhex(hex, want, sizeof(want));
	assert_memory_equal(got, want, n);
}

const struct aead *test_aead(void)
{
	return aead_choose(NULL);
}

void pair_init(struct pair *d)
{
	struct wg_config cfg = { .max_peers = 4, .aead = test_aead() };
	uint8_t priv[2][WG_KEY_LEN], pub[2][WG_KEY_LEN];
	for (int i = 0; i < 2; i++) {
		wg_key_generate(priv[i]);
		wg_key_public(priv[i], pub[i]);
	}
	int smaller = memcmp(pub[0], pub[1], WG_KEY_LEN) < 0 ? 0 : 1;
	for (int i = 0; i < 2; i++) {
		d->wg[i] = wg_new(&cfg);
		assert_non_null(d->wg[i]);
		wg_set_private_key(d->wg[i], priv[i ^ smaller]);
		wg_set_wall_offset(d->wg[i], 1700000000 * SEC);
	}
	for (int i = 0; i < 2; i++) {
		d->peer[i] = wg_peer_add(d->wg[i], wg_public_key(d->wg[1 - i]), d);
		assert_non_null(d->peer[i]);
	}
}

void pair_free(struct pair *d)
{
	for (int i = 0; i < 2; i++)
		wg_free(d->wg[i]);
}

struct datagram must_poll(struct wg *wg, nsec now)
{
	struct wg_output o;
	struct datagram m = { .len = 0 };
	assert_true(wg_poll(wg, now, &o));
	assert_int_equal(o.event, WG_EVENT_SEND);
	memcpy(m.b, o.bytes, o.len);
	m.len = o.len;
	return m;
}

enum drop hand_over(struct wg *wg, nsec now, const struct datagram *m, struct datagram *answer)
{
	static const uint8_t src[18] = {
		[10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 1, 0x12, 0x34
	};
	struct wg_reply r;
	enum drop why = wg_handshake_input(wg, now, m->b, m->len, src, sizeof(src), &r);
	if (answer) {
		memcpy(answer->b, r.bytes, r.len);
		answer->len = r.len;
	}
	return why;
}

struct datagram must_seal(struct pair *d, int from, nsec now, const char *text)
{
	struct datagram m = { .len = 0 };
	uint32_t len = (uint32_t)strlen(text);
	struct wg_packet k = { .data = m.b, .len = len, .padded = wg_padded(len, 1420) };
	memcpy(m.b + WG_DATA_HEADER_LEN, text, len);
	assert_int_equal(wg_seal(d->wg[from], d->peer[from], now, &k, 1), DROP_NONE);
	m.len = k.len;
	return m;
}

enum drop open_one(struct wg *wg, nsec now, const struct datagram *m, struct datagram *plain)
{
	struct datagram copy = *m;
	struct wg_packet k = { .data = copy.b, .len = (uint32_t)m->len };
	wg_open(wg, now, &k, 1);
	copy.len = k.len;
	if (plain)
		*plain = copy;
	return k.drop;
}

void pair_connect(struct pair *d, int from, nsec now)
{
	struct datagram response, init;
	int to = 1 - from;
	wg_peer_initiate(d->wg[from], d->peer[from], now, 0);
	init = must_poll(d->wg[from], now);
	assert_int_equal(hand_over(d->wg[to], now, &init, &response), DROP_NONE);
	assert_int_equal(response.len, WG_RESPONSE_LEN);
	assert_int_equal(hand_over(d->wg[from], now, &response, NULL), DROP_NONE);
	assert_true(wg_can_send(d->peer[from], now));
	assert_false(wg_can_send(d->peer[to], now)); /* not before it is confirmed */
	struct datagram confirm = must_poll(d->wg[from], now + MSEC);
	assert_int_equal(confirm.len, WG_OVERHEAD);
	assert_int_equal(open_one(d->wg[to], now + MSEC, &confirm, NULL), DROP_NONE);
	assert_true(wg_can_send(d->peer[to], now));
}
