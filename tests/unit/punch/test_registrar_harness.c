/* SPDX-License-Identifier: Apache-2.0 */
#include "test_registrar.h"

struct registrar_config cfg;
struct registrar *r;
struct admission admission;
bool plain;
nsec now;
bool store_holds, store_fails;
struct registrar_output out[MAX_OUT];
struct ctl_msg msg[MAX_OUT];
size_t nout;
struct lease_record rows[300];
uint64_t last_seq;
struct ctl_msg next_reg;

const uint8_t *key(uint8_t who)
{
	static uint8_t keys[256][32];
	memset(keys[who], who, 32);
	return keys[who];
}

struct endpoint at(uint8_t who)
{
	uint8_t b[4] = { 198, 51, 100, who };
	if (who == 127) /* on the rendezvous' own host */
		memcpy(b, (uint8_t[]){ 127, 0, 0, 1 }, 4);
	return (struct endpoint){ .addr = addr_v4(b), .port = 1000 };
}

/* Everything that the registrar wants to say or write now. */
void drain(void)
{
	nout = 0;
	while (registrar_poll(r, now, &out[nout])) {
		struct registrar_output *o = &out[nout];
		if (o->event == REGISTRAR_SEND)
			assert_int_equal(ctl_parse(o->bytes, o->len, &msg[nout]), DROP_NONE);
		nout++;
		assert_true(nout < ARRAY_SIZE(out));
		if (o->event != REGISTRAR_STORE && o->event != REGISTRAR_FORGET)
			continue;
		last_seq = o->seq;
		if (store_holds)
			continue;
		if (!store_fails && o->event == REGISTRAR_STORE)
			rows[o->record.number] = o->record;
		else if (!store_fails)
			memset(&rows[o->record.number], 0, sizeof(rows[0]));
		registrar_stored(r, now, o->seq, store_fails);
	}
	assert_true(registrar_deadline(r) > now);
}

void run(nsec for_long)
{
	nsec until = now + for_long;
	static struct registrar_output all[256];
	static struct ctl_msg allmsg[256];
	size_t n = 0;
	while (registrar_deadline(r) <= until) {
		now = nsec_max(now, registrar_deadline(r));
		drain();
		for (size_t i = 0; i < nout; i++, n++) {
			assert_true(n < ARRAY_SIZE(all));
			all[n] = out[i];
			allmsg[n] = msg[i];
		}
	}
	now = until;
	memcpy(out, all, n * sizeof(out[0]));
	memcpy(msg, allmsg, n * sizeof(msg[0]));
	nout = n;
}

enum drop say(uint8_t who, struct ctl_msg *m)
{
	uint8_t b[CONTROL_MAX];
	struct endpoint from = at(who);
	size_t n = ctl_write(m, b, sizeof(b));
	assert_true(n > 0);
	enum drop d = registrar_input(r, now, key(who), &from, plain, b, n);
	drain();
	return d;
}

void ticket(int64_t expires, const char *only)
{
	struct token t = { .expires = expires };
	snprintf(t.only_for, sizeof(t.only_for), "%s", only);
	admission_token(cfg.secret, &admission, &t);
	next_reg.ticket = t.ticket;
	next_reg.has |= CTL_BIT(CTL_TICKET);
}

void reg(uint8_t who, const char *id, uint32_t request)
{
	struct ctl_msg m = next_reg;
	m.type = CTL_REGISTER;
	m.request = request;
	m.has |= CTL_BIT(CTL_WORKER_ID);
	snprintf(m.id, sizeof(m.id), "%s", id);
	memset(&next_reg, 0, sizeof(next_reg));
	assert_int_equal(say(who, &m), DROP_NONE);
}

enum drop say_plain(uint8_t who, uint8_t type, uint32_t request)
{
	return say(who, &(struct ctl_msg){ .type = type, .request = request });
}

/* The first message of this type to `who` in the last turn, or NULL. */
const struct ctl_msg *told(uint8_t who, uint8_t type)
{
	for (size_t i = 0; i < nout; i++)
		if (out[i].event == REGISTRAR_SEND && memcmp(out[i].key, key(who), 32) == 0 &&
		    msg[i].type == type)
			return &msg[i];
	return NULL;
}

size_t count(uint8_t who, uint8_t type)
{
	size_t n = 0;
	for (size_t i = 0; i < nout; i++)
		n += out[i].event == REGISTRAR_SEND && memcmp(out[i].key, key(who), 32) == 0 &&
		     msg[i].type == type;
	return n;
}

const struct registrar_output *event(enum registrar_event e)
{
	for (size_t i = 0; i < nout; i++)
		if (out[i].event == e)
			return &out[i];
	return NULL;
}

member_number granted(uint8_t who)
{
	const struct ctl_msg *m = told(who, CTL_GRANT);
	return m ? m->lease.number : 0;
}

void assert_refused(uint8_t who, enum ctl_refusal code, bool fatal, const char *part)
{
	const struct ctl_msg *m = told(who, CTL_REFUSE);
	assert_non_null(m);
	assert_int_equal(m->code, code);
	assert_int_equal(m->fatal, fatal);
	if (!strstr(m->text, part))
		fail_msg("\"%s\" lacks \"%s\"", m->text, part);
}

void start(const char *prefix4, uint32_t max)
{
	registrar_free(r);
	memset(&cfg, 0, sizeof(cfg));
	memset(cfg.secret, 7, 32);
	assert_true(prefix_parse(prefix4, &cfg.prefix4));
	assert_true(prefix_parse("fd00:1::/64", &cfg.prefix6));
	cfg.max_members = max;
	admission_free(&admission);
	cfg.admission = &admission;
	memset(cfg.plain, 0xad, 32);
	plain = true;
	cfg.release = "0.1.0";
	cfg.lease_ttl = 30 * 24 * HOUR * SEC;
	now = 1000 * SEC;
	r = registrar_new(&cfg, now);
	assert_non_null(r);
	registrar_set_wall(r, 1700000000 * NSEC_PER_SEC);
	store_holds = store_fails = false;
}

/* A new process with what the store holds. */
void restart(void)
{
	registrar_free(r);
	now += 3 * SEC;
	r = registrar_new(&cfg, now);
	registrar_set_wall(r, 1700000000 * NSEC_PER_SEC);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].number)
			assert_int_equal(registrar_load(r, &rows[i]), 0);
}

int setup(void **state)
{
	(void)state;
	memset(rows, 0, sizeof(rows));
	memset(&next_reg, 0, sizeof(next_reg));
	start("10.77.0.0/16", 200);
	return 0;
}

int teardown(void **state)
{
	(void)state;
	registrar_free(r);
	admission_free(&admission);
	r = NULL;
	return 0;
}
