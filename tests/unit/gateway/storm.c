/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real rendezvous with its real database, any of whose processes are killed with SIGKILL at random instants while members
 * join:
 *
 *   storm WARREN [KILLS [SEED]]
 *
 * The members are whole gateways without a kernel (gateway/node.h), each with a socket of its own; they
 * come, are granted a lease, vanish, and come again. Whatever a member was granted once it must be
 * granted again, and nobody else. In the end the database is taken away, and all of them get their
 * addresses back: those that run, and those that start with what they kept. A newcomer waits until then.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gateway/memory.h"
#include "gateway/node.h"
#include "storm_server.h"

enum { MEMBERS = 1500, LIVE = 48, NUMBERS = 8192, PER_TURN = 4 };
#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

struct member {
	char id[WORKER_ID_LEN];
	uint8_t key[32], psk[32];
	bool has_psk, told;
	member_number number; /* that it was granted; 0: none yet */
	struct memory memory;
	struct node *node; /* NULL: it does not run */
	int fd;
	bool up;
	bool waits; /* it was told that leases are lost */
	nsec until; /* when it vanishes */
};

static char dir[64];
static struct token token;
static struct endpoint rendezvous;
static struct server server;
static struct member members[MEMBERS + 1]; /* and a newcomer at the end */
static unsigned used, owner[NUMBERS];	   /* owner: 1 + index of the member that has the number */
static unsigned kills, grants, again, later; /* later: to newcomers, after a restart */
static uint64_t seed;

static uint32_t pick(uint32_t n)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(z >> 32) % n;
}

static nsec clock_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (nsec)ts.tv_sec * SEC + ts.tv_nsec;
}

static nsec wall_offset(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (nsec)ts.tv_sec * SEC + ts.tv_nsec - clock_now();
}

__attribute__((format(printf, 1, 2))) static _Noreturn void fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (after %u kills, %u grants; the state is in %s)\n", kills, grants, dir);
	server_stop(&server, SIGKILL);
	exit(1);
}

/* --- the rendezvous --- */

static void read_token(void)
{
	char path[128], text[TOKEN_TEXT_MAX] = "";
	snprintf(path, sizeof(path), "%s/token", dir);
	for (unsigned i = 0; i < 1000; i++) {
		FILE *f = fopen(path, "re");
		bool got = f && fgets(text, sizeof(text), f);
		if (f)
			fclose(f);
		if (got && token_parse(text, &token, NULL) == TOKEN_OK)
			return;
		usleep(20000);
		server_keep(&server);
	}
	fail("the rendezvous does not start");
}

/* --- members --- */

static void on_udp(void *ctx, const struct udp_tx *tx, unsigned n)
{
	struct member *m = ctx;
	for (unsigned i = 0; i < n; i++)
		for (uint32_t at = 0; at < tx[i].len; at += tx[i].seg)
			(void)!send(m->fd, tx[i].buf + at, size_min(tx[i].seg, tx[i].len - at),
				    MSG_NOSIGNAL);
}

static void on_tun(void *ctx, const struct gro_write *w)
{
	(void)ctx;
	(void)w;
}

static void granted(struct member *m, unsigned index)
{
	const struct node_lease_info *l = node_lease(m->node);
	member_number number = l->lease.number;
	m->up = true;
	if (number >= NUMBERS)
		fail("%s was granted number %u", m->id, number);
	if (m->number && m->number != number)
		fail("%s lost its lease: it had %u and was granted %u", m->id, m->number, number);
	if (owner[number] && owner[number] != index + 1)
		fail("number %u was granted to %s and to %s", number, members[owner[number] - 1].id,
		     m->id);
	again += m->number != 0;
	later += m->number == 0 && kills > 0;
	owner[number] = index + 1;
	m->number = number;
	memcpy(m->psk, l->psk, 32);
	m->has_psk = true;
	m->until = clock_now() + pick(400) * MSEC;
	grants++;
}

static void on_note(void *ctx, const struct node_note *note)
{
	struct member *m = ctx;
	if (note->event == NODE_UP)
		granted(m, (unsigned)(m - members));
	else if (note->event == NODE_LEASE_CHANGED)
		fail("%s runs and would get another address", m->id);
	else if (note->event == NODE_REFUSED && strstr(note->text, "has lost leases"))
		m->waits = true;
	else if (note->event == NODE_REPLACED || (note->event == NODE_REFUSED && note->fatal))
		fail("%s is refused: %s", m->id, note->text);
}

