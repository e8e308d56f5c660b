/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead_backends.h"

#include <string.h>

const struct aead *aead_choose(const char *want)
{
	bool fast = false;
	const struct aead *mb = !want || !strcmp(want, "ipsec-mb") ? aead_ipsec_mb(&fast) : NULL;

	if (want)
		return mb ? mb : (!strcmp(want, "libcrypto") ? aead_libcrypto() : NULL);
	const struct aead *portable = mb && fast ? NULL : aead_libcrypto();
	return portable ? portable : mb;
}

#ifndef HAVE_IPSEC_MB
const struct aead *aead_ipsec_mb(bool *fast)
{
	*fast = false;
	return NULL;
}
#endif
