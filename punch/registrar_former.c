/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that were replaced: they are told so while they talk on. */
#include "punch/registrar_impl.h"

struct former *registrar_former_find(struct registrar *r, const uint8_t key[static 32])
{
	for (size_t i = 0; i < MAX_FORMER; i++)
		if (r->former[i].used && memcmp(r->former[i].key, key, 32) == 0)
			return &r->former[i];
	return NULL;
}

void registrar_former_tell(struct registrar *r, nsec now, struct former *f)
{
	if (f->told && now - f->told < TELL_OUT_EVERY)
		return;
	f->told = now;
	registrar_replace(
		r, f->key, 0, CTL_REFUSED_TAKEN,
		"worker id %s is held by another node now, which took it over: give one of "
		"the two another WORKER_ID",
		f->id);
}

void registrar_former_add(struct registrar *r, nsec now, const struct slot *s)
{
	struct former *f = &r->former[r->next_former++ % MAX_FORMER];
	struct notice *n = f->used ? registrar_notice(r, f->key, REGISTRAR_GONE) : NULL;
	if (n)
		n->number = 0;
	*f = (struct former){ .used = true };
	memcpy(f->key, s->rec.key, 32);
	memcpy(f->id, s->rec.id, sizeof(f->id));
	registrar_former_tell(r, now, f);
}
