/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and bodies: what is taken, what is refused, and what the next hop gets. */
/* The tables are read line by line. */
/* clang-format off */
#include "discovery/http_head.h"

#include <http_parser.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

/* The status that a whole request head earns: 200 where it is taken, 0 where it is not whole. */
static unsigned judge(const void *bytes, size_t len, enum head_type type, struct http_head *h)
{
	struct head_scan s = { 0 };
	uint8_t *copy = malloc(len ? len : 1); /* exactly as large: ASan sees one byte too many */
	memcpy(copy, bytes, len);
	unsigned status = 0;
	switch (http_head_scan(&s, copy, len)) {
	case HEAD_MORE:
		break;
	case HEAD_BAD:
		status = 400;
		break;
	case HEAD_LARGE:
		status = 431;
		break;
	case HEAD_WHOLE:
		status = http_head_parse(type, copy, s.at, h) ? 200 : h->refusal;
		break;
	}
	free(copy);
	return status;
}

/* Numbered: a failure names its line. */
static const struct {
	unsigned number, status;
	const char *p;
	size_t len;
} requests[] = {
#define T(n, status, text) { n, status, text, sizeof(text) - 1 },
#define H "Host: localhost\r\n"
	T(1, 200, "GET / HTTP/1.1\r\n" H "\r\n")
		T(2, 400, "GET / HTTP/1.1\n" H "\r\n")		/* bare LF after the request line */
	T(3, 400, "GET / HTTP/1.1\r\nHost: localhost\n\r\n")	/* bare LF after a header */
	T(4, 400, "GET / HTTP/1.1\r\n" H "\n")			/* bare LF as the end */
	T(5, 400, "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n")	/* bare CR */
	T(6, 400, "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n")	/* obs-fold, space */
	T(7, 400, "GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n") /* obs-fold, tab */
	T(8, 400, "GET / HTTP/1.1\r\n H\r\n" H "\r\n")		/* space before the first header */
	T(9, 400, "GET / HTTP/1.1\r\n" H H "\r\n")		/* two Hosts, even alike */
	T(10, 400, "GET / HTTP/1.1\r\n\r\n")			/* none */
	T(11, 400, "GET / HTTP/1.0\r\n\r\n")			/* none in 1.0 */
	T(12, 400, "GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n")	/* NUL */
	T(13, 400,
	  "GET / HTTP/1.1\r\n" H "X: a\x01"
	  "b\r\n\r\n") T(14, 400,
			 "GET / HTTP/1.1\r\n" H
			 "X: a\x7f\r\n\r\n") T(15, 400,
					       "POST / HTTP/1.1\r\n" H
					       "Content-Length: 5\r\nTransfer-Encoding: "
					       "chunked\r\n\r\n") T(16, 400,
								    "POST / HTTP/1.1\r\n" H
								    "Transfer-Encoding: "
								    "chunked\r\nContent-Length: "
								    "5\r\n\r\n") T(17, 400,
										   "POST / "
										   "HTTP/1.1\r\n" H
										   "Content-Length:"
										   " 5\r\nContent-"
										   "Length: "
										   "6\r\n\r\n")
		T(18, 400,
		  "POST / HTTP/1.1\r\n" H
		  "Content-Length: 5\r\nContent-Length: 5\r\n\r\n") T(19, 400,
								      "POST / HTTP/1.1\r\n" H
								      "Content-Length: 5, "
								      "5\r\n\r\n") T(20, 400,
										     "POST / "
										     "HTTP/"
										     "1.1\r\n" H
										     "Content-"
										     "Length: "
										     "+5\r\n\r\n")
			T(21, 400, "POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n") T(
				22, 400,
				"POST / HTTP/1.1\r\n" H
				"Content-Length: 0x5\r\n\r\n") T(23, 400,
								 "POST / HTTP/1.1\r\n" H
								 "Content-Length: 5 6\r\n\r\n")
				T(24, 400, "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n") T(
					25, 400,
					"POST / HTTP/1.1\r\n" H
					"Content-Length: 18446744073709551617\r\n\r\n") T(26, 501,
											  "POST / "
											  "HTTP/"
											  "1."
											  "1\r\n" H
											  "Transfer"
											  "-Encodin"
											  "g: "
											  "gzip, "
											  "chunked"
											  "\r\n\r"
											  "\n")
					T(27, 501,
					  "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, "
								  "identity\r\n\r\n") T(28, 501,
											"POST / "
											"HTTP/"
											"1.1\r\n" H
											"Transfer-"
											"Encoding: "
											"xchunked\r"
											"\n\r\n")
						T(29, 501,
						  "POST / HTTP/1.1\r\n" H
						  "Transfer-Encoding: "
						  "chunked\r\nTransfer-Encoding: chunked\r\n\r\n")
							T(
								30, 400,
								"POST / HTTP/1.1\r\n" H
								"Transfer-Encoding : "
								"chunked\r\n\r\n") /* space before : */
	T(31, 400, "POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\n") T(
		32, 400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n")
		T(33, 200, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n") T(
			34, 200, "POST / HTTP/1.1\r\n" H "Content-Length: 5 \r\n\r\n")
			T(35, 400, "GET / HTTP/1.1\r\n" H "nocolon\r\n\r\n") T(
				36, 400, "GET / HTTP/1.1\r\n" H ": empty\r\n\r\n")
				T(37, 400, "GET / HTTP/1.1\r\n" H "a b: c\r\n\r\n") T(
					38, 505, "GET / HTTP/2.0\r\n" H "\r\n")
					T(39, 505, "GET / HTTP/1.2\r\n" H "\r\n") T(
						40, 400, "GET / http/1.1\r\n" H "\r\n")
						T(41, 400, "GET /\r\n" H "\r\n") /* HTTP/0.9 */
	T(42, 400, "GET / x HTTP/1.1\r\n" H "\r\n") T(43, 400, "GET  / HTTP/1.1\r\n" H "\r\n")
		T(44, 400, "GET /\x80 HTTP/1.1\r\n" H "\r\n") T(45, 400,
								"GET x HTTP/1.1\r\n" H "\r\n")
			T(46, 200, "OPTIONS * HTTP/1.1\r\n" H "\r\n")
				T(47, 200, "GET http://localhost/v1/info HTTP/1.1\r\n" H "\r\n")
					T(48, 501, "FROB / HTTP/1.1\r\n" H "\r\n")
						T(49, 0, "GET / HTTP/1.1\r\n" H) /* not whole */
	T(50, 400, "GET / HTTP/1.1\r\n" H "X-Caf\xc3\xa9: 1\r\n\r\n")
		T(51, 400, "\r\nGET / HTTP/1.1\r\n" H "\r\n") /* the caller skips empty lines */
	T(52, 200,
	  "GET / HTTP/1.1\r\n" H "X: caf\xc3\xa9\r\n\r\n") /* bytes beyond ASCII in a value */
	T(53, 400,
	  "GET / HTTP/1.1\r\n" H
	  "Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n\r\n") /* 17 names */
	T(54, 200,
	  "GET / HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
		T(55, 400, "GET https://localhost/ HTTP/1.1\r\n" H "\r\n")
			T(56, 400, "CONNECT localhost:80 HTTP/1.1\r\n" H "\r\n")
#undef T
};

static void heads_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct http_head h;
		unsigned want = requests[i].status;
		unsigned got = judge(requests[i].p, requests[i].len, HEAD_REQUEST, &h);
		if (got != want)
			fail_msg("case %u: %u instead of %u", requests[i].number, got, want);
	}
}

