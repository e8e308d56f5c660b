/* SPDX-License-Identifier: Apache-2.0 */
#include "punch/admission.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/blake2s.h"
#include "base/log_text.h"
#include "base/summed.h"

enum {
	HINT_MAX = 51711, /* the nanoseconds above it stay below a second; WG_MARK_MAX */
	FIELD_MAX = 4 + 32 + 4 + 8 + WORKER_ID_LEN,
	/* TLV types */
	FILE_EPOCH = 1,
	FILE_PREVIOUS_UNTIL = 2,
	FILE_RESERVED = 3,
	FILE_REMOVED = 4,
};

static const struct summed file = { { 'w', 'a', 'r', 'r', 'e', 'n', ' ', 'a' }, 1 };

void admission_free(struct admission *a)
{
	free(a->reserved);
	free(a->removed);
	*a = (struct admission){ 0 };
}

bool admission_epoch_good(const struct admission *a, uint32_t epoch, int64_t wall)
{
	if (epoch == a->epoch)
		return true;
	return a->epoch && epoch == a->epoch - 1 && wall < a->previous_until;
}

void admission_rotate(struct admission *a, int64_t wall, int64_t overlap)
{
	a->epoch++;
	a->previous_until = overlap > 0 ? wall + overlap : 0;
}

/* --- reserved ids --- */

static size_t reserved_place(const struct admission *a, const char *id)
{
	size_t i = 0;
	while (i < a->nreserved && strcmp(a->reserved[i], id) != 0)
		i++;
	return i;
}

bool admission_reserved(const struct admission *a, const char *id)
{
	return reserved_place(a, id) < a->nreserved;
}

int admission_reserve(struct admission *a, const char *id)
{
	size_t len = strlen(id);
	if (admission_reserved(a, id))
		return 0;
	if (a->nreserved == ADMISSION_MAX_RESERVED || len >= WORKER_ID_LEN)
		return -ENOSPC;
	void *more = realloc(a->reserved, (a->nreserved + 1) * sizeof(*a->reserved));
	if (!more)
		return -ENOMEM;
	a->reserved = more;
	memcpy(a->reserved[a->nreserved++], id, len + 1);
	return 0;
}

bool admission_unreserve(struct admission *a, const char *id)
{
	size_t i = reserved_place(a, id);
	if (i == a->nreserved)
		return false;
	a->nreserved--;
	memmove(a->reserved[i], a->reserved[a->nreserved], WORKER_ID_LEN);
	return true;
}

/* --- removed keys --- */

const struct removed_key *admission_removed(const struct admission *a, const uint8_t key[static 32])
{
	for (size_t i = 0; i < a->nremoved; i++)
		if (memcmp(a->removed[i].key, key, 32) == 0)
			return &a->removed[i];
	return NULL;
}

int admission_remove(struct admission *a, const struct removed_key *k)
{
	if (admission_removed(a, k->key))
		return 0;
	if (a->nremoved == ADMISSION_MAX_REMOVED)
		return -ENOSPC;
	void *more = realloc(a->removed, (a->nremoved + 1) * sizeof(*a->removed));
	if (!more)
		return -ENOMEM;
	a->removed = more;
	a->removed[a->nremoved++] = *k;
	return 0;
}

/* --- secrets --- */

void admission_psk(const uint8_t secret[static 32], uint32_t epoch, uint8_t psk[static 32])
{
	uint8_t e[4];
	store_be32(e, epoch);
	derive_key(secret, "warren admission psk", (struct bytes_view){ e, sizeof(e) },
		   (struct bytes_view){ "", 0 }, psk);
}

static void ticket_mac(const uint8_t secret[static 32], const struct ticket *t, const char *id,
		       uint8_t mac[static TICKET_MAC_LEN])
{
	uint8_t b[13], h[32];
	store_be32(b, t->epoch);
	store_be64(b + 4, (uint64_t)t->expires);
	b[12] = t->only;
	derive_key(secret, "warren ticket", (struct bytes_view){ b, sizeof(b) },
		   (struct bytes_view){ id, t->only ? strlen(id) : 0 }, h);
	memcpy(mac, h, TICKET_MAC_LEN);
	sodium_memzero(h, sizeof(h));
}

bool admission_ticket_ours(const uint8_t secret[static 32], const struct ticket *t, const char *id)
{
	uint8_t mac[TICKET_MAC_LEN];
	ticket_mac(secret, t, id, mac);
	return sodium_memcmp(mac, t->mac, sizeof(mac)) == 0;
}