static int open_socket(unsigned index)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* an address each, so that cookies and limits tell them apart */
	a.sin_addr.s_addr = htonl(0x7f010001u + index);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		fail("no socket: %s", strerror(errno));
	a.sin_port = htons(server.port);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		fail("connect: %s", strerror(errno));
	return fd;
}

/* It starts (again), with all that it kept, or with the key alone where `forgetful`. */
static void start_member(struct member *m, nsec now, bool forgetful)
{
	nsec wall = wall_offset();
	struct node_config cfg = {
		.io = { .ctx = m, .udp = on_udp, .tun = on_tun, .note = on_note },
		.aead = aead_choose("libcrypto"),
		.worker_id = m->id,
		.release = "storm",
		.max_peers = 4,
		.boot = (uint64_t)(now + wall),
		.token = &token
	};
	memcpy(cfg.private_key, m->key, 32);
	if (m->has_psk && !forgetful) {
		cfg.psk = m->psk;
		cfg.number = m->number;
		cfg.memory = &m->memory;
	}
	m->fd = open_socket((unsigned)(m - members));
	m->node = node_new(&cfg, now);
	if (!m->node)
		fail("no memory for a node");
	m->up = false;
	m->until = now + (500 + pick(3000)) * MSEC; /* sooner once it has a lease */
	node_set_wall(m->node, wall);
	node_resolved(m->node, now, 0, &rendezvous, 1);
	node_tick(m->node, now);
}

/* As a process that is killed: nothing is released. */
static void stop_member(struct member *m)
{
	node_free(m->node);
	close(m->fd);
	m->node = NULL;
}

static unsigned alive(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < used; i++)
		n += members[i].node != NULL;
	return n;
}

/* A new one, or one that was there before. */
static void someone_comes(nsec now)
{
	struct member *m = &members[used ? pick(used) : 0];
	if (!m->node && used && pick(3) == 0) {
		start_member(m, now, pick(2));
		return;
	}
	if (used == MEMBERS)
		return;
	m = &members[used];
	snprintf(m->id, sizeof(m->id), "w%u", used++);
	wg_key_generate(m->key);
	start_member(m, now, true);
}

static void receive(struct member *m, nsec now)
{
	static uint8_t buf[UDP_RX_MAX];
	ssize_t n;
	while ((n = recv(m->fd, buf, sizeof(buf), 0)) > 0) {
		struct udp_rx rx = {
			.buf = buf, .len = (uint32_t)n, .seg = (uint32_t)n, .from = rendezvous
		};
		node_udp(m->node, now, &rx, 1);
	}
}

/* A few milliseconds of everybody's life. */
static void turn(void)
{
	static struct pollfd fds[MEMBERS + 1];
	static struct member *who[MEMBERS + 1];
	nfds_t n = 0;
	for (unsigned i = 0; i < used; i++) {
		if (!members[i].node)
			continue;
		who[n] = &members[i];
		fds[n++] = (struct pollfd){ .fd = members[i].fd, .events = POLLIN };
	}
	poll(fds, n, 2);
	nsec now = clock_now();
	for (nfds_t i = 0; i < n; i++) {
		if (fds[i].revents)
			receive(who[i], now);
		node_flush(who[i]->node, now);
		if (node_deadline(who[i]->node) <= now)
			node_tick(who[i]->node, now);
	}
}

/* --- the storm --- */

/* A rendezvous that has lost nothing keeps nobody waiting. */
static void first_member(void)
{
	nsec limit = clock_now() + 10 * SEC;
	struct member *m = &members[used++];
	snprintf(m->id, sizeof(m->id), "w0");
	wg_key_generate(m->key);
	start_member(m, clock_now(), true);
	while (!m->up && clock_now() < limit)
		turn();
	if (!m->up)
		fail("the first member of all was not given a lease within 10 s");
}

static void storm(unsigned rounds)
{
	nsec next_kill = clock_now() + 500 * MSEC, next_one = 0;
	while (kills < rounds) {
		nsec now = clock_now();
		for (unsigned i = 0; i < PER_TURN && now >= next_one && alive() < LIVE; i++)
			someone_comes(now);
		if (now >= next_one)
			next_one = now + pick(20) * MSEC;
		for (unsigned i = 0; i < used; i++)
			if (members[i].node && now >= members[i].until)
				stop_member(&members[i]);
		if (now >= next_kill) {
			server_strike(&server, pick);
			kills++;
			/* often so soon that it has not even started, sometimes after a while */
			next_kill = now + (pick(4) ? 20 + pick(200) : 200 + pick(600)) * MSEC;
		}
		server_keep(&server);
		turn();
	}
}

