/* SPDX-License-Identifier: Apache-2.0 */
#include "test_enrol.h"

struct enrol *e;
nsec now, began;
struct enrol_output out[MAX_OUT];
nsec out_at[MAX_OUT];
struct ctl_msg sent[MAX_OUT];
size_t nout;
uint32_t last_get;
const struct ctl_roster here = { 77, 5000 };

static void collect(void)
{
	while (enrol_poll(e, now, &out[nout])) {
		if (out[nout].event == ENROL_SEND)
			assert_int_equal(ctl_parse(out[nout].bytes, out[nout].len, &sent[nout]),
					 DROP_NONE);
		if (out[nout].event == ENROL_SEND && sent[nout].type == CTL_ROSTER_GET)
			last_get = sent[nout].request;
		out_at[nout++] = now;
		assert_true(nout < MAX_OUT);
	}
	assert_true(enrol_deadline(e) > now);
}

void drain(void)
{
	nout = 0;
	collect();
}

void run(nsec for_long)
{
	nsec until = now + for_long;
	nout = 0;
	while (enrol_deadline(e) <= until) {
		now = nsec_max(now, enrol_deadline(e));
		collect();
	}
	now = until;
}

int setup(void **state)
{
	struct enrol_config cfg = { .worker_id = "w1", .release = "0.1.0", .boot = BOOT };
	(void)state;
	assert_true(prefix_parse("10.77.0.0/16", &cfg.prefix4));
	assert_true(prefix_parse("fd00:1::/64", &cfg.prefix6));
	memset(cfg.key, 1, 32);
	e = enrol_new(&cfg);
	assert_non_null(e);
	now = began = 500 * SEC;
	enrol_session_up(e, now);
	return 0;
}

int teardown(void **state)
{
	(void)state;
	enrol_free(e);
	return 0;
}

enum drop hear(struct ctl_msg m)
{
	uint8_t b[CONTROL_MAX];
	size_t n = ctl_write(&m, b, sizeof(b));
	assert_true(n > 0);
	enum drop d = enrol_input(e, now, b, n);
	drain();
	return d;
}

const struct enrol_output *event(enum enrol_event want)
{
	for (size_t i = 0; i < nout; i++)
		if (out[i].event == want)
			return &out[i];
	return NULL;
}

size_t events(enum enrol_event want)
{
	size_t n = 0;
	for (size_t i = 0; i < nout; i++)
		n += out[i].event == want;
	return n;
}

const struct ctl_msg *asked(uint8_t type)
{
	for (size_t i = nout; i--;)
		if (out[i].event == ENROL_SEND && sent[i].type == type)
			return &sent[i];
	return NULL;
}

struct ctl_msg grant(uint32_t request, member_number number)
{
	struct ctl_msg m = { .type = CTL_GRANT,
			     .request = request,
			     .has = CTL_BIT(CTL_LEASE) | CTL_BIT(CTL_PSK) | CTL_BIT(CTL_ADDRESSES) |
				    CTL_BIT(CTL_OBSERVED) | CTL_BIT(CTL_ROSTER),
			     .lease = { .number = number, .granted = 1700000000 },
			     .roster = here };
	char ip[32], ip6[32];
	snprintf(ip, sizeof(ip), "10.77.0.%u", number);
	snprintf(ip6, sizeof(ip6), "fd00:1::%x", number);
	assert_true(addr_parse(ip, &m.lease.ip) && addr_parse(ip6, &m.lease.ip6));
	assert_true(endpoint_parse("198.51.100.1:4000", &m.observed));
	return m;
}

void join(void)
{
	drain();
	assert_int_equal(hear(grant(asked(CTL_REGISTER)->request, 1)), DROP_NONE);
	uint8_t b[CONTROL_MAX];
	struct ctl_page pg;
	ctl_page_begin(&pg, b, sizeof(b), asked(CTL_ROSTER_GET)->request, &here);
	size_t n = ctl_page_end(&pg, CTL_PAGE_FULL | CTL_PAGE_PAUSE, 0, UINT32_MAX);
	assert_int_equal(enrol_input(e, now, b, n), DROP_NONE);
	drain();
}

void roster(const struct roster_entry *r, size_t n, uint32_t gone, uint64_t version)
{
	uint8_t b[CONTROL_MAX];
	struct ctl_page pg;
	struct ctl_roster at = { here.instance, version };
	hear((struct ctl_msg){
		.type = CTL_ROSTER_CHANGED, .has = CTL_BIT(CTL_ROSTER), .roster = at });
	uint32_t pages = 0;
	ctl_page_begin(&pg, b, sizeof(b), last_get, &at);
	for (size_t i = 0; i < n; i++) {
		if (ctl_page_entry(&pg, &r[i]))
			continue;
		size_t full = ctl_page_end(&pg, CTL_PAGE_MORE, pages, pages + 1);
		assert_int_equal(enrol_input(e, now, b, full), DROP_NONE);
		pages++;
		ctl_page_begin(&pg, b, sizeof(b), last_get, &at);
		assert_true(ctl_page_entry(&pg, &r[i]));
	}
	if (gone)
		assert_true(ctl_page_gone(&pg, gone));
	n = ctl_page_end(&pg, CTL_PAGE_PAUSE, pages, UINT32_MAX);
	assert_int_equal(enrol_input(e, now, b, n), DROP_NONE);
	drain();
}

struct roster_entry member(member_number number, const char *id, uint8_t key)
{
	struct roster_entry r = { .number = number };
	memset(r.key, key, 32);
	snprintf(r.id, sizeof(r.id), "%s", id);
	return r;
}
