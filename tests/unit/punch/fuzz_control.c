/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages to both ends: each input is a series of (u8 who and when, be16 length, bytes); a length
 * with the top bit is a deed instead: what the owners of the two do, other members that register
 * as they should, a disk that is slow or full, days that pass.
 * The ends are in the middle of their work, so that a message meets every state.
 */
#include <stdlib.h>

#include "punch/control.h"
#include "punch/enrol.h"
#include "punch/registrar.h"
#include "snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct endpoint from = { .addr = { { [10] = 0xff, 0xff, 198, 51, 100, 1 } },
				      .port = 7 };

enum { DEED = 0x8000, HELD_MAX = 64 };

struct world {
	struct registrar *r;
	struct enrol *e;
	uint8_t key[32];
	nsec now;
	bool fails, slow; /* the disk */
	uint64_t held[HELD_MAX];
	size_t nheld;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void key_of(unsigned who, uint8_t key[static 32])
{
	memset(key, (int)who, 32);
}

/* A slow disk answers once it is slow no more. */
static void store(struct world *w, uint64_t seq)
{
	if (w->nheld < HELD_MAX)
		w->held[w->nheld++] = seq;
	if (w->slow)
		return;
	for (size_t i = 0; i < w->nheld; i++)
		registrar_stored(w->r, w->now, w->held[i], w->fails);
	w->nheld = 0;
}

static void drain(struct world *w)
{
	struct registrar_output ro;
	struct enrol_output eo;
	while (registrar_poll(w->r, w->now, &ro)) {
		if (ro.event == REGISTRAR_STORE || ro.event == REGISTRAR_FORGET)
			store(w, ro.seq);
		if (ro.event == REGISTRAR_SEND && ro.len < CTL_HEADER_LEN)
			abort();
		if (ro.event == REGISTRAR_SEND && memcmp(ro.key, w->key, 32) == 0)
			enrol_input(w->e, w->now, ro.bytes, ro.len);
	}
	while (enrol_poll(w->e, w->now, &eo))
		if (eo.event == ENROL_SEND)
			registrar_input(w->r, w->now, w->key, &from, true, eo.bytes, eo.len);
}

static void start(struct world *w)
{
	static const struct lease_record kept = {
		.number = 3, .id = "w3", .key = { 3 }, .seen = 50
	};
	struct member_route route = { .id = "w1" };
	struct registrar_config rc = { .max_members = 5,
				       .release = "0.1.0",
				       .routes = &route,
				       .nroutes = 1,
				       .lease_ttl = 86400 * NSEC_PER_SEC };
	struct enrol_config ec = { .worker_id = "w1", .release = "0.1.0" };
	must(prefix_parse("10.77.0.0/29", &rc.prefix4) && prefix_parse("fd00::/64", &rc.prefix6));
	must(prefix_parse("192.168.7.0/24", &route.prefix));
	ec.prefix4 = rc.prefix4;
	ec.prefix6 = rc.prefix6;
	memset(w->key, 1, 32);
	memset(ec.key, 1, 32);
	w->now = 100 * NSEC_PER_SEC;
	w->r = registrar_new(&rc, w->now);
	w->e = enrol_new(&ec);
	must(w->r && w->e && registrar_load(w->r, &kept) == 0);
	registrar_set_wall(w->r, 1000 * NSEC_PER_SEC);
	enrol_session_up(w->e, w->now);
	drain(w);
	drain(w);
	enrol_connect(w->e, w->now, 2);
}

/* --- deeds --- */

static void say(struct world *w, unsigned who, struct ctl_msg *m)
{
	uint8_t bytes[CONTROL_SEND_MAX], key[32];
	struct endpoint at = from;
	size_t n = ctl_write(m, bytes, sizeof(bytes));
	must(n > 0);
	key_of(who, key);
	at.port = (uint16_t)(at.port + who);
	registrar_input(w->r, w->now, key, &at, true, bytes, n);
}

static void other_registers(struct world *w, unsigned who, unsigned as)
{
	static const char *const ids[] = { "w1", "w2", "w3", "c-1", "w4", "w5", "w6", "w7" };
	struct ctl_msg m = { .type = CTL_REGISTER,
			     .request = who,
			     .has = CTL_BIT(CTL_WORKER_ID) | CTL_BIT(CTL_CANDIDATES),
			     .candidates = { from },
			     .ncandidates = 1 };
	memcpy(m.id, ids[as % ARRAY_SIZE(ids)], strlen(ids[as % ARRAY_SIZE(ids)]) + 1);
	say(w, who, &m);
}

static void other_asks(struct world *w, unsigned who, unsigned what)
{
	static const uint8_t types[] = { CTL_ROSTER_GET, CTL_CONNECT, CTL_RELEASE,
					 CTL_CHALLENGE_OK };
	struct ctl_msg m = { .type = types[what % ARRAY_SIZE(types)],
			     .number = what >> 2 & 7,
			     .upto = UINT32_MAX };
	if (m.type == CTL_ROSTER_GET)
		m.has = CTL_BIT(CTL_ROSTER) | CTL_BIT(CTL_RANGE);
	else if (m.type == CTL_CONNECT)
		m.has = CTL_BIT(CTL_NUMBER);
	say(w, who, &m);
}

static void facts(struct world *w, unsigned arg)
{
	struct trino_facts t = { .http_port = (uint16_t)arg, .coordinator = arg & 1 };
	struct endpoint c[3] = { from, from, { .port = 9 } };
	c[1].port = (uint16_t)(1 + arg);
	enrol_set_candidates(w->e, w->now, c, arg & 3);
	enrol_set_trino(w->e, w->now, &t);
}

static void look(struct world *w, unsigned arg)
{
	struct registrar_member_info m[3];
	struct enrol_info info;
	uint8_t key[32], psk[32];
	size_t online, n = registrar_count(w->r, &online);
	must(online <= n);
	n = registrar_members(w->r, w->now, arg & 3, m, ARRAY_SIZE(m));
	for (size_t i = 0; i < n && i < ARRAY_SIZE(m); i++)
		must(m[i].record.number && worker_id_valid(m[i].record.id));
	key_of(arg & 7, key);
	must(!registrar_number(w->r, key) || registrar_psk(w->r, key, psk));
	(void)registrar_deadline(w->r);
	enrol_info(w->e, &info);
	(void)enrol_deadline(w->e);
}

static void deed(struct world *w, uint16_t what)
{
	unsigned arg = what >> 4 & 0x7ff;
	uint8_t key[32];

	switch (what & 15) {
	case 0:
		facts(w, arg);
		break;
	case 1:
		enrol_connect(w->e, w->now, arg & 7);
		break;
	case 2:
		enrol_release(w->e, w->now);
		break;
	case 3:
		enrol_session_up(w->e, w->now);
		break;
	case 4:
		key_of(arg & 7, key);
		registrar_alive(w->r, w->now, key);
		break;
	case 5:
		other_registers(w, arg & 7, arg >> 3);
		break;
	case 6:
		other_asks(w, arg & 7, arg >> 3);
		break;
	case 7:
		w->fails = arg & 1;
		w->slow = arg & 2;
		break;
	case 8:
		w->now += (nsec)arg * 1800 * NSEC_PER_SEC;
		break;
	case 9:
		w->now += (nsec)arg * 100 * NSEC_PER_MSEC;
		break;
	case 10:
		key_of(arg & 7, key);
		registrar_remove(w->r, w->now, key);
		break;
	case 11:
		(void)registrar_forget(w->r, w->now, arg & 1 ? "w1" : "w2");
		break;
	default:
		look(w, arg);
	}
}

/* The codec alone, whatever the ends would make of the message: what is read can be written, and read again. */
static void codec(const uint8_t *p, size_t len)
{
	struct ctl_msg m, again;
	uint8_t out[CONTROL_SEND_MAX];
	struct ctl_page page;

	if (ctl_parse(p, len, &m) != DROP_NONE)
		return;
	struct ctl_changes it = { .body = m.body };
	struct ctl_change c;
	ctl_page_begin(&page, out, sizeof(out), m.request, &m.roster);
	while (ctl_next_change(&it, &c))
		if (c.removed)
			(void)ctl_page_removed(&page, c.entry.number);
		else if (c.gone)
			(void)ctl_page_gone(&page, c.entry.number);
		else
			(void)ctl_page_entry(&page, &c.entry);
	size_t n = ctl_page_end(&page, m.flags, m.after, m.upto);
	must(ctl_parse(out, n, &again) == DROP_NONE && again.type == CTL_ROSTER_PAGE);
	m.has &= ~(CTL_BIT(CTL_ENTRY) | CTL_BIT(CTL_GONE) | CTL_BIT(CTL_REMOVED));
	n = ctl_write(&m, out, sizeof(out));
	if (n)
		must(ctl_parse(out, n, &again) == DROP_NONE && again.has == m.has &&
		     again.ncandidates == m.ncandidates);
}

static void step(struct world *w, uint8_t how, const uint8_t *p, size_t len)
{
	uint8_t key[32];
	codec(p, len);
	memset(key, how & 3, 32);
	w->now += (nsec)(how >> 4) * 400 * NSEC_PER_MSEC;
	if (how & 8)
		enrol_input(w->e, w->now, p, len);
	else
		registrar_input(w->r, w->now, key, &from, true, p, len);
	if (how & 4) {
		drain(w);
		drain(w);
	}
}

/* To begin takes ten times as long as most inputs: it is done once. */
static struct world *begin(void)
{
	static struct world w;
	if (!snapshot_taken()) {
		snapshot_begin();
		snapshot_static(&w, sizeof(w));
		start(&w);
		snapshot_take();
	}
	snapshot_restore();
	return &w;
}

/* Exactly as long, so that one byte too many is seen. */
static void message(struct world *w, uint8_t how, struct rd *r, size_t len)
{
	const uint8_t *p = rd_take(r, len);
	uint8_t *copy = malloc(len ? len : 1);
	if (!copy)
		abort();
	if (p)
		memcpy(copy, p, len);
	step(w, how, copy, p ? len : 0);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size);
	struct world *w = begin();
	for (unsigned n = 0; r.left && n < 64; n++) {
		uint8_t how = rd_u8(&r);
		uint16_t word = rd_be16(&r);
		if (word & DEED) {
			deed(w, word);
			drain(w);
		} else {
			message(w, how, &r, size_min(word, r.left));
		}
	}
	drain(w);
	w->now += 70 * NSEC_PER_SEC;
	drain(w);
	if (snapshot_ends()) {
		enrol_free(w->e);
		registrar_free(w->r);
	}
	snapshot_end();
	return 0;
}