/* Whoever was granted a lease in the storm starts once more, some at a time, and is up with it. */
static void everybody_again(bool forgetful, unsigned step)
{
	nsec limit = clock_now() + 180 * SEC;
	unsigned next = 0, left = 0;
	for (unsigned i = 0; i < used; i++) {
		if (members[i].node)
			stop_member(&members[i]);
		members[i].told = members[i].number == 0 || i % step != 0;
		left += !members[i].told;
	}
	while (left) {
		nsec now = clock_now();
		for (; next < used && alive() < LIVE; next++)
			if (!members[next].told)
				start_member(&members[next], now, forgetful);
		server_keep(&server);
		turn();
		for (unsigned i = 0; i < used; i++) {
			if (!members[i].node || !members[i].up)
				continue;
			members[i].told = true;
			left--;
			stop_member(&members[i]);
		}
		if (now > limit)
			fail("%u members are not back after three minutes", left);
	}
}

/* --- a database that is lost --- */

static void lose_database(void)
{
	static const char *const names[] = { "leases.db", "leases.db-wal", "leases.db-shm" };
	char path[128];
	server_stop(&server, SIGKILL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	server_start(&server);
}

/* Nobody has its address yet of those that have one, and it must not get theirs. */
static struct member *newcomer_comes(void)
{
	struct member *m = &members[used++];
	snprintf(m->id, sizeof(m->id), "newcomer");
	wg_key_generate(m->key);
	start_member(m, clock_now(), true);
	return m;
}

/* Some run while it happens: they hear of it and register again, with the address that they have. */
static void running_members(unsigned count)
{
	struct enrol_info e;
	nsec limit = clock_now() + 120 * SEC;
	unsigned up = 0, back = 0, n = 0;
	for (unsigned i = 0; i < used && n < count; i++)
		if (members[i].number) {
			start_member(&members[i], clock_now(), false);
			n++;
		}
	while (up < n && clock_now() < limit) {
		server_keep(&server);
		turn();
		up = 0;
		for (unsigned i = 0; i < used; i++)
			up += members[i].node && members[i].up;
	}
	lose_database();
	nsec lost = clock_now();
	struct member *newcomer = newcomer_comes();
	while ((back < n || !newcomer->waits) && clock_now() < limit) {
		server_keep(&server);
		turn();
		if (newcomer->node && newcomer->waits)
			stop_member(newcomer);
		back = 0;
		for (unsigned i = 0; i < used; i++) {
			if (!members[i].node || &members[i] == newcomer)
				continue;
			node_enrol_info(members[i].node, 0, &e);
			back += e.last_answer > lost;
		}
	}
	if (!newcomer->waits)
		fail("a newcomer was not told to wait after the database was lost");
	if (back < n)
		fail("%u of %u members came back after the database was lost", back, n);
	printf("the database was lost: %u members that ran have their addresses again\n", n);
}

int main(int argc, char **argv)
{
	char at[40];
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2 || sodium_init() < 0)
		return 2;
	server = (struct server){ .warren = argv[1],
				  .dir = dir,
				  .port = (uint16_t)(20000 + getpid() % 10000) };
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 200;
	seed = argc > 3 ? strtoull(argv[3], NULL, 10) : randombytes_random();
	printf("seed %llu\n", (unsigned long long)seed);
	snprintf(dir, sizeof(dir), "/tmp/warren-storm-XXXXXX");
	if (!mkdtemp(dir))
		return 2;
	snprintf(at, sizeof(at), "127.0.0.1:%u", server.port);
	if (!endpoint_parse(at, &rendezvous))
		return 2;
	server_start(&server);
	read_token();
	first_member();
	storm(rounds);
	unsigned stormed = grants, twice = again;
	if (rounds && !later)
		fail("nobody was given a first lease after a restart with all leases");
	everybody_again(true, 1);
	printf("%u kills, %u members, %u grants in the storm, %u of them again; all have what they "
	       "were granted\n",
	       kills, used, stormed, twice);
	everybody_again(false, 4); /* so that these have something that they keep */
	running_members(24);
	lose_database();
	everybody_again(false, 4);
	printf("the database was lost: who starts with what it kept has its address again\n");
	server_stop(&server, SIGTERM);
	server_remove_files(&server);
	return 0;
}