void admission_token(const uint8_t secret[static 32], const struct admission *a, struct token *t)
{
	admission_psk(secret, a->epoch, t->admission);
	t->ticket =
		(struct ticket){ .epoch = a->epoch, .expires = t->expires, .only = t->only_for[0] };
	ticket_mac(secret, &t->ticket, t->only_for, t->ticket.mac);
}

uint16_t admission_hint(const uint8_t psk[static 32])
{
	uint8_t h[32];
	derive_key(psk, "warren psk hint", (struct bytes_view){ "", 0 },
		   (struct bytes_view){ "", 0 }, h);
	return (uint16_t)(1 + load_be16(h) % HINT_MAX);
}

void admission_date(int64_t seconds, char out[static ADMISSION_DATE_LEN])
{
	log_stamp(seconds, out);
	out[10] = ' ';
	memcpy(out + LOG_STAMP_LEN - 1, " UTC", 5);
}

/* --- the file --- */

static void write_fields(struct wr *w, const struct admission *a)
{
	size_t mark = wr_tlv_begin(w, FILE_EPOCH);
	wr_be32(w, a->epoch);
	wr_tlv_end(w, mark);
	mark = wr_tlv_begin(w, FILE_PREVIOUS_UNTIL);
	wr_be64(w, (uint64_t)a->previous_until);
	wr_tlv_end(w, mark);
	for (size_t i = 0; i < a->nreserved; i++)
		wr_tlv(w, FILE_RESERVED, a->reserved[i], strlen(a->reserved[i]));
	for (size_t i = 0; i < a->nremoved; i++) {
		const struct removed_key *k = &a->removed[i];
		mark = wr_tlv_begin(w, FILE_REMOVED);
		wr_bytes(w, k->key, 32);
		wr_be32(w, k->number);
		wr_be64(w, (uint64_t)k->since);
		wr_bytes(w, k->id, strlen(k->id));
		wr_tlv_end(w, mark);
	}
}

uint8_t *admission_encode(const struct admission *a, size_t *len)
{
	size_t cap = 64 + (a->nreserved + a->nremoved) * FIELD_MAX;
	uint8_t *out = malloc(cap);
	if (!out)
		return NULL;
	struct wr w = summed_begin(&file, out, cap);
	write_fields(&w, a);
	*len = summed_end(&w);
	return out;
}

static bool read_id(struct rd *r, char id[static WORKER_ID_LEN])
{
	size_t len = r->left;
	if (len == 0 || len >= WORKER_ID_LEN)
		return false;
	rd_bytes(r, id, len);
	id[len] = 0;
	return strlen(id) == len && worker_id_valid(id);
}

static int read_removed(struct admission *a, struct rd *r)
{
	struct removed_key k = { 0 };
	rd_bytes(r, k.key, 32);
	k.number = rd_be32(r);
	k.since = (int64_t)(rd_be64(r) & INT64_MAX);
	if (!rd_ok(r) || (r->left && !read_id(r, k.id)))
		return -EBADMSG;
	return admission_remove(a, &k);
}

static int read_field(struct admission *a, struct tlv *t)
{
	char id[WORKER_ID_LEN];
	switch (t->type) {
	case FILE_EPOCH:
		a->epoch = rd_be32(&t->value);
		break;
	case FILE_PREVIOUS_UNTIL:
		a->previous_until = (int64_t)(rd_be64(&t->value) & INT64_MAX);
		break;
	case FILE_RESERVED:
		return read_id(&t->value, id) ? admission_reserve(a, id) : -EBADMSG;
	case FILE_REMOVED:
		return read_removed(a, &t->value);
	default:
		return t->critical ? -EBADMSG : 0;
	}
	return rd_ok(&t->value) ? 0 : -EBADMSG;
}

static int read_fields(struct admission *a, struct rd *r)
{
	struct tlv t;
	while (rd_tlv(r, &t)) {
		int err = read_field(a, &t);
		if (err)
			return err == -ENOMEM ? err : -EBADMSG;
	}
	return rd_ok(r) ? 0 : -EBADMSG;
}

int admission_decode(struct admission *a, const uint8_t *p, size_t len)
{
	struct rd r;
	*a = (struct admission){ 0 };
	if (!summed_open(&file, p, len, &r))
		return -EBADMSG;
	int err = read_fields(a, &r);
	if (err)
		admission_free(a);
	return err;
}
