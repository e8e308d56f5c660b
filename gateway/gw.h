/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway process: a node (node.h) between a real TUN device and a real socket, the kernel's
 * routes, and the channels to launcher, shim and helper. Nothing in its loop can wait.
 */
#ifndef WARREN_GW_H
#define WARREN_GW_H

#include "gateway/backlog.h"
#include "gateway/cpu_meter.h"
#include "gateway/ctl.h"
#include "gateway/helper.h"
#include "gateway/keeper.h"
#include "gateway/loop.h"
#include "gateway/node.h"
#include "gateway/state.h"
#include "gateway/wgconf.h"
#include "base/heap.h"
#include "route/guard.h"
#include "route/kernel.h"
#include "tun/dev.h"
#include "tun/fragment.h"

enum {
	GW_RX_SLOTS = 8,
	GW_TURN_BYTES = 1 << 20, /* at most so much from one side before the other has its turn */
	GW_MAX_PEERS = WGCONF_MAX_PEERS, /* costs memory as they come */
	GW_MAX_ENDPOINTS = 8,
	GW_RUN_PACKETS =
		UDP_GSO_MAX_BYTES / (1500 - 28), /* in one message on an underlay of 1500 */
	GW_BARE_MTU = 1420, /* of a bare interface, until its owner says another */
	SHIM_LINE_MAX = 64 << 10,
};

/* What the commands make of the configuration, before anything is forked. */
struct gw_config {
	struct arena *arena; /* it is in it, for its keys */
	const char *worker_id;
	const char *run_dir, *interface;
	const char *coordinator_id; /* or NULL */
	bool trino;
	uint16_t trino_port, proxy_port;
	uint16_t port; /* 0: the state's, else random */
	uint32_t mtu;  /* pinned inner MTU; 0: what fits each path */
	bool gso;
	/*
	 * A bare interface, as wg-quick expects of an implementation: configured by its socket and by
	 * whoever made it; no address, route or rule is ours. It ends with its interface or socket.
	 */
	bool bare, detach; /* detach: standard descriptors go once it is up */
	const struct aead *aead;
	bool joining;
	struct token token;
	const struct wgconf *static_conf; /* or NULL */
	struct state state;
	bool pin_members;
	bool again;   /* a gateway of this launcher was up before: its lease is in use */
	bool own_key; /* --key or a configuration file: the state's key is not used */
	uint8_t private_key[32];
	struct endpoint stated[GW_MAX_ENDPOINTS];
	size_t nstated;
};

struct gw {
	struct gw_config *cfg;
	struct loop loop;
	struct cpu_meter cpu;
	struct node *node;
	struct tun tun;
	struct udp_socket udp;
	struct kernel_routes *kernel;
	struct guard *guard; /* or NULL: this kernel has none */
	struct ctl *ctl;
	struct uapi_server *uapi; /* or NULL */
	uint32_t fwmark;
	int chan, helper_fd, keeper_fd, shim_fd, monitor_fd, lock_fd, state_lock_fd;
	int valid_mark_fd;    /* of a file that the sandbox would not let us open; -1 */
	ev_signal signals[3]; /* bare: SIGTERM, SIGINT, SIGHUP */
	ev_io tun_io, udp_io, chan_io, helper_io, keeper_io, shim_io, monitor_io;
	bool up, releasing, roster_changed;
	bool left_closed; /* prefixes, of which the lock file has the names: see gw_closed.c */
	bool told_unlocked;
	struct memory memory;
	enum keeper_file keeping; /* has not answered yet */
	bool save;		  /* the identity file is to be written, at next_save */
	nsec next_save;
	nsec kept_at;
	bool forwards;	  /* TCP of other hosts leaves through the TUN */
	uint32_t own_mtu; /* bare: the interface's, as was last seen */
	bool moved;	  /* the TUN is in another network namespace, of which nothing is heard */
	bool set_down;	  /* somebody else set the interface down */
	bool lost;	  /* something of ours, or it may be, and not yet looked at */
	bool told;	  /* and the kernel has told of it */
	bool incomplete;  /* the kernel did not take all of it again */
	nsec restore_at, restored; /* gw_restore.c: when it is due, NSEC_NEVER; the last time */
	nsec next_housekeeping, next_roster;
	/* A bit for each host of the token: asked of the helper, and not answered yet; answered with an address last. */
	uint32_t resolving, resolved;
	/* static peers' endpoints that are names, and full tunnels ([IPv4]) */
	struct gw_name *names;
	size_t nnames;
	struct heap names_due;
	bool full[2];
	struct trino_facts trino; /* our own, as the shim last said */
	/* towards the shim */
	char shim_line[SHIM_LINE_MAX];
	size_t shim_have;
	bool shim_dropping; /* the line was too long: skipped to its end */
	bool shim_wants;    /* the status */
	char *shim_out;
	size_t shim_out_len, shim_out_at;
	struct vnet_hdr vnet;
	uint8_t *tun_buf;
	uint32_t read_credit;
	unsigned tun_writes; /* since the TUN was read */
	unsigned tun_turns;  /* in which it was read, since something was written to it */
	struct backlog tun_backlog, udp_backlog;
	uint8_t *rx_buf[GW_RX_SLOTS];
	nsec complains;	 /* that no rendezvous answers: not before */
	nsec began;	 /* to wait for rendezvous */
	uint32_t silent; /* which of them were said to be */
};

#define GW_SET_DOWN                                                                                \
	"interface %s was set down: nothing is carried until it is up again (ip link set %s up)"

