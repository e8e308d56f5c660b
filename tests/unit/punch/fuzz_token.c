/* SPDX-License-Identifier: Apache-2.0 */
/* Token text; what is taken must be writable and read back the same. */
#include <sodium.h>
#include <stdlib.h>

#include "base/blake2s.h"
#include "punch/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text)
{
	struct token t, again;
	char out[TOKEN_TEXT_MAX], a[TOKEN_FINGERPRINT_LEN], b[TOKEN_FINGERPRINT_LEN];
	unsigned version;
	enum token_error e = token_parse(text, &t, &version);
	if (!strlen(token_error_text(e)))
		abort();
	if (e != TOKEN_OK)
		return;
	if (!token_write(&t, out, sizeof(out)))
		abort();
	if (token_parse(out, &again, &version) != TOKEN_OK)
		abort();
	token_fingerprint(&t, a);
	token_fingerprint(&again, b);
	if (memcmp(a, b, sizeof(a)) != 0)
		abort();
}

/* The first byte says whether the rest is text, or the bytes inside, which get a right checksum. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TOKEN_TEXT_MAX + 16] = "warren1_";
	uint8_t bin[2048], h[32];
	if (size < 1 || size > 2000)
		return 0;
	if (data[0] & 1) {
		memcpy(text, data + 1, size - 1);
		text[size - 1] = 0;
	} else {
		memcpy(bin, data + 1, size - 1);
		blake2s_hash(bin, size - 1, NULL, 0, h);
		memcpy(bin + size - 1, h, 8);
		sodium_bin2base64(text + 8, sizeof(text) - 8, bin, size + 7,
				  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	}
	check(text);
	return 0;
}
