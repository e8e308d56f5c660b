/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol's bytes (docs/protocol.md, "Control messages"): what a member and its
 * rendezvous say to each other inside their WireGuard session. Codec alone, pure functions; enrol.c
 * and registrar.c are the two ends. Outside this room only the gateway,
 * which pads, looks here.
 *
 *  0 first byte 0xa0 | 1 version | 2 type | 3 flags | 4 request be32 | 8 TLVs
 *
 * One struct holds every message: `has` says which fields are there, the type says which must be.
 */
#ifndef WARREN_CONTROL_H
#define WARREN_CONTROL_H

#include "base/drop.h"
#include "punch/member.h"

enum {
	CTL_FIRST_BYTE = 0xa0,
	CTL_VERSION = 1,
	CTL_HEADER_LEN = 8,
	CTL_TLV_LEN = 4, /* type and length of a field */
	CTL_TEXT_LEN = 200,
	CTL_PAGE_MAX = CONTROL_SEND_MAX - CTL_TLV_LEN, /* so that the fullest can be padded */
};

enum ctl_type {
	/* member → rendezvous */
	CTL_REGISTER = 1,
	CTL_ROSTER_GET = 2,
	CTL_CONNECT = 3,
	CTL_RELEASE = 4,
	CTL_CHALLENGE_OK = 5,
	CTL_VOUCH = 6,
	/* rendezvous → member */
	CTL_GRANT = 0x41,
	CTL_REFUSE = 0x42,
	CTL_REPLACED = 0x43,
	CTL_ROSTER_PAGE = 0x44,
	CTL_ROSTER_CHANGED = 0x45,
	CTL_INTRODUCE = 0x46,
	CTL_CHALLENGE = 0x47,
	CTL_RELEASED = 0x48,
	CTL_ASK = 0x49,
};

/* Flags; unknown ones are ignored. */
enum {
	/* of REGISTER: the LEASE is one of before this start, so this is no renewal */
	CTL_REGISTER_SAVED = 1,
	/* of ROSTER_PAGE */
	CTL_PAGE_MORE = 1,  /* entries follow that no page has shown yet */
	CTL_PAGE_FULL = 2,  /* this sweep shows everybody: who is not in it is gone */
	CTL_PAGE_PAUSE = 4, /* the last page that comes unasked */
};

/* Types of TLVs. */
enum ctl_field {
	CTL_WORKER_ID = 1,
	CTL_RELEASE_NAME, /* which warren runs there */
	CTL_CANDIDATES,	  /* (address[16], be16 port) each */
	CTL_TRINO_PORTS,  /* be16 HTTP, be16 HTTPS */
	CTL_TRINO_ENVIRONMENT,
	CTL_TRINO_VERSION,
	CTL_TRINO_COORDINATOR, /* u8: 1 yes */
	CTL_LEASE,	       /* be32 number, be64 granted, MAC[16] */
	CTL_PSK,	       /* [32] */
	CTL_ADDRESSES,	       /* IPv4 as mapped [16], IPv6 [16]; :: for none */
	CTL_OBSERVED,	       /* address[16], be16 port */
	CTL_ROSTER,	       /* be32 instance, be64 version */
	CTL_NUMBER,	       /* be32 */
	CTL_RANGE,	       /* be32 after, be32 up to */
	CTL_ENTRY,	       /* be32 number, key[32], PSK[32], TLVs */
	CTL_GONE,	       /* be32 numbers */
	CTL_REFUSAL,	       /* be16 code, u8 fatal, text */
	CTL_ROUTES,  /* (u8 bits, address[16]) each; of an entry, or of the granted lease */
	CTL_TICKET,  /* be32 epoch, be64 expires, u8: 1 for one worker id alone, MAC[16] */
	CTL_REMOVED, /* be32 numbers: nobody's, for their keys were removed */
	CTL_BOOT,    /* be64: which process of this key; nanoseconds since 1970 at its start */
	CTL_FIELD_END,
};

#define CTL_BIT(field) (1u << (field))

