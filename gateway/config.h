/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings: one table for flags, environment variables and the lines of a file. A flag beats the
 * environment, the environment beats the file. Values are strings until a command asks for more.
 */
#ifndef WARREN_CONFIG_H
#define WARREN_CONFIG_H

#include "base/addr.h"

enum setting {
	SET_CONFIG,
	SET_JOIN,
	SET_WORKER_ID,
	SET_TRINO_MODE,
	SET_TRINO_LOCAL_PORT,
	SET_TRINO_HTTPS_PORT,
	SET_TRINO_PROXY_PORT,
	SET_TRINO_COORDINATOR_ID,
	SET_STATE,
	SET_RUN_DIR,
	SET_INTERFACE,
	SET_PORT,
	SET_MTU,
	SET_ENDPOINT,
	SET_KEY,
	SET_PIN_MEMBERS,
	SET_USER,
	SET_GSO,
	SET_AEAD,
	SET_LOG_LEVEL,
	SET_LOG_FORMAT,
	SET_LISTEN,
	SET_NETWORK,
	SET_PUBLIC,
	SET_NUMBER,
	SET_PREFIX,
	SET_ROUTE,
	SET_MAX_MEMBERS,
	SET_LEASE_TTL,
	SET_FOR,
	SET_EXPIRES,
	SET_OVERLAP,
	SET_JSON,
	SET_COUNT_,
	SET_SWEEP,
	SETTING_COUNT
};

enum { INNER_MTU_MIN = 576 }; /* of --mtu */

struct config {
	char *value[SETTING_COUNT]; /* owned; NULL: not set. Repeated flags are joined by commas */
	int nargs;
	char **args; /* what is left of argv, not owned */
};

/*
 * Reads the flags that stand before the first other word (or "--"), then the environment, then the
 * file. `allowed` lists the settings that the command takes, ended by SETTING_COUNT. 0, or -1 with
 * one line on stderr.
 */
int config_read(struct config *c, int argc, char **argv, const enum setting *allowed);
void config_free(struct config *c);

/* Wipes a value that is not needed any more. */
void config_forget(struct config *c, enum setting s);

const char *config_get(const struct config *c, enum setting s, const char *otherwise);
/* True for 1, true, yes, on; false for the opposites and unset. -1 with a line for anything else. */
int config_bool(const struct config *c, enum setting s, bool *out);
int config_number(const struct config *c, enum setting s, unsigned long min, unsigned long max,
		  unsigned long otherwise, unsigned long *out);
/* A number and s, m, h or d, which is also meant where nothing stands; in seconds, below 100 years. */
int config_duration(const struct config *c, enum setting s, int64_t otherwise, int64_t *out);
/* A date (until its end, UTC) or, from `wall` on, a duration: seconds since 1970. Unset: 0. */
int config_date(const struct config *c, enum setting s, int64_t wall, int64_t *out);
/* Calls `each` for the comma-separated parts until it returns not 0, and returns that. */
int config_each(const struct config *c, enum setting s, int (*each)(void *ctx, const char *part),
		void *ctx);

/* A line a setting for `warren COMMAND --help`. */
void config_help(const enum setting *allowed);

#endif
