/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rendezvous' core: members, leases, the roster and introductions. Sans-IO: control payloads of
 * authenticated keys in, payloads and store requests out. It answers a claim only after the store
 * said that the lease is committed. All leases are held in memory; the store is their crash-safe log.
 */
#ifndef WARREN_REGISTRAR_H
#define WARREN_REGISTRAR_H

#include "base/drop.h"
#include "punch/admission.h"

struct registrar;

struct member_route { /* --route w3=10.77.200.0/24 */
	char id[WORKER_ID_LEN];
	struct prefix prefix;
};

struct registrar_config {
	uint8_t secret
		[32]; /* of the rendezvous: lease MACs, pair PSKs, members' PSKs derive from it */
	uint8_t plain[32]; /* admission secret of tokens without a ticket (epoch 0); zeros: none */
	/*
	 * Read at each admission, and not owned: it may change. The registrar itself reserves ids in it (REGISTRAR_KEPT).
	 * NULL: never rotated, nobody removed.
	 */
	struct admission *admission;
	struct prefix prefix4, prefix6; /* where addresses come from */
	const struct member_route *routes;
	size_t nroutes;
	/* Of `of` rendezvous, 2 or more, this one gives the numbers ≡ `number` mod `of`; 0: it is the only one. */
	uint32_t number, of;
	uint32_t max_members;
	nsec lease_ttl; /* unseen for so long: freed */
	const char *release;
};

/* A lease as the store keeps it. */
struct lease_record {
	member_number number;
	char id[WORKER_ID_LEN];
	uint8_t key[32];
	int64_t granted, seen; /* seconds since 1970; seen is written at most once an hour */
};

struct registrar *registrar_new(const struct registrar_config *cfg, nsec now);
void registrar_free(struct registrar *r);
/* Before anything else: what the store holds. -EEXIST, -EINVAL for a row that contradicts another. */
int registrar_load(struct registrar *r, const struct lease_record *rec);
/*
 * After the last registrar_load(): leases that were granted are not among them. For so long from now on who
 * needs a number that it does not show is told to wait: it might be that of a member which is on its way back.
 */
#define REGISTRAR_RETURN_FOR (30 * NSEC_PER_SEC)
void registrar_incomplete(struct registrar *r, nsec now);
/* A store that was started anew may have found another file: it gets all leases once more. */
void registrar_rewrite(struct registrar *r, nsec now);
/* Nanoseconds since 1970 = now + offset: for `granted`, `seen` and the dates of tokens alone. */
void registrar_set_wall(struct registrar *r, nsec offset);

enum { PSK_CHOICES = 4 };

struct psk_choices {
	unsigned n;
	uint8_t psk[PSK_CHOICES][32];
	bool plain[PSK_CHOICES]; /* of tokens without a ticket */
};

/* The PSKs that a handshake of this key with this hint may be under: one or more, the likeliest first. */
void registrar_psks(const struct registrar *r, nsec now, const uint8_t key[static 32],
		    uint16_t hint, struct psk_choices *out);
/* True when this key is a member: its PSK (another one than the admission secret) is put in `psk`. */
bool registrar_psk(const struct registrar *r, const uint8_t key[static 32], uint8_t psk[static 32]);
/* The number of the member with this key, 0 where there is none. */
member_number registrar_number(const struct registrar *r, const uint8_t key[static 32]);

/*
 * A control payload of `key`, whose session's packet came from `from`. `plain`: it has shown, by a
 * session, that it knows the admission secret of tokens without a ticket; it needs to show none.
 */
enum drop registrar_input(struct registrar *r, nsec now, const uint8_t key[static 32],
			  const struct endpoint *from, bool plain, const uint8_t *p, size_t len);
/*
 * Any other sign of life of this key: answers a challenge too. Only what cannot be a replay: not
 * message 1 of a handshake, whose timestamps a restart forgets.
 */
void registrar_alive(struct registrar *r, nsec now, const uint8_t key[static 32]);

/*
 * The operator's words. A key that is in the admission's list by now: its leases end, the others are
 * told that its number is nobody's.
 */
void registrar_remove(struct registrar *r, nsec now, const uint8_t key[static 32]);
/*
 * The lease of an id or a key, or NULL (of a key also the last one, where it was freed since the start and its
 * number is nobody's); and frees it. 0: it is being deleted. -ENOENT: there is none; -EBUSY:
 * its holder is online; -EAGAIN: its holder may be, or its row is being written.
 */
const struct lease_record *registrar_lease_of(const struct registrar *r, const char *id);
const struct lease_record *registrar_lease_of_key(const struct registrar *r,
						  const uint8_t key[static 32]);
int registrar_forget(struct registrar *r, nsec now, const char *id);

enum registrar_event {
	REGISTRAR_SEND,	  /* `bytes` of `len` to `key` over its session */
	REGISTRAR_STORE,  /* write `record` under sequence number `seq` (number → row) */
	REGISTRAR_FORGET, /* delete row `record.number`, sequence number `seq` */
	REGISTRAR_MEMBER, /* `key` is member `record.number` from now on: relay for it, set its PSK */
	/*
	 * `key` is no member any more: drop its session. `record.number` was freed; 0: the number
	 * lives on under another key. A replaced key stays for a while, to be told.
	 */
	REGISTRAR_GONE,
	/* The id `record.id` was reserved, for a token made for it was shown: keep the admission. `full`: there is no room. */
	REGISTRAR_KEPT,
};

struct registrar_output {
	enum registrar_event event;
	uint8_t key[32];
	uint64_t seq;
	struct lease_record record;
	struct endpoint from; /* of a member: where it is heard */
	bool taken;	      /* and that another key had its lease until now */
	bool full;
	size_t len;
	uint8_t bytes[CONTROL_SEND_MAX];
};

bool registrar_poll(struct registrar *r, nsec now, struct registrar_output *out);
nsec registrar_deadline(const struct registrar *r);
/* All requests up to `seq` are committed. With failed: that one could not be (disk full): refuse in words. */
void registrar_stored(struct registrar *r, nsec now, uint64_t seq, bool failed);

/* How many were refused for this reason (enum ctl_refusal) since the start. */
uint64_t registrar_refused(const struct registrar *r, unsigned code);

/* Leases held, and members online. */
size_t registrar_count(const struct registrar *r, size_t *online);

/* For status. */
struct registrar_member_info {
	struct lease_record record;
	struct endpoint from;
	bool online;
	nsec last_seen;
	char release[RELEASE_LEN];
};
size_t registrar_members(const struct registrar *r, nsec now, size_t first,
			 struct registrar_member_info *out, size_t cap);

#endif
