/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/uapi_impl.h"

#include <inttypes.h>
#include <sodium.h>

enum { ROUTES = 32 }; /* at a time */

static void put_key(struct uapi *u, const char *name, const uint8_t key[static 32])
{
	char hex[65];
	sodium_bin2hex(hex, sizeof(hex), key, 32);
	uapi_put(u, "%s=%s\n", name, hex);
	sodium_memzero(hex, sizeof(hex));
}

static void put_endpoint(struct uapi *u, const struct endpoint *e)
{
	char addr[ADDR_STRLEN], text[ENDPOINT_STRLEN];

	if (e->scope && !addr_is_v4(&e->addr) && addr_is_link_local(&e->addr))
		uapi_put(u, "endpoint=[%s%%%" PRIu32 "]:%u\n", addr_str(&e->addr, addr), e->scope,
			 e->port);
	else
		uapi_put(u, "endpoint=%s\n", endpoint_str(e, text));
}

static void put_stats(struct uapi *u, nsec now, const struct wg_peer *p)
{
	struct wg_peer_stats s;

	wg_peer_stats(p, now, &s);
	nsec at = s.last_handshake ? s.last_handshake + u->dev.wall_offset(u->dev.ctx) : 0;
	at = nsec_max(at, 0); /* no clock that is set: wg(8) takes digits alone */
	uapi_put(u, "last_handshake_time_sec=%" PRId64 "\n", at / NSEC_PER_SEC);
	uapi_put(u, "last_handshake_time_nsec=%" PRId64 "\n", at % NSEC_PER_SEC);
	uapi_put(u, "tx_bytes=%" PRIu64 "\n", s.tx_bytes);
	uapi_put(u, "rx_bytes=%" PRIu64 "\n", s.rx_bytes);
}

static void put_peer(struct uapi *u, nsec now, const struct peer *p)
{
	const struct wg_peer *wg = peer_wg(p);
	struct endpoint at;

	put_key(u, "public_key", peer_key(p));
	put_key(u, "preshared_key", wg_peer_psk(wg));
	uapi_put(u, "protocol_version=1\n");
	if (peer_endpoint(p, &at))
		put_endpoint(u, &at);
	put_stats(u, now, wg);
	uapi_put(u, "persistent_keepalive_interval=%u\n", wg_peer_keepalive(wg));
}

static void put_device(struct uapi *u)
{
	const struct uapi_device *d = &u->dev;
	const uint8_t *key = wg_private_key(node_wg(d->node));
	uint32_t mark = d->fwmark(d->ctx);

	if (!sodium_is_zero(key, 32))
		put_key(u, "private_key", key);
	uapi_put(u, "listen_port=%u\n", d->port(d->ctx));
	if (mark)
		uapi_put(u, "fwmark=%" PRIu32 "\n", mark);
	u->answer.at = ANSWER_PEERS;
	u->answer.serial = 0;
}

/* False where there is none. */
static bool put_next_peer(struct uapi *u, nsec now)
{
	const struct peer *p = node_peer_after(u->dev.node, u->answer.key, u->answer.serial);

	if (!p)
		return false;
	put_peer(u, now, p);
	memcpy(u->answer.key, peer_key(p), 32);
	u->answer.serial = peer_serial(p);
	u->answer.at = ANSWER_ROUTES;
	u->answer.has_prefix = false;
	return true;
}

static void put_routes(struct uapi *u)
{
	const struct peer *p = node_peer_find(u->dev.node, u->answer.key);
	struct prefix some[ROUTES];
	char text[PREFIX_STRLEN];
	size_t n = 0;

	if (p && peer_serial(p) == u->answer.serial)
		n = peer_routes(p, u->answer.has_prefix ? &u->answer.prefix : NULL, some, ROUTES);
	for (size_t i = 0; i < n; i++)
		uapi_put(u, "allowed_ip=%s\n", prefix_str(&some[i], text));
	if (n < ROUTES) {
		u->answer.at = ANSWER_PEERS;
		return;
	}
	u->answer.prefix = some[n - 1];
	u->answer.has_prefix = true;
}

bool uapi_get(struct uapi *u, nsec now)
{
	switch (u->answer.at) {
	case ANSWER_DEVICE:
		put_device(u);
		return false;
	case ANSWER_PEERS:
		return !put_next_peer(u, now);
	case ANSWER_ROUTES:
		put_routes(u);
		return false;
	}
	return true;
}
