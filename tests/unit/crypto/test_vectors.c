/* SPDX-License-Identifier: Apache-2.0 */
/* The primitives and the Noise pattern against published vectors and naive computations. */
#include "helper.h"

/* --- BLAKE2s, written once more from RFC 7693, slowly --- */

static const uint32_t iv[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
/* clang-format off */
static const uint8_t sigma[10][16] = {
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
	{ 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
	{ 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 },
	{ 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
	{ 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 },
	{ 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
	{ 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 },
	{ 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
	{ 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 },
	{ 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
};
/* clang-format on */

static uint32_t ror(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

static void g(uint32_t *v, int a, int b, int c, int d, uint32_t x, uint32_t y)
{
	v[a] += v[b] + x;
	v[d] = ror(v[d] ^ v[a], 16);
	v[c] += v[d];
	v[b] = ror(v[b] ^ v[c], 12);
	v[a] += v[b] + y;
	v[d] = ror(v[d] ^ v[a], 8);
	v[c] += v[d];
	v[b] = ror(v[b] ^ v[c], 7);
}

static void naive_block(uint32_t *h, const uint8_t *block, uint64_t t, bool last)
{
	uint32_t v[16], m[16];
	for (int i = 0; i < 16; i++)
		m[i] = load_le32(block + 4 * i);
	memcpy(v, h, 32);
	memcpy(v + 8, iv, 32);
	v[12] ^= (uint32_t)t;
	v[13] ^= (uint32_t)(t >> 32);
	if (last)
		v[14] = ~v[14];
	for (int r = 0; r < 10; r++) {
		const uint8_t *s = sigma[r];
		for (int i = 0; i < 4; i++)
			g(v, i, 4 + i, 8 + i, 12 + i, m[s[2 * i]], m[s[2 * i + 1]]);
		for (int i = 0; i < 4; i++)
			g(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[s[8 + 2 * i]],
			  m[s[9 + 2 * i]]);
	}
	for (int i = 0; i < 8; i++)
		h[i] ^= v[i] ^ v[i + 8];
}

static void naive_blake2s(const uint8_t *key, size_t keylen, const uint8_t *p, size_t len,
			  uint8_t *out, size_t outlen)
{
	uint8_t buf[2048] = { 0 }, full[32];
	uint32_t h[8];
	size_t n = 0;
	if (keylen) {
		memcpy(buf, key, keylen);
		n = 64;
	}
	if (len)
		memcpy(buf + n, p, len);
	n += len;
	memcpy(h, iv, 32);
	h[0] ^= 0x01010000u ^ (uint32_t)(keylen << 8) ^ (uint32_t)outlen;
	size_t at = 0;
	for (; n - at > 64; at += 64)
		naive_block(h, buf + at, at + 64, false);
	naive_block(h, buf + at, n, true);
	for (int i = 0; i < 8; i++)
		store_le32(full + 4 * i, h[i]);
	memcpy(out, full, outlen);
}

static void naive_hmac(const uint8_t *key, size_t keylen, const uint8_t *p, size_t len,
		       uint8_t out[static 32])
{
	uint8_t in[64 + 512] = { 0 }, outer[64 + 32] = { 0 };
	memcpy(in, key, keylen);
	memcpy(outer, key, keylen);
	for (int i = 0; i < 64; i++) {
		in[i] ^= 0x36;
		outer[i] ^= 0x5c;
	}
	memcpy(in + 64, p, len);
	naive_blake2s(NULL, 0, in, 64 + len, outer + 64, 32);
	naive_blake2s(NULL, 0, outer, sizeof(outer), out, 32);
}

/* RFC 7693 appendix E: a hash over hashes of many lengths, keyed and not. */
static void selftest_seq(uint8_t *out, size_t len, uint32_t seed)
{
	uint32_t a = 0xdead4bad * seed, b = 1;
	for (size_t i = 0; i < len; i++) {
		uint32_t t = a + b;
		a = b;
		b = t;
		out[i] = (uint8_t)(t >> 24);
	}
}

static void naive_is_rfc7693(void **unused)
{
	static const size_t md_len[] = { 16, 20, 28, 32 }, in_len[] = { 0, 3, 64, 65, 255, 1024 };
	uint8_t in[1024], key[32], all[4 * 6 * 2 * 32], got[32];
	size_t n = 0;
	(void)unused;
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < 6; j++) {
			selftest_seq(in, in_len[j], (uint32_t)in_len[j]);
			naive_blake2s(NULL, 0, in, in_len[j], all + n, md_len[i]);
			n += md_len[i];
			selftest_seq(key, md_len[i], (uint32_t)md_len[i]);
			naive_blake2s(key, md_len[i], in, in_len[j], all + n, md_len[i]);
			n += md_len[i];
		}
	}
	naive_blake2s(NULL, 0, all, n, got, 32);
	assert_hex(got, "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
}

static void blake2s_vectors(void **unused)
{
	static const struct {
		size_t len;
		const char *keyed;
	} kat[] = {
		{ 0, "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49" },
		{ 1, "40d15fee7c328830166ac3f918650f807e7e01e177258cdc0a39b11f598066f1" },
		{ 64, "8975b0577fd35566d750b362b0897a26c399136df07bababbde6203ff2954ed4" },
		{ 255, "3fb735061abc519dfe979e54c1ee5bfad0a9d858b3315bad34bde999efd724dd" },
	};
	uint8_t key[32], in[256], got[32];
	(void)unused;
	for (int i = 0; i < 256; i++)
		in[i] = (uint8_t)i;
	memcpy(key, in, 32);
	for (size_t i = 0; i < ARRAY_SIZE(kat); i++) {
		naive_blake2s(key, 32, in, kat[i].len, got, 32);
		assert_hex(got, kat[i].keyed);
	}
	blake2s_hash("abc", 3, NULL, 0, got);
	assert_hex(got, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	blake2s_hash("ab", 2, "c", 1, got);
	assert_hex(got, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
	blake2s_mac(key, 32, "abc", 3, got);
	assert_hex(got, "61ba5f165c194692e09d12520cc4c74a");
}

static void blake2s_against_naive(void **unused)
{
	uint8_t key[32], in[400], want[32], got[32];
	(void)unused;
	seed_all(1);
	for (size_t len = 0; len <= sizeof(in); len++) {
		size_t keylen = 1 + rnd_below(32);
		randombytes_buf(in, sizeof(in));
		randombytes_buf(key, sizeof(key));
		naive_blake2s(NULL, 0, in, len, want, 32);
		blake2s_hash(in, len / 3, in + len / 3, len - len / 3, got);
		assert_memory_equal(got, want, 32);
		naive_blake2s(key, keylen, in, len, want, MAC_LEN);
		blake2s_mac(key, keylen, in, len, got);
		assert_memory_equal(got, want, MAC_LEN);
		naive_hmac(key, keylen, in, len, want);
		blake2s_hmac(key, keylen, in, len, got);
		assert_memory_equal(got, want, 32);
	}
}

/* HKDF as RFC 5869 has it, with ck as salt, no info, and three blocks of output. */
static void kdf_against_naive(void **unused)
{
	uint8_t ck[32], in[32], prk[32], block[33], want[3][32], t[3][32];
	(void)unused;
	seed_all(2);
	for (int round = 0; round < 200; round++) {
		size_t len = round % 2 ? 32 : 0;
		randombytes_buf(ck, 32);
		randombytes_buf(in, 32);
		naive_hmac(ck, 32, in, len, prk);
		block[0] = 1;
		naive_hmac(prk, 32, block, 1, want[0]);
		for (int i = 1; i < 3; i++) {
			memcpy(block, want[i - 1], 32);
			block[32] = (uint8_t)(i + 1);
			naive_hmac(prk, 32, block, 33, want[i]);
		}
		blake2s_kdf(ck, in, len, t[0], t[1], t[2]);
		assert_memory_equal(t, want, sizeof(t));
		memset(t, 0, sizeof(t));
		blake2s_kdf(ck, in, len, t[0], t[1], NULL);
		assert_memory_equal(t, want, 64);
		assert_true(sodium_is_zero(t[2], 32));
	}
}

static void derive_key_is_hmac_over_label(void **unused)
{
	uint8_t secret[32], want[32], got[32];
	(void)unused;
	memset(secret, 7, 32);
	naive_hmac(secret, 32, (const uint8_t *)"label\0abXYZ", 11, want);
	derive_key(secret, "label", (struct bytes_view){ "ab", 2 }, (struct bytes_view){ "XYZ", 3 },
		   got);
	assert_memory_equal(got, want, 32);
}

/* --- X25519 --- */

/* RFC 7748 5.2 */
static void x25519_vectors(void **unused)
{
	static const char *const rows[][3] = {
		{ "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
		{ "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		  "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		  "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
	};
	uint8_t k[32] = { 9 }, u[32] = { 9 }, out[32];
	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t priv[32], pub[32];
		unhex(rows[i][0], priv, 32);
		unhex(rows[i][1], pub, 32);
		assert_true(noise_dh(out, priv, pub));
		assert_hex(out, rows[i][2]);
	}
	for (int i = 1; i <= 1000; i++) {
		assert_true(noise_dh(out, k, u));
		memcpy(u, k, 32);
		memcpy(k, out, 32);
		if (i == 1)
			assert_hex(k, "422c8e7a6227d7bca1350b3e2bb7279f"
				      "7897b87bb6854b783c60e80311ae3079");
	}
	assert_hex(k, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

/* Points of small order, whose secrets an attacker would know. */
static void x25519_low_order(void **unused)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct wg_config cfg = { .max_peers = ARRAY_SIZE(points), .aead = test_aead() };
	struct wg *wg = wg_new(&cfg);
	uint8_t own[32];
	(void)unused;
	wg_key_generate(own);
	wg_set_private_key(wg, own);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		uint8_t pub[32], priv[32], out[32], again[32];
		struct wg_output sent;
		unhex(points[i], pub, 32);
		wg_key_generate(priv);
		assert_false(noise_dh(out, priv, pub));
		/* it is a peer as any other, but nothing is ever said to it */
		struct wg_peer *p = wg_peer_add(wg, pub, NULL);
		assert_non_null(p);
		wg_peer_initiate(wg, p, 1, 0);
		assert_false(wg_poll(wg, NSEC_PER_SEC, &sent));
		assert_true(wg_deadline(wg) == NSEC_NEVER);
		/* nor is there a key that others could make, too */
		wg_peer_derive(p, "label", out);
		wg_peer_derive(p, "label", again);
		assert_memory_not_equal(out, again, 32);
	}
	wg_free(wg);
}

/* --- AEAD: libsodium is the oracle of test_aead.c, so it is checked here --- */

static const char sunscreen[] = "Ladies and Gentlemen of the class of '99: If I could offer you "
				"only one tip for the future, sunscreen would be it.";

/* RFC 8439 2.8.2 */
static void chacha20poly1305_vector(void **unused)
{
	uint8_t key[32], nonce[12], aad[12], out[114 + 16];
	unsigned long long n;
	(void)unused;
	unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key, 32);
	unhex("070000004041424344454647", nonce, 12);
	unhex("50515253c0c1c2c3c4c5c6c7", aad, 12);
	crypto_aead_chacha20poly1305_ietf_encrypt(out, &n, (const uint8_t *)sunscreen, 114, aad, 12,
						  NULL, nonce, key);
	assert_int_equal(n, 130);
	assert_hex(out, "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
			"3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
			"92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
			"3ff4def08e4b7a9de576d26586cec64b6116"
			"1ae10b594f09e26a7e902ecbd0600691");
}

/* draft-irtf-cfrg-xchacha-03 A.3.1 */
static void xchacha20poly1305_vector(void **unused)
{
	uint8_t key[32], nonce[24], aad[12], out[114 + 16];
	unsigned long long n;
	(void)unused;
	unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", key, 32);
	unhex("404142434445464748494a4b4c4d4e4f5051525354555657", nonce, 24);
	unhex("50515253c0c1c2c3c4c5c6c7", aad, 12);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, &n, (const uint8_t *)sunscreen, 114, aad,
						   12, NULL, nonce, key);
	assert_int_equal(n, 130);
	assert_hex(out, "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
			"731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
			"2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
			"21f9664c97637da9768812f615c68b13b52e"
			"c0875924c1c7987947deafd8780acf49");
}

/* --- Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, the vector of cacophony --- */

static const char *const messages[][2] = {
	{ "4c756477696720766f6e204d69736573",
	  "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57"
	  "527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f"
	  "2441eba616548e832985464cf17e51ee93109008399a21f7e13f" },
	{ "4d757272617920526f746862617264",
	  "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f0075"
	  "72dab0322217755c0632f365717edbf34d33e87a" },
	{ "462e20412e20486179656b", "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7" },
	{ "4361726c204d656e676572", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef" },
	{ "4a65616e2d426170746973746520536179",
	  "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d" },
	{ "457567656e2042f6686d20766f6e2042617765726b",
	  "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292" },
};
static const char handshake_hash[] =
	"f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5";

struct vector {
	uint8_t i_s[32], i_S[32], i_e[32], i_E[32]; /* initiator: static, ephemeral; S, E public */
	uint8_t r_s[32], r_S[32], r_e[32], r_E[32];
	uint8_t psk[32], ss[32];
	uint8_t send[2][32], receive[2][32]; /* of initiator and responder, once there */
};

static void vector_init(struct vector *v)
{
	unhex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1", v->i_s, 32);
	unhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a", v->i_e, 32);
	unhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893", v->r_s, 32);
	unhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b", v->r_e, 32);
	unhex("54686973206973206d7920417573747269616e20706572737065637469766521", v->psk, 32);
	wg_key_public(v->i_s, v->i_S);
	wg_key_public(v->i_e, v->i_E);
	wg_key_public(v->r_s, v->r_S);
	wg_key_public(v->r_e, v->r_E);
	assert_hex(v->r_S, "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62");
	assert_true(noise_dh(v->ss, v->i_s, v->r_S));
}

static void vector_message_1(struct vector *v, struct noise *i, struct noise *r)
{
	uint8_t out[128], in[128], pub[32], text[32];
	size_t n = unhex(messages[0][0], text, sizeof(text));
	noise_begin(i, "John Galt", 9, v->r_S);
	noise_begin(r, "John Galt", 9, v->r_S);
	memcpy(out, v->i_E, 32);
	assert_true(noise_write_1(i, (struct noise_pair){ v->i_e, v->i_E },
				  (struct noise_pair){ v->i_s, v->i_S }, v->r_S, v->ss,
				  (struct bytes_view){ text, n }, out + 32, out + 80));
	assert_hex(out, messages[0][1]);
	assert_true(
		noise_read_1_static(r, (struct noise_pair){ v->r_s, v->r_S }, out, out + 32, pub));
	assert_memory_equal(pub, v->i_S, 32);
	assert_true(noise_read_1_payload(r, v->ss, (struct bytes_view){ out + 80, n + 16 }, in));
	assert_memory_equal(in, text, n);
}

static void vector_message_2(struct vector *v, struct noise *i, struct noise *r)
{
	uint8_t out[128], in[128], text[32];
	size_t n = unhex(messages[1][0], text, sizeof(text));
	struct noise_response to = { v->i_E, v->i_S, v->psk };
	memcpy(out, v->r_E, 32);
	assert_true(noise_write_2(r, (struct noise_pair){ v->r_e, v->r_E }, &to,
				  (struct bytes_view){ text, n }, out + 32));
	assert_hex(out, messages[1][1]);
	assert_true(noise_read_2(i, v->i_e, v->i_s, out, v->psk,
				 (struct bytes_view){ out + 32, n + 16 }, in));
	assert_memory_equal(in, text, n);
	assert_hex(i->hash, handshake_hash);
	assert_memory_equal(i, r, sizeof(*i));
	noise_split(i, v->send[0], v->receive[0]);
	noise_split(r, v->receive[1], v->send[1]);
	assert_true(sodium_is_zero((const uint8_t *)i, sizeof(*i)));
}

/* The transport messages go through the bulk back ends: the initiator's turn first. */
static void vector_transport(struct vector *v, const struct aead *a)
{
	for (unsigned k = 0; k < 4; k++) {
		uint8_t b[64];
		unsigned from = k % 2;
		size_t n = unhex(messages[2 + k][0], b, sizeof(b));
		struct aead_job job = { .text = b, .len = (uint32_t)n, .nonce = k / 2 };
		a->seal(v->send[from], &job, 1);
		assert_hex(b, messages[2 + k][1]);
		a->open(v->receive[1 - from], &job, 1);
		assert_true(job.ok);
	}
}

static void noise_vector(void **unused)
{
	static const char *const names[] = { "ipsec-mb", "libcrypto" };
	struct vector v;
	struct noise i, r;
	(void)unused;
	vector_init(&v);
	vector_message_1(&v, &i, &r);
	vector_message_2(&v, &i, &r);
	for (size_t k = 0; k < ARRAY_SIZE(names); k++)
		if (aead_choose(names[k]))
			vector_transport(&v, aead_choose(names[k]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(naive_is_rfc7693),
		cmocka_unit_test(blake2s_vectors),
		cmocka_unit_test(blake2s_against_naive),
		cmocka_unit_test(kdf_against_naive),
		cmocka_unit_test(derive_key_is_hmac_over_label),
		cmocka_unit_test(x25519_vectors),
		cmocka_unit_test(x25519_low_order),
		cmocka_unit_test(chacha20poly1305_vector),
		cmocka_unit_test(xchacha20poly1305_vector),
		cmocka_unit_test(noise_vector),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("vectors", tests, NULL, NULL);
}
