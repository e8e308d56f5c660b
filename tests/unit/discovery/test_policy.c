/* SPDX-License-Identifier: Apache-2.0 */
/* Where requests go, who is the coordinator, and what the feed may say. */
#include "discovery/policy.h"

#include <http_parser.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char feed[] =
	"{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"ip6\":\"fd00::2\",\"coordinator_id\":null,"
	"\"members\":["
	"{\"id\":\"c1\",\"ip\":\"10.77.0.1\",\"http\":8081,\"coordinator\":true,\"online\":true},"
	"{\"id\":\"w1\",\"ip\":\"10.77.0.2\",\"ip6\":\"fd00::2\",\"http\":8081,\"online\":true,"
	"\"link\":\"self\"},"
	"{\"id\":\"w2\",\"ip\":\"10.77.0.3\",\"http\":99999,\"online\":false}]}";

static bool read_feed(struct roster *r, const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	bool ok = roster_read(r, o);
	json_decref(o);
	return ok;
}

static struct decision decide(const struct roster *r, const char *method, const char *target,
			      const char *host, const char *origin)
{
	char text[1024];
	struct http_head h;
	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n", method, target,
		 host, origin ? "Origin: " : "", origin ? origin : "", origin ? "\r\n" : "");
	assert_true(http_head_parse(HEAD_REQUEST, (const uint8_t *)text, strlen(text), &h));
	return policy_decide(&h, r, "w1");
}

#define L .route = ROUTE_LOCAL
#define C .route = ROUTE_COORDINATOR
#define O .route = ROUTE_OWN
#define R .route = ROUTE_REFUSED

static void routes(void **state)
{
	static const struct {
		const char *method, *target;
		enum route route;
		enum own own;
		bool guarded, info;
		unsigned status;
	} cases[] = {
		{ "GET", "/v1/info", L, .info = true },
		{ "HEAD", "/v1/info", L, .info = true },
		{ "GET", "/v1/info?x", L, .info = true },
		{ "GET", "/v1/info/state", L },
		{ "PUT", "/v1/info/state", L },
		{ "GET", "/v1/info/coordinator", L },
		{ "GET", "/v1/information", C },
		{ "HEAD", "/v1/status", L },
		{ "GET", "/v1/statusx", C },
		{ "GET", "/v1/task/20260101_000000_00000_aaaaa.1.0.0/results/0/0", L },
		{ "POST", "/v1/task/pruneCatalogs", L },
		{ "GET", "/v1/announcement", O, .own = OWN_LISTING },
		{ "GET", "/v1/announcement/w1", C },
		{ "PUT", "/v1/announcement/w1", C, .guarded = true },
		{ "DELETE", "/v1/announcement/w1", C },
		{ "POST", "/v1/announce", C, .guarded = true },
		{ "GET", "/v1/announce", C },
		{ "GET", "/v1/service/trino/general", C },
		{ "POST", "/v1/statement", C },
		{ "GET", "/ui/", C },
		{ "GET", "/", C },
		{ "OPTIONS", "*", C },
		/* other spellings of the same */
		{ "PUT", "/v1/%61nnouncement/w1", C, .guarded = true },
		{ "PUT", "//v1/./announcement/w1", C, .guarded = true },
		{ "POST", "/x/../v1/announce;jsessionid=1", C, .guarded = true },
		{ "POST", "/v1%2Fannounce", C, .guarded = true },
		{ "POST", "/a/b/c/d/../../../../v1/announce/", C, .guarded = true },
		{ "POST", "/v1/announce/..", C },
		{ "POST", "/v1/announce%00", C },
		{ "GET", "/v1/%zzinfo", C },
		/* ours */
		{ "GET", "/warren/", O, .own = OWN_PAGE },
		{ "GET", "/warren", O, .own = OWN_PAGE },
		{ "GET", "/warren/status", O, .own = OWN_STATUS },
		{ "HEAD", "/warren/health", O, .own = OWN_HEALTH },
		{ "GET", "/warren/metrics", O, .own = OWN_METRICS },
		{ "GET", "/warren/other", R, .status = 404 },
		{ "GET", "/warren/status/more", R, .status = 404 },
		{ "POST", "/warren/status", R, .status = 405 },
		{ "TRACE", "/", R, .status = 405 },
	};
	struct roster r = { 0 };
	(void)state;
	assert_true(read_feed(&r, feed));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct decision d = decide(&r, cases[i].method, cases[i].target, "localhost", NULL);
		if (d.route != cases[i].route || d.own != cases[i].own ||
		    d.guarded != cases[i].guarded || d.info != cases[i].info ||
		    d.status != cases[i].status)
			fail_msg("%s %s: route %d, own %d, guarded %d, status %u", cases[i].method,
				 cases[i].target, d.route, d.own, d.guarded, d.status);
	}
	roster_free(&r);
}

static void hosts(void **state)
{
	static const struct {
		const char *host;
		bool ours;
	} cases[] = {
		{ "localhost", true },
		{ "LocalHost:8080", true },
		{ "127.0.0.1", true },
		{ "127.0.0.1:1", true },
		{ "[::1]", true },
		{ "[::1]:8080", true },
		{ "w1:8080", true },
		{ "W1", true },
		{ "10.77.0.2:8080", true },
		{ "[fd00::2]:8080", true },
		{ "10.77.0.1", false },
		{ "c1", false },
		{ "evil.example", false },
		{ "", false },
		{ "localhost.evil.example", false },
		{ "127.0.0.1.evil.example", false },
		{ "[fd00::3]", false },
		{ "fd00::2", false },
		{ "[::1", false },
		{ "[::1]x", false },
		{ "[127.0.0.1]", false },
		{ "0.0.0.0", false },
		{ "[::]", false },
		{ "user@localhost", false },
		{ ":8080", false },
	};
	struct roster r = { 0 };
	(void)state;
	assert_true(read_feed(&r, feed));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct decision d = decide(&r, "GET", "/v1/query", cases[i].host, NULL);
		bool ours = d.route != ROUTE_REFUSED;
		if (ours != cases[i].ours || (!ours && d.status != 421))
			fail_msg("Host: %s", cases[i].host);
	}
	assert_int_equal(decide(&r, "GET", "http://evil.example/", "localhost", NULL).status, 421);
	roster_free(&r);
	assert_int_equal(decide(&r, "GET", "/", "10.77.0.2", NULL).status,
			 421); /* not joined yet */
}

