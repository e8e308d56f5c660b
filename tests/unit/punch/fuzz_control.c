/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages to both ends: each input is a series of (u8 who and when, be16 length, bytes).
 * The ends are in the middle of their work, so that a message meets every state.
 */
#include <stdlib.h>

#include "punch/control.h"
#include "punch/enrol.h"
#include "punch/registrar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct endpoint from = { .addr = { { [10] = 0xff, 0xff, 198, 51, 100, 1 } },
				      .port = 7 };

struct world {
	struct registrar *r;
	struct enrol *e;
	uint8_t key[32];
	nsec now;
};

static void drain(struct world *w)
{
	struct registrar_output ro;
	struct enrol_output eo;
	while (registrar_poll(w->r, w->now, &ro)) {
		if (ro.event == REGISTRAR_STORE || ro.event == REGISTRAR_FORGET)
			registrar_stored(w->r, w->now, ro.seq, false);
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
	struct registrar_config rc = { .max_members = 8, .release = "0.1.0" };
	struct enrol_config ec = { .worker_id = "w1", .release = "0.1.0" };
	if (!prefix_parse("10.77.0.0/29", &rc.prefix4) || !prefix_parse("fd00::/64", &rc.prefix6))
		abort();
	ec.prefix4 = rc.prefix4;
	ec.prefix6 = rc.prefix6;
	memset(w->key, 1, 32);
	memset(ec.key, 1, 32);
	w->now = 100 * NSEC_PER_SEC;
	w->r = registrar_new(&rc, w->now);
	w->e = enrol_new(&ec);
	if (!w->r || !w->e)
		abort();
	enrol_session_up(w->e, w->now);
	drain(w);
	drain(w);
	enrol_connect(w->e, w->now, 2);
}

static void step(struct world *w, uint8_t how, const uint8_t *p, size_t len)
{
	uint8_t key[32];
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd r = rd_of(data, size);
	struct world w = { 0 };
	start(&w);
	for (unsigned n = 0; r.left && n < 64; n++) {
		uint8_t how = rd_u8(&r);
		size_t len = size_min(rd_be16(&r), r.left);
		const uint8_t *p = rd_take(&r, len);
		/* exactly as long, so that one byte too many is seen */
		uint8_t *copy = malloc(len ? len : 1);
		if (!copy)
			abort();
		if (p)
			memcpy(copy, p, len);
		step(&w, how, copy, p ? len : 0);
		free(copy);
	}
	drain(&w);
	w.now += 70 * NSEC_PER_SEC;
	drain(&w);
	enrol_free(w.e);
	registrar_free(w.r);
	return 0;
}
