/* SPDX-License-Identifier: Apache-2.0 */
/* What `run`, `up` and `check` make of their settings. */
#ifndef WARREN_APP_H
#define WARREN_APP_H

#include "gateway/config.h"
#include "gateway/gw.h"
#include "discovery/shim.h"

/* The settings of a node; SET_CONFIG is the last. */
#define NODE_SETTINGS                                                                              \
	SET_JOIN, SET_WORKER_ID, SET_TRINO_MODE, SET_TRINO_LOCAL_PORT, SET_TRINO_HTTPS_PORT,       \
		SET_TRINO_PROXY_PORT, SET_TRINO_COORDINATOR_ID, SET_STATE, SET_RUN_DIR,            \
		SET_INTERFACE, SET_PORT, SET_MTU, SET_ENDPOINT, SET_KEY, SET_PIN_MEMBERS, SET_GSO, \
		SET_AEAD, SET_LOG_LEVEL, SET_LOG_FORMAT, SET_CONFIG

struct app {
	struct arena *arena; /* it is in it: token and keys are in here */
	struct config c;
	struct gw_config gw;
	struct wgconf conf;
	struct shim_config shim;
	char id[WORKER_ID_LEN], run_dir[200], interface[IFNAMSIZ];
};

struct app *app_new(void);    /* NULL with a line */
void app_free(struct app *a); /* wipes it */

/* 0, or -1 with a line that says what is wrong. */
int app_common(struct app *a);
int app_token(struct app *a);
int app_worker_id(struct app *a);
/* Is the token good for this worker id and at this time? After the two, and the state. */
int app_token_fits(const struct app *a);
int app_trino(struct app *a);
/* Where the state is, after the two above. */
void app_state_dir(const struct app *a, char out[static 256]);

#endif
