/* SPDX-License-Identifier: Apache-2.0 */
/* How long the split and the merge take for each segment of a 64 KiB super-packet. Not a test. */
#include "packets.h"
#include "base/checksum.h"
#include <stdio.h>
#include <time.h>

enum { LOOPS = 20000, STRIDE = 1536 };

static uint8_t super[PACKET_MAX], out[64 * STRIDE], first[128];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void bench(const char *name, const struct spec *s, uint16_t gso)
{
	struct vnet_hdr h;
	struct gso_plan plan;
	uint32_t len = packet_build_super(s, gso, super, &h);
	if (gso_plan(&h, super, len, 65535, &plan) != DROP_NONE)
		return;
	double begin = now();
	for (int i = 0; i < LOOPS; i++)
		gso_split(&h, super, &plan, 0, plan.segments, false, out, STRIDE);
	double split = now() - begin;

	struct gro_packet pkts[64];
	for (uint32_t i = 0; i < plan.segments; i++)
		pkts[i] = (struct gro_packet){ .ip = out + i * STRIDE,
					       .len = i + 1 < plan.segments ? plan.seg_len
									    : plan.last_len };
	memcpy(first, out, sizeof(first));
	struct gro_write w;
	size_t used = 0;
	begin = now();
	for (int i = 0; i < LOOPS; i++) {
		memcpy(out, first, plan.hdr_len);
		used = gro_merge(pkts, 0, plan.segments, true, &w);
	}
	double merge = now() - begin, n = (double)LOOPS * plan.segments;
	printf("%-8s %u x %u bytes: split %.0f ns, merge of %zu %.0f ns a segment\n", name,
	       plan.segments, plan.seg_len, split / n, used, merge / n);
}

int main(void)
{
	bench("tcp4", &(struct spec){ .options = 12, .payload = 45 * 1368 }, 1368);
	bench("tcp6", &(struct spec){ .v6 = true, .options = 12, .payload = 45 * 1348 }, 1348);
	bench("udp4", &(struct spec){ .udp = true, .payload = 45 * 1392 }, 1392);

	double begin = now();
	uint64_t sum = 0;
	for (int i = 0; i < LOOPS * 45; i++)
		sum = csum_add(sum, super + i % 32, 1420);
	printf("sum of 1420 bytes: %.0f ns (%04x)\n", (now() - begin) / (LOOPS * 45),
	       csum_fold(sum));
	begin = now();
	for (int i = 0; i < LOOPS * 45; i++)
		memcpy(out + i % 45 * STRIDE + 40, super + i % 45 * 1380, 1380);
	printf("copy of 1380 bytes: %.0f ns (%02x)\n", (now() - begin) / (LOOPS * 45), out[99]);
	return 0;
}