/* The process: never returns. */
_Noreturn void gw_main(struct gw_config *cfg, int chan);

/* gw_io.c: TUN and socket */
int gw_io_open(struct gw *g); /* these two, and the buffers: */
int gw_io_tun_open(struct gw *g);
int gw_io_socket_open(struct gw *g);
void gw_io_close(struct gw *g);
void gw_io_start(struct gw *g);
void gw_io_socket(struct gw *g, const struct udp_socket *s); /* takes the place of the one in use */
void gw_send_udp(void *ctx, const struct udp_tx *tx, unsigned n);
void gw_send_tun(void *ctx, const struct gro_write *w);

/* gw_closed.c: the network's prefixes, closed but for the tunnel */
/* Does this host use a prefix of the network's already? 0, or -EADDRINUSE with a line. */
int gw_net_clash(struct gw *g, const struct prefix *p);
void gw_net_no_guard(int err);
/* With the guard, and before the TUN is up. 0 or -errno with a line. */
int gw_net_close_prefixes(struct gw *g);

/* gw_net.c: what the kernel is told, and what it tells */
int gw_net_open(struct gw *g);
void gw_net_close(struct gw *g);
int gw_net_up(struct gw *g); /* the lease's addresses */
/* The IPv6 one as text, empty where this host has no IPv6. After gw_net_up(). */
const char *gw_net_ip6(const struct gw *g, char out[static ADDR_STRLEN]);
int gw_net_address(struct gw *g, const struct prefix *host, uint8_t bits);
void gw_net_route(struct gw *g, struct peer *p, const struct prefix *prefix, bool add);
void gw_net_path(struct gw *g, struct peer *p);
void gw_net_mtu(struct gw *g, struct peer *p); /* peer_mtu() is another */
void gw_net_members(struct gw *g); /* the routes of those that were there before our address */
/* A static peer is at another outer address; `first`: before, none was known. */
void gw_net_endpoint(struct gw *g, struct peer *p, bool first);
void gw_net_path_mtu(const struct peer *p, const struct path *path, const struct link_mtu *m);
struct local_way gw_net_local_way(void *ctx, const struct addr *remote); /* for struct node_io */
bool gw_net_leads(void *ctx, const struct path *path);			 /* the same */
/* A bare interface: what its owner has made of it. Called now and then where that is told to nobody. */
void gw_net_follow(struct gw *g);
/* A packet of another host's TCP came out of the TUN; told once. */
void gw_net_forwards(struct gw *g);
void gw_net_candidates(struct gw *g);

/* Our interface, wherever it is; false where it cannot be asked for. */
bool gw_net_link(struct gw *g, struct kernel_link *link);

/* The TUN is of no use any more: another is made by the next gateway process. */
void gw_interface_gone(struct gw *g, const char *why);

/* gw_restore.c: what somebody else did to what is ours */
void gw_restore_see(struct gw *g, const struct kernel_undone *u);
void gw_restore_turn(struct gw *g, nsec now);

/* gw_rendezvous.c: says which do not answer */
void gw_watch_rendezvous(struct gw *g);

/* gw_static.c: what a WireGuard file says */
int gw_static_addresses(struct gw *g);
int gw_static_peers(struct gw *g);
void gw_static_turn(struct gw *g, nsec now); /* names that are to be looked up */
nsec gw_static_deadline(const struct gw *g);
bool gw_static_answer(struct gw *g, const struct resolve_answer *a); /* false: not one of these */
void gw_static_helper(struct gw *g); /* there is a helper, or another one */
/* Its endpoint is a name that is still looked up. */
bool gw_static_named(const struct gw *g, const struct peer *p);
/* Before a default route: false where it cannot be, which is warned of unless it was (`again`). */
bool gw_static_full_tunnel(struct gw *g, bool v4, bool again);
void gw_static_full_tunnel_end(struct gw *g, bool v4);

/* gw_state.c: the state directory */
int gw_state_load(struct gw *g);
void gw_state_save(struct gw *g);	    /* the identity file, soon */
void gw_state_turn(struct gw *g, nsec now); /* what is due */
nsec gw_state_deadline(const struct gw *g);
void gw_state_end(struct gw *g);	   /* a clean end: all of it */
void gw_state_kept(struct gw *g, int err); /* the keeper's answer; err < 0: it was not written */
void gw_state_key(const struct node_note *n);

/* gw_bare.c */
void gw_bare_heed(struct gw *g); /* signals */
void gw_bare_leave(int null);	 /* its terminal, for /dev/null; -1: it stays */

/* gw_uapi.c: wg(8)'s socket */
int gw_uapi_open(struct gw *g);
void gw_uapi_close(struct gw *g);

/* gw_chan.c: launcher, helper and shim */
void gw_chan_start(struct gw *g);
void gw_chan_close(struct gw *g);
void gw_fatal(struct gw *g, int code);	/* tells the launcher; the line is written already */
void gw_cannot(struct gw *g, int code); /* the same where it may work at another try */
void gw_tell_up(struct gw *g);
void gw_tell_released(struct gw *g);
void gw_tell_serves(struct gw *g); /* its control socket */
void gw_resolve(struct gw *g);
void gw_shim_roster(struct gw *g);
/* Once a turn: a thousand questions at once get one answer, and do not hold up the data path. */
void gw_shim_turn(struct gw *g);
void gw_shim_line(struct gw *g, char *text, size_t len); /* takes `text` */

/* status.c */
struct json_t;
struct json_t *gw_status(struct gw *g);
struct json_t *gw_roster(struct gw *g);

#endif
