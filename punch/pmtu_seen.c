/* SPDX-License-Identifier: Apache-2.0 */
/* The end that is probed. pmtu.h says what it remembers. */
#include "punch/pmtu.h"

static_assert(PMTU_WINDOW == 64, "frame_ack.seen has a bit for each");

/* The entry of path `name`; a new one where it has none, in place of the one unused for longest. */
static unsigned find_path(struct pmtu_seen *s, uint32_t name)
{
	unsigned oldest = 0;
	for (unsigned i = 0; i < PMTU_SEEN_PATHS; i++) {
		if (s->paths[i].path == name)
			return i;
		if (s->paths[i].last < s->paths[oldest].last)
			oldest = i;
	}
	s->paths[oldest].path = name;
	s->paths[oldest].newest = 0;
	s->paths[oldest].seen = 0;
	return oldest;
}

/* `*newest` and its bitmap with `number` added; one too old for the bitmap changes nothing. */
static void add_number(uint32_t *newest, uint64_t *seen, uint32_t number)
{
	if (number > *newest) {
		uint32_t ahead = number - *newest;
		*seen = ahead < PMTU_WINDOW ? *seen << ahead : 0;
		*newest = number;
	}
	if (*newest - number < PMTU_WINDOW)
		*seen |= (uint64_t)1 << (*newest - number);
}

void pmtu_seen_probe(struct pmtu_seen *s, nsec now, bool relayed, const struct frame_probe *probe,
		     struct frame_ack *answer)
{
	unsigned i = find_path(s, probe->path);
	s->paths[i].last = now;
	add_number(&s->paths[i].newest, &s->paths[i].seen, probe->number);
	if (probe->watch && probe->watch != s->watch[relayed].size) {
		s->watch[relayed].size = probe->watch;
		s->watch[relayed].count = 0;
	}
	*answer = (struct frame_ack){ .path = probe->path,
				      .newest = s->paths[i].newest,
				      .seen = s->paths[i].seen,
				      .watch = (uint16_t)s->watch[relayed].size,
				      .count = s->watch[relayed].count };
}
