/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rendezvous and its members say of each other: leases, roster entries, candidates. Plain
 * values shared by the client core (enrol.h), the server core (registrar.h) and their codec.
 */
#ifndef WARREN_MEMBER_H
#define WARREN_MEMBER_H

#include "base/addr.h"

enum {
	WORKER_ID_LEN = 64, /* with the NUL; Trino's node.id pattern [A-Za-z0-9][_A-Za-z0-9-]* */
	RELEASE_LEN = 24,
	TRINO_TEXT_LEN = 32, /* environment, version; cut to fit */
	MAX_CANDIDATES = 16,
	MAX_MEMBER_ROUTES = 4,
	TICKET_MAC_LEN = 16,
	CONTROL_MAX = 1200, /* bytes of a control message that is read */
	/*
	 * And of one that is sent: it travels in one piece with DF, and must pass where outer packets
	 * of 576 bytes do. 576 - 20 (IPv4) - 8 (UDP) - 32 (WireGuard) = 516, of which we fill whole
	 * units of 16.
	 */
	CONTROL_SEND_MAX = 512,
};

/*
 * A member's number is its host part in the network's prefixes: address = prefix + number, for IPv4
 * and IPv6 alike. 0 is the rendezvous.
 */
typedef uint32_t member_number;

bool worker_id_valid(const char *id);
/*
 * The greatest number that has a host address in each of the prefixes (one of them may be zero:
 * none); 0 where there is no room at all.
 */
member_number member_number_max(const struct prefix *p4, const struct prefix *p6);
/* prefix + number; :: for no prefix. */
struct addr member_addr(const struct prefix *p, member_number number);
/* An endpoint that a datagram may be sent to on another's word: unicast, not local, not inside the tunnel. */
bool candidate_valid(const struct endpoint *e, const struct prefix *p4, const struct prefix *p6);

/* What a member tells of its Trino; zeros and "" where it is not known. */
struct trino_facts {
	uint16_t http_port, https_port;
	bool coordinator;
	char environment[TRINO_TEXT_LEN], version[TRINO_TEXT_LEN];
};

/* What a key shows that asks for its first lease: out of its token (admission.h). All zeros: none. */
struct ticket {
	uint32_t epoch;
	int64_t expires; /* seconds since 1970; 0: never */
	bool only;	 /* good for one worker id alone */
	uint8_t mac[TICKET_MAC_LEN];
};

static inline bool ticket_present(const struct ticket *t)
{
	for (size_t i = 0; i < TICKET_MAC_LEN; i++)
		if (t->mac[i])
			return true;
	return false;
}

struct lease {
	member_number number;
	struct addr ip, ip6;
	uint8_t mac
		[16]; /* by the rendezvous, over number, id, key and grant time: to show to others */
	int64_t granted; /* seconds since 1970 */
	struct prefix
		routes[MAX_MEMBER_ROUTES]; /* further prefixes that lead to us; outside the MAC */
	size_t nroutes;
};

struct roster_entry {
	member_number number;
	uint8_t key[32];
	uint8_t pair_psk[32];
	char id[WORKER_ID_LEN];
	char release[RELEASE_LEN];
	struct trino_facts trino;
	struct prefix routes[MAX_MEMBER_ROUTES]; /* further prefixes that the operator allowed it */
	size_t nroutes;
	bool online; /* heard by the rendezvous within the last minute */
};

#endif