/* A head that arrives byte by byte is judged the same, and as early as the bad byte is there. */
static void arrival_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct head_scan whole = { 0 }, bits = { 0 };
		const uint8_t *p = (const uint8_t *)requests[i].p;
		enum head_found at_once = http_head_scan(&whole, p, requests[i].len),
				found = HEAD_MORE;
		for (size_t n = 0; n <= requests[i].len && found == HEAD_MORE; n++)
			found = http_head_scan(&bits, p, n);
		assert_int_equal(found, at_once);
		assert_int_equal(bits.at, whole.at);
	}
}

static void large_heads(void **state)
{
	static const char start[] = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
	(void)state;
	for (size_t over = 0; over < 2; over++) {
		size_t len = HEAD_MAX + over;
		char *p = malloc(len);
		memset(p, 'a', len);
		memcpy(p, start, sizeof(start) - 1);
		memcpy(p + len - 4, "\r\n\r\n", 4);
		struct http_head h;
		assert_int_equal(judge(p, len, HEAD_REQUEST, &h), over ? 431 : 200);
		free(p);
	}
}

static void responses_are_framed(void **state)
{
	static const struct {
		const char *text;
		bool head;
		unsigned status;
		enum body_kind kind;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, 200, BODY_LENGTH },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, 200, BODY_NONE },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, 200,
		  BODY_CHUNKED },
		{ "HTTP/1.1 200 OK\r\n\r\n", false, 200, BODY_UNTIL_CLOSE },
		{ "HTTP/1.1 204 No Content\r\n\r\n", false, 204, BODY_NONE },
		{ "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false, 304, BODY_NONE },
		{ "HTTP/1.1 100 Continue\r\n\r\n", false, 100, BODY_NONE },
		{ "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, 200, BODY_LENGTH },
		{ "HTTP/1.0 200 OK\r\n\r\n", false, 200, BODY_UNTIL_CLOSE },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		  false, 0, BODY_NONE },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", false, 0,
		  BODY_NONE },
		{ "HTTP/3.1 200 OK\r\n\r\n", false, 0, BODY_NONE },
		{ "ICY 200 OK\r\n\r\n", false, 0, BODY_NONE },
		{ "HTTP/1.1 2000 OK\r\n\r\n", false, 0, BODY_NONE },
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_head h;
		unsigned got = judge(cases[i].text, strlen(cases[i].text), HEAD_RESPONSE, &h);
		if ((got == 200) != (cases[i].status != 0))
			fail_msg("case %zu: %u", i, got);
		if (got != 200)
			continue;
		assert_int_equal(h.status, cases[i].status);
		assert_int_equal(http_response_body(&h, cases[i].head).kind, cases[i].kind);
	}
}

