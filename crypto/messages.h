/* SPDX-License-Identifier: Apache-2.0 */
/* WireGuard's four messages (paper 5.4) and its constants (6.1), on one screen. */
#ifndef WARREN_WG_MESSAGES_H
#define WARREN_WG_MESSAGES_H

#include "base/blake2s.h"
#include "base/bytes.h"
#include "crypto/wg.h"

enum { TAG_LEN = 16, TIMESTAMP_LEN = 12, COOKIE_NONCE_LEN = 24, COOKIE_TAU_LEN = 16 };

struct msg_macs {
	uint8_t mac1[MAC_LEN]; /* under the receiver's public key: says that the sender knows it */
	uint8_t mac2[MAC_LEN]; /* under a cookie: says that the sender's address is real */
};

struct msg_initiation {
	le32 type; /* one byte of type, three of zero: read as one little-endian word */
	le32 sender;
	uint8_t ephemeral[WG_KEY_LEN];
	uint8_t static_key[WG_KEY_LEN + TAG_LEN];
	uint8_t timestamp[TIMESTAMP_LEN + TAG_LEN];
	struct msg_macs macs;
};

struct msg_response {
	le32 type;
	le32 sender;
	le32 receiver;
	uint8_t ephemeral[WG_KEY_LEN];
	uint8_t empty[TAG_LEN];
	struct msg_macs macs;
};

struct msg_cookie {
	le32 type;
	le32 receiver;
	uint8_t nonce[COOKIE_NONCE_LEN];
	uint8_t cookie[COOKIE_TAU_LEN + TAG_LEN];
};

struct msg_data {
	le32 type;
	le32 receiver;
	le64 counter;
};

static_assert(sizeof(struct msg_initiation) == WG_INITIATION_LEN, "message 1");
static_assert(sizeof(struct msg_response) == WG_RESPONSE_LEN, "message 2");
static_assert(sizeof(struct msg_cookie) == WG_COOKIE_LEN, "message 3");
static_assert(sizeof(struct msg_data) == WG_DATA_HEADER_LEN, "message 4");
static_assert(WG_INITIATION_LEN <= WG_MESSAGE_MAX && WG_COOKIE_LEN <= WG_MESSAGE_MAX, "buffers");

#define REKEY_AFTER_MESSAGES ((uint64_t)1 << 60)
#define REJECT_AFTER_MESSAGES (UINT64_MAX - ((uint64_t)1 << 13))
#ifdef WARREN_TEST_REKEY_SECONDS /* a build for tests, to see many rekeys in little time */
#define REKEY_AFTER_TIME (WARREN_TEST_REKEY_SECONDS * NSEC_PER_SEC)
#define REJECT_AFTER_TIME nsec_max(REKEY_AFTER_TIME * 3 / 2, 10 * NSEC_PER_SEC)
#else
#define REKEY_AFTER_TIME (120 * NSEC_PER_SEC)
#define REJECT_AFTER_TIME (180 * NSEC_PER_SEC)
#endif
/*
 * The two ends of a session count its age from different moments, and a packet takes time: what is
 * sent in the last moment would arrive too late. So we stop sending a little before that.
 */
#define SEND_MARGIN (2 * NSEC_PER_SEC)
#define REKEY_TIMEOUT (5 * NSEC_PER_SEC)
#define REKEY_ATTEMPT_TIME (90 * NSEC_PER_SEC)
#define KEEPALIVE_TIMEOUT (10 * NSEC_PER_SEC)
#define COOKIE_TIME (120 * NSEC_PER_SEC)
#define INITIATION_INTERVAL (20 * NSEC_PER_MSEC) /* 50 a second and peer */

/* The receiver of a data message, to a buffer without alignment. */
static inline uint32_t msg_data_receiver(const uint8_t *p)
{
	return load_le32(p + offsetof(struct msg_data, receiver));
}

static inline uint64_t msg_data_counter(const uint8_t *p)
{
	return load_le64(p + offsetof(struct msg_data, counter));
}

#endif
