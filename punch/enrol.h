/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member's side of the control protocol with a rendezvous: register, learn the roster, be
 * introduced, release. Sans-IO: its payloads are control frames (first byte ≥ 0x80) that travel as
 * plaintext of an encrypted WireGuard session with the rendezvous; the caller seals and opens.
 *
 * Requests are numbered, idempotent and repeated (0.25, 0.5, 1, 2, 4 s, then every 5 s) until
 * answered. The registration is renewed every 20 s, which also keeps the NAT's binding.
 */
#ifndef WARREN_ENROL_H
#define WARREN_ENROL_H

#include "base/drop.h"
#include "punch/member.h"

struct enrol;

struct enrol_config {
	const char *worker_id, *release; /* copied */
	uint8_t key[32];		 /* our public key: an entry that claims it is ignored */
	uint64_t
		boot; /* this process: ns since 1970 at its start, which tells it from another with our key */
	struct prefix prefix4,
		prefix6;      /* from the token: a lease or roster entry outside is refused */
	struct ticket ticket; /* from the token, to be shown while we have no lease; zeros: none */
	/* The lease of an earlier start (number, granted, MAC), shown to a rendezvous that lost it; or NULL. */
	const struct lease *saved;
	/*
	 * One of several rendezvous of the network: it is asked for a lease only by enrol_claim(), and
	 * that it has no room or speaks another version is not the end.
	 */
	bool several;
};

struct enrol *enrol_new(const struct enrol_config *cfg);
void enrol_free(struct enrol *e);

/* A (new) session with the rendezvous is up: register on it now, if there is a lease or one may be asked for. */
void enrol_session_up(struct enrol *e, nsec now);
/* `several`: ask for a lease from now on. */
void enrol_claim(struct enrol *e, nsec now);
/* The lease that we hold, by the word of another rendezvous: this one is shown it. */
void enrol_show(struct enrol *e, nsec now, const struct lease *l);
/* Our candidates or our Trino's facts: registered anew when they changed, at most twice a second. */
void enrol_set_candidates(struct enrol *e, nsec now, const struct endpoint *c, size_t n);
void enrol_set_trino(struct enrol *e, nsec now, const struct trino_facts *f);
/* Asks for an introduction to `number`; repeated until answered. */
void enrol_connect(struct enrol *e, nsec now, member_number number);
/* The member of this number, asked about by ENROL_ASKED, has answered us since. */
void enrol_vouch(struct enrol *e, member_number number);
/* Gives the lease back; ENROL_RELEASED, or after 2 s without an answer too, and at once where there is none. */
void enrol_release(struct enrol *e, nsec now);

/* A control payload from the rendezvous. */
enum drop enrol_input(struct enrol *e, nsec now, const uint8_t *p, size_t len);

enum enrol_event {
	ENROL_SEND, /* `bytes` of `len` to the rendezvous */
	ENROL_GRANTED, /* `lease`, `psk` (ours with the rendezvous from now on), `observed`; again on each change */
	ENROL_REFUSED, /* `text`; `fatal`: asking again is useless (id taken, range full, version) */
	ENROL_REPLACED,	   /* another key holds our id now, `text`: stop */
	ENROL_MEMBER,	   /* `entry` is new or changed */
	ENROL_MEMBER_GONE, /* `number`; `removed`: by the operator, whoever still has a link */
	ENROL_INTRODUCED,  /* `number`, `candidates`: probe now */
	ENROL_ASKED,	   /* does `number` answer you now? enrol_vouch() within 4 s, if so */
	ENROL_OBSERVED,	   /* `observed`: where the rendezvous sees us now */
	ENROL_SILENT, /* no answer for 3 s: start a new handshake, look the name up again. Repeated every 5 s */
	ENROL_RELEASED,
};

struct enrol_output {
	enum enrol_event event;
	size_t len;
	uint8_t bytes[CONTROL_SEND_MAX];
	struct lease lease;
	uint8_t psk[32];
	struct endpoint observed;
	bool fatal, taken; /* taken: another node holds the id */
	char text[200];
	struct roster_entry entry;
	member_number number;
	bool removed;
	struct endpoint candidates[MAX_CANDIDATES];
	size_t ncandidates;
};

bool enrol_poll(struct enrol *e, nsec now, struct enrol_output *out);
/* Whom it lists under this number now; NULL: nobody. Valid until the next call. */
const struct roster_entry *enrol_member(const struct enrol *e, member_number number);
/* It has been silent for long, and others have not: what it listed is gone, and asked for anew when it is back. */
void enrol_forget_roster(struct enrol *e);
nsec enrol_deadline(const struct enrol *e);

/* What is left of a roster entry that was kept, after the same look as at a rendezvous' word; false: nothing. */
bool enrol_admits(const struct enrol *e, struct roster_entry *r);
/* The member of this id that the rendezvous lists; NULL. Valid until the next call. */
const struct roster_entry *enrol_find(const struct enrol *e, const char *id);

/* For status: registered, the last answer's time and its round trip, roster version. */
struct enrol_info {
	bool registered; /* it has our lease, and answers */
	bool silent;	 /* it answers no more (ENROL_SILENT) */
	bool listed;	 /* the whole roster was heard since the start */
	nsec last_answer, rtt;
	uint64_t roster_version;
	size_t members;
};
void enrol_info(const struct enrol *e, struct enrol_info *out);

#endif
