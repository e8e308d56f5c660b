/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the program: each takes what stands behind its name and returns the exit status. */
#ifndef WARREN_CMD_H
#define WARREN_CMD_H

#include "gateway/config.h"

int cmd_rendezvous(int argc, char **argv);
int cmd_token(int argc, char **argv);
/* `warren rendezvous rotate`, `remove` and `forget`. */
bool cmd_admin_verb(const char *word);
int cmd_admin(int argc, char **argv);
int cmd_up(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_ping(int argc, char **argv);
int cmd_accept(int argc, char **argv);
int cmd_check(int argc, char **argv);
/* `warren INTERFACE`: could this be one, and the command. */
bool cmd_bare_name(const char *name);
int cmd_bare(const char *interface, bool foreground);
int cmd_genkey(int argc, char **argv);
int cmd_pubkey(int argc, char **argv);
int cmd_genpsk(int argc, char **argv);

/* Shared by several: sets the log's level, format and names; 0 or -1 with a line. */
int cmd_log(const struct config *c, const char *process, const char *worker);
/* "host:port" to a token's endpoint; false with a line. */
bool cmd_host_port(const char *text, char *host, size_t cap, uint16_t *port);
/* For --help: true when the first word asks for it; prints `usage` and the settings. */
bool cmd_help(int argc, char **argv, const char *usage, const enum setting *allowed);

#endif