static void check_rewrite(enum head_type type, const char *in, bool close, const char *want)
{
	struct http_head h;
	struct buf out = { 0 };
	assert_true(http_head_parse(type, (const uint8_t *)in, strlen(in), &h));
	assert_true(http_head_rewrite((const uint8_t *)in, strlen(in), &h, close, &out));
	assert_int_equal(out.len, strlen(want));
	assert_memory_equal(buf_bytes(&out), want, out.len);
	buf_free(&out);
}

static void heads_are_rewritten(void **state)
{
	(void)state;
	/* nothing of this hop: not a byte changes, odd case, spaces and repeats kept */
	static const char plain[] =
		"PUT /v1/announcement/w1?x=%20 HTTP/1.1\r\nhOST:  localhost:8080 \r\n"
		"X-Trino-Internal-Bearer: a.b.c\r\nAccept: a\r\nAccept: b\r\n"
		"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
	check_rewrite(HEAD_REQUEST, plain, false, plain);
	check_rewrite(HEAD_REQUEST,
		      "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
		      "Keep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nX-End: 2\r\n\r\n",
		      false, "GET / HTTP/1.1\r\nHost: h\r\nX-End: 2\r\n\r\n");
	/* naming what frames the message takes nothing away */
	check_rewrite(HEAD_REQUEST,
		      "POST / HTTP/1.1\r\nHost: h\r\nConnection: host, content-length\r\n"
		      "Content-Length: 2\r\n\r\n",
		      false, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
	check_rewrite(HEAD_REQUEST, "GET http://h:80/x?y HTTP/1.1\r\nHost: h\r\n\r\n", false,
		      "GET /x?y HTTP/1.1\r\nHost: h\r\n\r\n");
	check_rewrite(HEAD_RESPONSE, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nA: b\r\n\r\n",
		      true, "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n");
}

/* The chunk reader on `text` split at every place: 1 done, 0 wants more, -1 bad. */
static int chunks(const char *text, size_t len, size_t split, size_t *taken)
{
	struct http_body b = http_body_of(BODY_CHUNKED, 0);
	const uint8_t *p = (const uint8_t *)text;
	*taken = http_body_take(&b, p, split);
	*taken += http_body_take(&b, p + *taken, len - *taken);
	return b.bad ? -1 : b.done;
}

static void chunked_bodies(void **state)
{
	static const struct {
		unsigned number;
		int want;
		const char *p;
		size_t len, taken;
	} cases[] = {
#define T(n, want, text, rest) { n, want, text rest, sizeof(text rest) - 1, sizeof(text) - 1 },
		T(1, 1, "0\r\n\r\n", "") T(2, 1, "5\r\nhello\r\n0\r\n\r\n", "GET / HTTP/1.1\r\n") T(
			3, 1, "a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n",
			"x") T(4, 1, "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n",
			       "") T(5, 1, "0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
				     "") T(6, 0, "5\r\nhel", "") T(7, 0, "5\r\nhello\r\n0\r\n", "")
#undef T
#define T(n, text) { n, -1, text, sizeof(text) - 1, 0 },
			T(10, "+5\r\nhello\r\n0\r\n\r\n") T(11, "-5\r\nhello\r\n0\r\n\r\n") T(
				12, "0x5\r\nhello\r\n0\r\n\r\n") T(13, " 5\r\nhello\r\n0\r\n\r\n")
				T(14, "5 \r\nhello\r\n0\r\n\r\n") T(15, "5\nhello\r\n0\r\n\r\n") T(
					16, "5\r\nhello\n0\r\n\r\n") T(17,
								       "5\r\nhelloX\r\n0\r\n\r\n")
					T(18, "5\rXhello\r\n0\r\n\r\n") T(19,
									  "\r\nhello\r\n0\r\n\r\n")
						T(20, "10000000000000005\r\nhello\r\n0\r\n\r\n") T(
							21, "5;a\nb\r\nhello\r\n0\r\n\r\n")
							T(22, "0\r\n X: folded\r\n\r\n") T(
								23, "0\r\nX: 1\n\r\n") T(24,
											 "0\r\n\rX")
								T(25, "5,\r\nhello\r\n0\r\n\r\n") T(
									26, "0\r\nX: a\0b\r\n\r\n")
#undef T
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t split = 0; split <= cases[i].len; split++) {
			size_t taken;
			int got = chunks(cases[i].p, cases[i].len, split, &taken);
			if (got != cases[i].want || (got >= 0 && taken != cases[i].taken))
				fail_msg("case %u split at %zu: %d, %zu taken", cases[i].number,
					 split, got, taken);
		}
	}
}

