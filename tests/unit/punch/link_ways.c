/* SPDX-License-Identifier: Apache-2.0 */
#include "link_ways.h"

struct ways w;

struct way *way_of(const struct endpoint *e)
{
	for (unsigned i = 0; i < w.nways; i++)
		if (endpoint_eq(&w.ways[i].at, e))
			return &w.ways[i];
	assert_true(w.nways < WAYS);
	w.ways[w.nways] = (struct way){ .at = *e, .takes = 1500 };
	return &w.ways[w.nways++];
}

struct way *way(const char *s)
{
	struct endpoint e = ep(s);
	return way_of(&e);
}

struct way *relay(void)
{
	struct endpoint e = relay_at();
	return way_of(&e);
}

static struct local_way local_way(void *ctx, const struct addr *remote)
{
	(void)ctx;
	w.asked++;
	if (addr_eq(remote, &w.nowhere))
		return (struct local_way){ .none = true };
	return (struct local_way){ .mtu = w.local,
				   .tag = w.tag + (addr_eq(remote, &w.moved) ? 1u : 0u) };
}

static void on_send(const struct link_output *out)
{
	size_t skip = out->path.relay ? RELAY_HEADER_LEN : 0;
	struct sent s = { .at = t.now, .path = out->path };
	assert_int_equal(outer_parse(out->bytes + skip, out->len - skip, outer_key, &s.m),
			 DROP_NONE);
	way_of(&out->path.remote)->pings += s.m.type == OUTER_TYPE_PING;
	if (s.m.type == OUTER_TYPE_PING && !way_of(&out->path.remote)->dead)
		answer(&s);
}

static void on_probe(const struct link_output *out)
{
	struct way *way = way_of(&out->path.remote);
	uint32_t size = out->message + path_around(&out->path);
	struct frame_ack ack;
	assert_int_equal(out->probe.size, out->message);
	way->first = way->probes++ ? way->first : t.now;
	way->last = t.now;
	way->bytes += size;
	way->name = out->probe.path;
	if (way->dead || size > way->takes)
		return;
	pmtu_seen_probe(&w.seen, t.now, out->path.relay, &out->probe, &ack);
	link_probe_ack(out->link, t.now, &ack);
}

void turn(void)
{
	struct link_output out;
	while (links_poll(t.ls, t.now, &out)) {
		if (out.event == LINK_SEND) {
			on_send(&out);
		} else if (out.event == LINK_PROBE) {
			on_probe(&out);
		} else if (out.event == LINK_MTU) {
			w.mtu = out;
			w.mtus++;
			w.news += out.mtu.news;
			if (out.mtu.news)
				w.last_news = out.mtu;
		}
	}
	assert_true(links_deadline(t.ls) > t.now);
}

void run_on(nsec d)
{
	nsec end = t.now + d;
	for (;;) {
		turn();
		if (links_deadline(t.ls) > end)
			break;
		t.now = links_deadline(t.ls);
	}
	t.now = end;
}

int ways_begin(void **state)
{
	struct links_config cfg = {
		.self = SELF, .boot = BOOT, .max_links = 8, .local_way = local_way
	};
	fresh(state);
	links_free(t.ls);
	memset(&w, 0, sizeof(w));
	w.local = 1500;
	t.ls = links_new(&cfg);
	t.l = link_add(t.ls, t.now, PEER, outer_key, &t);
	return t.l ? 0 : -1;
}

void path_at(const char *where)
{
	prove(where, (20 + 10 * (nsec)way(where)->at.addr.b[15]) * MS);
}

const struct pmtu *search_of(const char *where)
{
	struct link_path_info info[32];
	struct endpoint e = ep(where);
	size_t n = link_paths(t.l, info, ARRAY_SIZE(info));
	for (size_t i = 0; i < n; i++)
		if (endpoint_eq(&info[i].path.remote, &e))
			return info[i].mtu;
	return NULL;
}
