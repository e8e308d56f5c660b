/* SPDX-License-Identifier: Apache-2.0 */
/* The admission file: any bytes, as they are and under a right sum. What is taken comes back the same. */
#include <errno.h>
#include <stdlib.h>

#include "punch/admission.h"
#include "tests/fuzz/summed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void decode(const uint8_t *p, size_t len)
{
	struct admission a, b;
	size_t n = 0, m = 0;
	int err = admission_decode(&a, p, len);
	check(err == 0 || err == -EBADMSG);
	if (err)
		return;
	uint8_t *once = admission_encode(&a, &n);
	check(once && admission_decode(&b, once, n) == 0);
	uint8_t *twice = admission_encode(&b, &m);
	check(twice && n == m && memcmp(once, twice, n) == 0);
	check(a.nremoved == b.nremoved && a.nreserved == b.nreserved);
	free(once);
	free(twice);
	admission_free(&a);
	admission_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_summed(data, size, decode);
	return 0;
}
