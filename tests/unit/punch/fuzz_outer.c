/* SPDX-License-Identifier: Apache-2.0 */
/* The outer codecs over any bytes; what they accept must be written again as the same message. */
#include <stdlib.h>

#include "punch/outer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* A good MAC, so that what is behind it is reached. */
static void parse_signed(const uint8_t *data, size_t size, const uint8_t key[static OUTER_KEY_LEN])
{
	uint8_t p[OUTER_MAX], again[OUTER_MAX];
	struct outer_msg m, n;
	if (size < MAC_LEN || size > sizeof(p))
		return;
	memcpy(p, data, size);
	blake2s_mac(key, OUTER_KEY_LEN, p, size - MAC_LEN, p + size - MAC_LEN);
	if (outer_parse(p, size, key, &m))
		return;
	check(outer_write(&m, key, again, sizeof(again)) ==
	      size); /* TLVs become padding: as long */
	check(outer_parse(again, size, key, &n) == DROP_NONE);
	check(n.counter == m.counter && n.boot == m.boot && n.sender == m.sender);
	check(endpoint_eq(&n.observed, &m.observed) && memcmp(n.txid, m.txid, TXID_LEN) == 0);
}

static void relay(const uint8_t *data, size_t size)
{
	static const uint8_t key[RELAY_KEY_LEN] = { 3 };
	struct relay_msg m;
	if (relay_peek(data, size, &m))
		return;
	(void)relay_mac_ok(data, size, key);
	uint8_t *p = malloc(size);
	check(p);
	memcpy(p, data, size);
	relay_write(p, size - RELAY_HEADER_LEN, &m, key);
	check(relay_mac_ok(p, size, key));
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t key[OUTER_KEY_LEN];
	struct outer_msg m;
	uint32_t a, b;
	enum drop why;
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	enum outer_kind kind = outer_classify(data, size, &why);
	check((kind == OUTER_NONE) == (why != DROP_NONE));
	(void)outer_peek(data, size, &a, &b);
	if (outer_parse(data, size, key, &m) == DROP_NONE)
		check(kind == OUTER_PING || kind == OUTER_PONG);
	parse_signed(data, size, key);
	relay(data, size);
	return 0;
}