enum ctl_refusal {
	CTL_REFUSED_VERSION = 1,
	CTL_REFUSED_TAKEN = 2,
	CTL_REFUSED_FULL = 3,
	CTL_REFUSED_WAIT = 4,
	CTL_REFUSED_STORE = 5,
	CTL_REFUSED_NO_MEMBER = 6,
	CTL_REFUSED_TOKEN = 7,	 /* it has expired, was replaced, is not for this worker id */
	CTL_REFUSED_REMOVED = 8, /* this key, for ever */
	CTL_REFUSAL_END
};

/* A place in the roster's history. The instance changes with each start of the rendezvous. */
struct ctl_roster {
	uint32_t instance;
	uint64_t version;
};

struct ctl_msg {
	uint8_t version, type, flags;
	uint32_t request;
	uint32_t has;
	uint16_t
		unknown_critical; /* the field that made it DROP_CONTROL_VERSION; 0: the version did */
	char id[WORKER_ID_LEN];
	char release[RELEASE_LEN];
	struct trino_facts trino;
	struct endpoint candidates[MAX_CANDIDATES];
	size_t ncandidates;
	struct lease lease; /* number, granted, mac by LEASE; ip, ip6 by ADDRESSES */
	struct ticket ticket;
	uint8_t psk[32];
	struct endpoint observed;
	struct ctl_roster roster;
	uint32_t number, after, upto;
	uint64_t boot;
	uint16_t code;
	bool fatal;
	char text[CTL_TEXT_LEN];
	struct rd body; /* all TLVs, for ctl_next_change() */
};

/*
 * DROP_NONE, DROP_CONTROL_MALFORMED, or DROP_CONTROL_VERSION: another version, or an unknown critical
 * field; then header and `unknown_critical` are filled in and nothing else may be used.
 */
enum drop ctl_parse(const uint8_t *p, size_t len, struct ctl_msg *m);
/*
 * Writes the fields that `has` names, ENTRY and GONE excepted. 0 where it does not fit into `cap` or
 * CONTROL_SEND_MAX; each message with its fields at their longest does fit the latter.
 */
size_t ctl_write(const struct ctl_msg *m, uint8_t *out, size_t cap);
/*
 * Fills a message up to a multiple of 16 bytes with a TLV of type 0, so that it is as long as any
 * stock WireGuard packet could be, never beyond CONTROL_SEND_MAX. The new length; the old one where
 * there is no room.
 */
size_t ctl_pad(uint8_t *p, size_t len, size_t cap);

/*
 * The value of an ENTRY, which is also how a member keeps what it knows of another (gateway/memory.c).
 * False for one that cannot be used: it lacks something, or says something critical that we do not know.
 */
bool ctl_entry_read(struct rd *r, struct roster_entry *e);
void ctl_entry_write(struct wr *w, const struct roster_entry *e);

/* The next entry or tombstone of a ROSTER_PAGE that ctl_parse() took; false at the end. */
struct ctl_change {
	bool gone, removed;	   /* not known to be there; known never to come back */
	struct roster_entry entry; /* of those two the number alone */
};
struct ctl_changes {
	struct rd body, gone;
	bool removed; /* `gone` is of that kind */
};
bool ctl_next_change(struct ctl_changes *it, struct ctl_change *out);

/*
 * Writes a ROSTER_PAGE step by step: begin, then entries and tombstones while they fit (false: this
 * one did not, the page is as before), then end, which fills in flags and range. Any entry fits an
 * empty page, and a full page can still be padded.
 */
struct ctl_page {
	struct wr w;
	size_t range; /* where the range stands */
};
void ctl_page_begin(struct ctl_page *pg, uint8_t *out, size_t cap, uint32_t request,
		    const struct ctl_roster *at);
bool ctl_page_entry(struct ctl_page *pg, const struct roster_entry *e);
bool ctl_page_gone(struct ctl_page *pg, uint32_t number);
bool ctl_page_removed(struct ctl_page *pg, uint32_t number);
size_t ctl_page_end(struct ctl_page *pg, uint8_t flags, uint32_t after, uint32_t upto);

#endif