static void origins(void **state)
{
	static const struct {
		const char *method, *origin;
		unsigned status;
	} cases[] = {
		{ "POST", "http://evil.example", 403 },
		{ "GET", "http://evil.example", 0 },
		{ "POST", "http://localhost:8080", 0 },
		{ "POST", "https://127.0.0.1", 0 },
		{ "PUT", "null", 403 },
		{ "DELETE", "http://10.77.0.2:8080", 0 },
		{ "POST", "http://w1", 0 },
		{ "POST", "http://", 403 },
		{ "POST", "file://", 403 },
		{ "POST", "http://localhost.evil.example", 403 },
	};
	struct roster r = { 0 };
	(void)state;
	assert_true(read_feed(&r, feed));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct decision d =
			decide(&r, cases[i].method, "/v1/statement", "localhost", cases[i].origin);
		if (d.status != cases[i].status)
			fail_msg("%s from %s: %u", cases[i].method, cases[i].origin, d.status);
	}
	roster_free(&r);
}

static void addresses(void **state)
{
	static const char *const ours[] = { "10.77.0.2", "fd00::2", "10-77-0-2.ip", "fd00--2.ip" };
	static const char *const others[] = { "",	   "localhost",	 "127.0.0.1",
					      "10.77.0.1", "10.77.0.20", "10-77-0-1.ip",
					      ".ip",	   "w1" };
	struct roster r = { 0 };
	(void)state;
	assert_true(read_feed(&r, feed));
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		assert_true(policy_address_is_ours(ours[i], &r));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(policy_address_is_ours(others[i], &r));
	roster_free(&r);
}

static void coordinators(void **state)
{
	struct roster r = { 0 };
	char why[WHY_SIZE];
	(void)state;
	assert_null(roster_coordinator(&r, NULL, why));
	assert_non_null(strstr(why, "not joined"));
	assert_true(read_feed(&r, feed));
	assert_string_equal(roster_coordinator(&r, NULL, why)->id, "c1"); /* the only one */
	assert_string_equal(roster_coordinator(&r, "w2", why)->id, "w2"); /* named */
	assert_null(roster_coordinator(&r, "c9", why));
	assert_non_null(strstr(why, "'c9'"));
	assert_non_null(strstr(why, "c1, w1, w2"));
	assert_true(read_feed(&r, "{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"members\":["
				  "{\"id\":\"a\",\"ip\":\"10.77.0.1\",\"coordinator\":true},"
				  "{\"id\":\"b\",\"ip\":\"10.77.0.3\",\"coordinator\":true}]}"));
	assert_null(roster_coordinator(&r, NULL, why));
	assert_non_null(strstr(why, "a, b"));
	assert_non_null(strstr(why, "TRINO_COORDINATOR_ID"));
	assert_true(read_feed(
		&r, "{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"coordinator_id\":\"b\","
		    "\"members\":[{\"id\":\"a\",\"ip\":\"10.77.0.1\",\"coordinator\":true},"
		    "{\"id\":\"b\",\"ip\":\"10.77.0.3\"}]}"));
	assert_string_equal(roster_coordinator(&r, NULL, why)->id, "b"); /* the feed's word */
	assert_true(read_feed(&r, "{\"self\":\"w1\",\"ip\":null,\"members\":[]}"));
	assert_null(roster_coordinator(&r, "c1", why)); /* it waits for its lease */
	assert_non_null(strstr(why, "not joined"));
	assert_true(read_feed(&r, "{\"self\":\"w1\",\"ip\":\"10.77.0.2\",\"members\":[]}"));
	assert_null(roster_coordinator(&r, NULL, why));
	assert_non_null(strstr(why, "coordinator=true"));
	roster_free(&r);
}

/* What makes no sense is left out or refused; what was known stays. */
static void odd_feeds(void **state)
{
	struct roster r = { 0 };
	char big[400];
	(void)state;
	assert_true(read_feed(&r, feed));
	assert_int_equal(r.members[2].http, 0); /* 99999 is no port */
	assert_false(read_feed(&r, "{}"));
	assert_false(read_feed(&r, "{\"members\":{}}"));
	assert_false(read_feed(&r, "[]"));
	assert_int_equal(r.count, 3);
	memset(big, 'a', sizeof(big));
	snprintf(big + 200, 200,
		 "\",\"ip\":\"10.0.0.1\"},{\"id\":\"ok\",\"ip\":\"10.0.0.2\"},7,null,"
		 "{\"id\":\"noip\"},{\"id\":5,\"ip\":\"10.0.0.3\"}]}");
	memcpy(big, "{\"members\":[{\"id\":\"", 19);
	assert_true(read_feed(&r, big));
	assert_int_equal(r.count, 1);
	assert_string_equal(r.members[0].id, "ok");
	roster_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes),	cmocka_unit_test(hosts),
		cmocka_unit_test(origins),	cmocka_unit_test(addresses),
		cmocka_unit_test(coordinators), cmocka_unit_test(odd_feeds),
	};
	return cmocka_run_group_tests_name("discovery-policy", tests, NULL, NULL);
}
