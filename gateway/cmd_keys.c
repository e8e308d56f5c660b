/* SPDX-License-Identifier: Apache-2.0 */
/* genkey, pubkey, genpsk: as `wg` has them, with its text form. */
#include "gateway/cmd.h"
#include "gateway/proc.h"
#include "gateway/wgconf.h"
#include "crypto/wg.h"
#include "base/log.h"

#include <sodium.h>
#include <stdio.h>

static int print_key(uint8_t key[static 32])
{
	char text[64];
	sodium_bin2base64(text, sizeof(text), key, 32, sodium_base64_VARIANT_ORIGINAL);
	puts(text);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(key, 32);
	return 0;
}

int cmd_genkey(int argc, char **argv)
{
	uint8_t key[32];
	if (cmd_help(argc, argv, "usage: warren genkey\n\nPrints a new private key in base64.\n",
		     NULL))
		return 0;
	wg_key_generate(key);
	return print_key(key);
}

int cmd_genpsk(int argc, char **argv)
{
	uint8_t key[32];
	if (cmd_help(argc, argv, "usage: warren genpsk\n\nPrints a new pre-shared key in base64.\n",
		     NULL))
		return 0;
	randombytes_buf(key, sizeof(key));
	return print_key(key);
}

int cmd_pubkey(int argc, char **argv)
{
	char line[128];
	uint8_t key[32], pub[32];

	if (cmd_help(argc, argv,
		     "usage: warren pubkey < PRIVATE-KEY\n\nPrints its public key in base64.\n",
		     NULL))
		return 0;
	bool got = fgets(line, sizeof(line), stdin);
	if (got)
		line[strcspn(line, "\r\n \t")] = 0;
	if (!got || !key_parse(line, key)) {
		log_usage("standard input holds no key (44 characters of base64)");
		return EXIT_CANNOT;
	}
	wg_key_public(key, pub);
	sodium_memzero(key, sizeof(key));
	sodium_memzero(line, sizeof(line));
	return print_key(pub);
}