static int count_body(http_parser *hp, const char *at, size_t len)
{
	(void)at;
	*(size_t *)hp->data += len;
	return 0;
}

/* libhttp-parser is the oracle for chunked bodies that are right. */
static void chunks_agree_with_the_oracle(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	(void)state;
	srand(seed);
	for (unsigned round = 0; round < 300; round++) {
		char text[4096];
		size_t at = 0, total = 0, body = 0;
		while (at < 2500 && rand() % 8) {
			size_t n = (size_t)(rand() % 200 + 1);
			at += (size_t)sprintf(text + at, rand() % 2 ? "%zx\r\n" : "%04zX;q\r\n", n);
			memset(text + at, "\r\n0a"[rand() % 4], n);
			memcpy(text + at + n, "\r\n", 2);
			at += n + 2;
			total += n;
		}
		at += (size_t)sprintf(text + at, "0\r\n%s\r\n", rand() % 2 ? "T: 1\r\n" : "");
		struct http_body b = http_body_of(BODY_CHUNKED, 0);
		http_parser hp;
		http_parser_settings set;
		http_parser_settings_init(&set);
		set.on_body = count_body;
		http_parser_init(&hp, HTTP_RESPONSE);
		hp.data = &body;
		static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
		http_parser_execute(&hp, &set, head, sizeof(head) - 1);
		size_t theirs = http_parser_execute(&hp, &set, text, at);
		size_t ours = http_body_take(&b, (const uint8_t *)text, at);
		if (!b.done || ours != at || theirs != at || body != total)
			fail_msg("seed %u round %u", seed, round);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_are_judged),
		cmocka_unit_test(arrival_changes_nothing),
		cmocka_unit_test(large_heads),
		cmocka_unit_test(responses_are_framed),
		cmocka_unit_test(heads_are_rewritten),
		cmocka_unit_test(chunked_bodies),
		cmocka_unit_test(chunks_agree_with_the_oracle),
	};
	return cmocka_run_group_tests_name("discovery-http", tests, NULL, NULL);
}
