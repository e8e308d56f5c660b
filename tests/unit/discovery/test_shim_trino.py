#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who is served what by whom: our own Trino, the coordinator's, the shim itself."""
import json
import os
import select
import socket
import subprocess
import threading
import time

import shim_lab
from shim_lab import (H2_PREFACE, MIB, SHIM, FakeTrino, ShimTest, ended, drop, free_port, read_head,
                      shim_raw, wait_for)


class TrinoTest(ShimTest):
    # -- where requests go ------------------------------------------------------------------

    def test_routes(self):
        shim = self.cluster()
        self.assertEqual(json.loads(shim.get("/v1/info")[1])["who"], "w1")
        self.assertEqual(shim.get("/v1/info/state")[1], "w1 GET /v1/info/state")
        self.assertEqual(json.loads(shim.get("/v1/status")[1])["nodeId"], "w1")
        self.assertEqual(shim.get("/v1/task/x/results/0/0")[1], "w1 GET /v1/task/x/results/0/0")
        self.assertEqual(shim.get("/v1/service/trino/general")[1],
                         "c1 GET /v1/service/trino/general")
        self.assertEqual(shim.request("POST", "/v1/statement", "SELECT 1")[1],
                         "c1 POST /v1/statement")
        self.assertEqual(self.coordinator.seen[-1][3], b"SELECT 1")
        self.assertEqual(shim.get("/ui/x?y=1")[1], "c1 GET /ui/x?y=1")

    def test_airlift_and_announce(self):
        shim = self.cluster()
        bearer = {"X-Trino-Internal-Bearer": "a.b.c", "User-Agent": "w1",
                  "Content-Type": "application/json; charset=utf-8"}
        body = '{"environment":"test","nodeId":"w1"}'
        self.assertEqual(shim.request("PUT", "/v1/announcement/w1", body, bearer)[:2], (202, ""))
        method, target, headers, got = self.coordinator.seen[-1]
        self.assertEqual((method, target, got), ("PUT", "/v1/announcement/w1", body.encode()))
        self.assertEqual(dict(headers)["X-Trino-Internal-Bearer"], "a.b.c")
        self.assertEqual(dict(headers)["Host"], "127.0.0.1:%d" % shim.proxy)
        self.assertFalse([k for k, _ in headers if k.lower().startswith(("x-forwarded", "via"))])
        self.assertEqual(shim.request("DELETE", "/v1/announcement/w1")[:2], (204, ""))
        self.assertEqual(shim.request("POST", "/v1/announce", "http://127.0.0.2:%d" % shim.trino,
                                      {"Content-Type": "text/plain"})[:2], (204, ""))
        self.assertEqual(shim.get("/v1/announce")[0], 204)

    def test_listing_and_own_pages(self):
        shim = self.cluster()
        shim.status = {"members": [1, 2, 3], "text": "ok"}
        wait_for(lambda: shim.told and shim.told[-1]["up"])
        nodes = json.loads(shim.get("/v1/announcement")[1])
        self.assertEqual([n["id"] for n in nodes], ["c1", "w1"])
        self.assertEqual(nodes[0]["internalUri"], "http://127.0.0.3:%d" % shim.trino)
        self.assertEqual(nodes[0]["nodeVersion"], {"version": "476"})
        self.assertTrue(nodes[0]["coordinator"])
        self.assertEqual(json.loads(shim.get("/warren/status")[1]), shim.status)
        self.assertEqual(shim.get("/warren/health")[:2], (200, "ok\n"))
        page = shim.get("/warren/")[1]
        self.assertIn("<td>c1</td>", page)
        self.assertNotIn("<script", page)
        metrics = shim.get("/warren/metrics")[1]
        self.assertIn("warren_members 2\n", metrics)
        self.assertIn('warren_shim_requests_total{route="own",class="2xx"}', metrics)
        self.assertIn("warren_trino_up 1\n", metrics)
        self.assertNotIn("warren_gateway_", metrics)  # this gateway has said nothing of it
        self.assertEqual(shim.request("HEAD", "/warren/")[1], "")
        self.assertEqual(shim.get("/warren/nothing")[0], 404)

    def test_markup_in_names(self):
        shim = self.start()
        shim.roster(shim.member("<b>x", "127.0.0.3", version="<script>alert(1)</script>"))
        wait_for(lambda: shim.get("/warren/health")[0] == 200)
        page = shim.get("/warren/")[1]
        self.assertIn("&lt;b&gt;x", page)
        self.assertNotIn("<script", page)

    def test_a_gateway_that_carries_nothing(self):
        shim = self.start()
        shim.usual()
        shim.roster(shim.member("w1", "127.0.0.2"), down="interface warren0 was set down: nothing is carried")
        wait_for(lambda: shim.get("/warren/health")[:2] == (503, "interface warren0 was set down: nothing is carried\n"))
        shim.roster(shim.member("w1", "127.0.0.2"))
        wait_for(lambda: shim.get("/warren/health")[:2] == (200, "ok\n"))

    def test_status_of_a_silent_gateway(self):
        shim = self.start()
        shim.status = None
        start = time.monotonic()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(shim.get("/warren/status")[0]))
                   for _ in range(5)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(answers, [503] * 5)
        self.assertLess(time.monotonic() - start, 3.5)
        self.assertEqual(shim.wants, 1)  # they shared one question
        shim.status = {"late": 1}
        self.assertEqual(shim.get("/warren/status")[0], 200)

    def test_metrics_of_the_gateway(self):
        """Each time what it says then; without an answer the others alone."""
        shim = self.start()
        for seconds, share in ((12.5, 0.25), (80, 1)):
            shim.status = {"cpu": {"seconds": seconds, "share": 0.5, "share_minute": share}}
            metrics = shim.get("/warren/metrics")[1]
            self.assertIn("warren_gateway_cpu_seconds_total %.6f\n" % seconds, metrics)
            self.assertIn("warren_gateway_cpu_share %.6f\n" % share, metrics)
        shim.status = None
        status, metrics, _ = shim.get("/warren/metrics")
        self.assertEqual(status, 200)
        self.assertIn("warren_members 0\n", metrics)
        self.assertNotIn("warren_gateway_", metrics)
        shim.status = {"cpu": "junk"}
        self.assertNotIn("warren_gateway_", shim.get("/warren/metrics")[1])
        shim.feed.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: shim.get("/warren/health")[0] == 503)
        self.assertEqual(shim.get("/warren/metrics")[0], 200)

    def test_facts_are_told(self):
        shim = self.start()
        wait_for(lambda: shim.told)
        self.assertFalse(shim.told[0]["up"])
        shim.usual()
        local = self.fake("127.0.0.2", "w1", coordinator=True)
        got = wait_for(lambda: [t for t in shim.told if t["up"] and t["coordinator"]])
        self.assertEqual(got[0], {"http": shim.trino, "https": 0, "coordinator": True,
                                  "environment": "test", "version": "476", "up": True})
        self.assertTrue(any("Trino on this node is up at 127.0.0.2" in x for x in shim.log))
        local.close()
        wait_for(lambda: not shim.told[-1]["up"])

    # -- who may ask ------------------------------------------------------------------------

    def test_hosts_and_origins(self):
        shim = self.cluster()
        for host, status in (("localhost:1", 200), ("w1", 200), ("127.0.0.2:8080", 200),
                             ("[::1]:8080", 200), ("evil.example", 421), ("127.0.0.3", 421)):
            self.assertEqual(shim.get("/v1/query", headers={"Host": host})[0], status, host)
        foreign = {"Origin": "http://evil.example"}
        self.assertEqual(shim.request("POST", "/v1/statement", "x", foreign)[0], 403)
        self.assertEqual(shim.request("GET", "/v1/query", None, foreign)[0], 200)
        self.assertEqual(shim.request("POST", "/v1/statement", "x",
                                      {"Origin": "http://localhost:8080"})[0], 200)

    def test_bad_heads(self):
        shim = self.cluster()
        host = b"Host: localhost\r\n"
        for head, status in (
                (b"GET / HTTP/1.1\nHost: localhost\n\n", b"400"),
                (b"GET / HTTP/1.1\r\n" + host + host + b"\r\n", b"400"),
                (b"GET / HTTP/1.1\r\n\r\n", b"400"),
                (b"GET / HTTP/1.1\r\n" + host + b"X: a\r\n b\r\n\r\n", b"400"),
                (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 3\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
                (b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * (2 * MIB) + b"\r\n\r\n", b"431")):
            s = shim.connect()
            try:
                s.sendall(head)
            except OSError:
                pass
            got, _ = read_head(s)
            self.assertEqual(got.split(b" ")[1], status)
            self.assertIn(b"Connection: close", got)
            s.close()
        self.assertEqual(self.coordinator.seen, [])

    def test_large_head_passes(self):
        shim = self.cluster()
        value = "v" * (1900 * 1024)
        self.assertEqual(shim_raw(shim, b"GET /big HTTP/1.1\r\nHost: localhost\r\nX-P: " +
                                  value.encode() + b"\r\nConnection: close\r\n\r\n")[0], 200)
        self.assertEqual(dict(self.coordinator.seen[-1][2])["X-P"], value)

        def big(sock, method, target, headers, rest):
            return FakeTrino.reply(sock, rest, 200, "ok", extra="X-P: %s\r\n" % value)
        self.coordinator.handlers["/bigger"] = big
        status, head, _ = shim_raw(shim, b"GET /bigger HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Connection: close\r\n\r\n")
        self.assertEqual(status, 200)
        self.assertIn(value.encode(), head)

    # -- the local Trino down ---------------------------------------------------------------

    def test_local_trino_down(self):
        shim = self.start()
        self.coordinator = self.fake("127.0.0.3", "c1", coordinator=True)
        shim.usual()
        status, text, headers = shim.get("/v1/info")
        info = json.loads(text)
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        self.assertEqual(info, {"nodeVersion": {"version": "unknown"}, "environment": "test",
                                "coordinator": False, "starting": True, "uptime": "0.00s"})
        for path in ("/v1/status", "/v1/info/state", "/v1/task/x"):
            status, text, _ = shim.get(path)
            self.assertEqual(status, 503)
            self.assertIn("127.0.0.2:%d" % shim.trino, text)
            self.assertIn("http-server.http.port", text)
        status, text, _ = shim.request("PUT", "/v1/announcement/w1", "{}")
        self.assertEqual(status, 503)
        self.assertIn("/v1/status", text)
        self.assertEqual(shim.request("DELETE", "/v1/announcement/w1")[0], 204)
        self.assertEqual(shim.get("/v1/query")[0], 200)

    def test_local_trino_on_loopback(self):
        shim = self.start()
        self.coordinator = self.fake("127.0.0.3", "c1", coordinator=True)
        self.fake("127.0.0.1", "w1", address="127.0.0.2")
        shim.usual()
        self.assertEqual(json.loads(shim.get("/v1/info")[1])["who"], "w1")
        self.assertEqual(shim.request("PUT", "/v1/announcement/w1", "{}")[0], 202)

    def test_announcement_asks_trino_at_once(self):
        """Trino comes up between two questions: its first announcement passes."""
        shim = self.start()
        self.coordinator = self.fake("127.0.0.3", "c1", coordinator=True)
        shim.usual()
        wait_for(lambda: shim.told)
        self.local = self.fake("127.0.0.2", "w1")
        start = time.monotonic()
        self.assertEqual(shim.request("PUT", "/v1/announcement/w1", "{}")[0], 202)
        self.assertLess(time.monotonic() - start, 0.9)

    def test_trino_that_hangs(self):
        shim = self.start()
        self.coordinator = self.fake("127.0.0.3", "c1", coordinator=True)
        self.local = self.fake("127.0.0.2", "w1")
        self.local.paused.set()
        shim.usual()
        start = time.monotonic()
        self.assertEqual(shim.request("POST", "/v1/announce", "http://127.0.0.2:1")[0], 503)
        self.assertLess(time.monotonic() - start, 2.0)

    # -- a wrong address --------------------------------------------------------------------

    def test_wrong_address_is_held_back(self):
        shim = self.start()
        self.local = self.fake("127.0.0.2", "w1", address="localhost")
        self.coordinator = self.fake("127.0.0.3", "c1", coordinator=True)
        shim.usual()
        for method, path in (("PUT", "/v1/announcement/w1"), ("POST", "/v1/announce"),
                             ("PUT", "/v1/%61nnouncement/w1")):
            status, text, _ = shim.request(method, path, "x")
            self.assertEqual(status, 409)
            self.assertIn("node.internal-address=${ENV:WARREN_IP}", text)
            self.assertIn("'localhost'", text)
            self.assertIn("127.0.0.2", text)
        self.assertEqual(self.coordinator.seen, [])
        self.assertEqual(shim.request("DELETE", "/v1/announcement/w1")[0], 204)
        self.assertEqual(shim.get("/v1/query")[0], 200)
        for preface in (H2_PREFACE, b"\x16\x03\x01\x00\x05hello"):
            s = shim.connect()
            s.sendall(preface)
            self.assertEqual(ended(s), b"")
            s.close()
        self.assertEqual(self.coordinator.raw, [])
        metrics = shim.get("/warren/metrics")[1]
        self.assertIn("warren_announcements_held_back_total 5\n", metrics)
        self.assertEqual(len([x for x in shim.log if "node.internal-address" in x and
                              "closed a connection" not in x]), 1)
        # put right, as after a new start: the next announcement passes, without a wait for 5 s
        self.local.address = "127.0.0.2"
        wait_for(lambda: shim.request("PUT", "/v1/announcement/w1", "x")[0] == 202, 2.5)

    # -- the coordinator --------------------------------------------------------------------

    def test_no_coordinator(self):
        shim = self.start()
        status, text, _ = shim.get("/v1/query")
        self.assertEqual(status, 503)
        self.assertIn("not joined", text)
        self.assertEqual(shim.get("/warren/health")[0], 503)
        w1, w2 = shim.member("w1", "127.0.0.2"), shim.member("w2", "127.0.0.4")
        shim.roster(w1, w2)
        wait_for(lambda: "coordinator=true" in shim.get("/v1/query")[1])
        self.assertIn("w1, w2", shim.get("/v1/query")[1])
        w1["coordinator"] = w2["coordinator"] = True
        shim.roster(w1, w2)
        status, text, _ = wait_for(lambda: (lambda r: r if "w1, w2;" in r[1] else None)(
            shim.get("/v1/query")))
        self.assertEqual(status, 503)
        self.assertIn("TRINO_COORDINATOR_ID", text)

    def test_named_coordinator(self):
        shim = self.start(coordinator="c9")
        self.coordinator = self.fake("127.0.0.3", "c9")
        shim.usual()
        status, text, _ = shim.get("/v1/query")
        self.assertEqual(status, 503)
        self.assertIn("'c9' is not a member", text)
        c9 = shim.member("c9", "127.0.0.3", online=False)
        shim.roster(shim.member("w1", "127.0.0.2"), c9)
        wait_for(lambda: "offline" in shim.get("/v1/query")[1])
        self.assertIn("<td>offline</td>", shim.get("/warren/")[1])
        c9["online"] = True
        shim.roster(shim.member("w1", "127.0.0.2"), c9)
        wait_for(lambda: shim.get("/v1/query")[0] == 200)
        self.assertIn("warren_members_online 2\n", shim.get("/warren/metrics")[1])

    def test_nobody_knows_who_is_online(self):
        """While no rendezvous answers: that shows, and links work on."""
        shim = self.start()
        self.coordinator = self.fake("127.0.0.3", "c1")
        shim.usual(online=False)
        self.assertIn("offline", shim.get("/v1/query")[1])
        shim.usual(online=None)
        wait_for(lambda: shim.get("/v1/query")[0] == 200)
        self.assertIn("<td>?</td>", shim.get("/warren/")[1])
        self.assertIn("warren_members_online 1\n", shim.get("/warren/metrics")[1])
        self.assertEqual([m["online"] for m in json.loads(shim.get("/v1/announcement")[1])], [None, True])

    def test_unreachable_coordinator(self):
        shim = self.start()
        shim.usual()
        start = time.monotonic()
        status, text, _ = shim.get("/v1/query")
        self.assertEqual(status, 503)
        self.assertIn("127.0.0.3:%d" % shim.trino, text)
        self.assertIn("refused", text)
        self.assertLess(time.monotonic() - start, 1)
        # one whose backlog is full: it neither answers nor refuses
        full = socket.socket()
        full.bind(("127.0.0.4", shim.trino))
        full.listen(0)
        fillers = []
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.4", shim.trino))
            fillers.append(s)
        shim.roster(shim.member("c1", "127.0.0.4", coordinator=True))
        time.sleep(0.3)
        start = time.monotonic()
        status, text, _ = shim.get("/v1/query")
        self.assertEqual(status, 503)
        self.assertIn("no answer within 2.5 s", text)
        self.assertLess(time.monotonic() - start, 3)
        [s.close() for s in fillers]
        full.close()

    def test_we_are_the_coordinator(self):
        shim = self.start(worker="c1")
        local = self.fake("127.0.0.1", "c1", address="127.0.0.2", coordinator=True)
        shim.roster(shim.member("c1", "127.0.0.2", coordinator=True))
        wait_for(lambda: shim.get("/v1/query")[0] == 200)
        self.assertEqual(shim.get("/v1/query")[1], "c1 GET /v1/query")
        self.assertEqual(shim.request("PUT", "/v1/announcement/c1", "{}")[0], 202)
        local.close()
        status, text, _ = wait_for(lambda: (lambda r: r if r[0] == 503 else None)(
            shim.get("/v1/query")))
        self.assertIn("Trino on this node does not answer", text)

    def test_coordinator_moves(self):
        shim = self.cluster()
        second = self.fake("127.0.0.4", "c2", coordinator=True)
        idle, spliced = shim.connect(), shim.connect()
        idle.sendall(b"GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_head(idle)
        spliced.sendall(H2_PREFACE)
        self.assertEqual(spliced.recv(100), H2_PREFACE)
        old = [c for c in self.coordinator.connections]
        # offline is no change: what is open stays
        shim.roster(shim.member("c1", "127.0.0.3", coordinator=True, online=False),
                    shim.member("w1", "127.0.0.2"))
        wait_for(lambda: shim.get("/v1/query")[0] == 503)
        spliced.sendall(b"still")
        self.assertEqual(spliced.recv(100), b"still")
        shim.roster(shim.member("c2", "127.0.0.4", coordinator=True), shim.member("w1", "127.0.0.2"))
        self.assertEqual(ended(spliced), b"")
        wait_for(lambda: all(c.fileno() < 0 for c in old if c in self.coordinator.connections))
        idle.sendall(b"GET /two HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, rest = read_head(idle)
        self.assertIn(b"200", head)
        wait_for(lambda: second.seen and second.seen[-1][1] == "/two")
        self.assertTrue(any("the coordinator is c2" in x for x in shim.log))
        idle.close()
        spliced.close()

    # -- HTTP/2 and TLS ---------------------------------------------------------------------

    def test_h2c_splice(self):
        shim = self.cluster()
        before = shim.rss()
        s = shim.connect()
        for i in range(0, len(H2_PREFACE), 5):  # it may arrive in pieces
            s.sendall(H2_PREFACE[i:i + 5])
            time.sleep(0.01)
        got = b""
        while len(got) < len(H2_PREFACE):
            got += s.recv(100)
        self.assertEqual(got, H2_PREFACE)
        block = os.urandom(MIB)
        sender = threading.Thread(target=lambda: [s.sendall(block) for _ in range(20)])
        sender.start()
        got, want = 0, 20 * MIB
        while got < want:
            data = s.recv(262144)
            at = got % MIB
            self.assertEqual(data[:MIB - at], block[at:at + len(data)])
            got += len(data)
        sender.join()
        s.shutdown(socket.SHUT_WR)
        self.assertEqual(ended(s), b"")
        s.close()
        self.assert_grew_less(before, 4 * MIB)

    def test_tls_splice(self):
        shim = self.cluster()
        https = free_port()
        tls = self.fake("127.0.0.3", "c1-tls", port=https)
        hello = b"\x16\x03\x01\x00\x05hello"
        s = shim.connect()
        s.sendall(hello)  # no HTTPS port is known yet
        self.assertEqual(ended(s), b"")
        s.close()
        shim.usual(https=https)
        wait_for(lambda: self.tls_echo(shim, hello))
        self.assertEqual(tls.raw[-1], hello)

    @staticmethod
    def tls_echo(shim, hello):
        s = shim.connect()
        s.sendall(hello)
        try:
            return s.recv(100) == hello
        except OSError:
            return False
        finally:
            s.close()

    def test_splice_without_coordinator(self):
        shim = self.start()
        s = shim.connect()
        s.sendall(H2_PREFACE)
        self.assertEqual(ended(s), b"")
        s.close()

    # -- the feed ---------------------------------------------------------------------------

    def test_feed_in_pieces_and_junk(self):
        shim = self.start()
        line = json.dumps({"roster": {"self": "w1", "ip": "127.0.0.2", "members": [
            shim.member("w%d" % i, "127.0.%d.%d" % (i // 250, i % 250 + 1)) for i in range(2000)]}})
        data = line.encode() + b"\n" + json.dumps({"unknown": 1}).encode() + b"\n"
        for i in range(0, len(data), 70001):
            shim.feed.sendall(data[i:i + 70001])
        wait_for(lambda: "warren_members 2000\n" in shim.get("/warren/metrics")[1])
        shim.feed.sendall(b"this is no JSON\n")
        wait_for(lambda: shim.get("/warren/health")[0] == 503)

    def test_gateway_starts_again(self):
        shim = self.cluster()
        wait_for(lambda: shim.told and shim.told[-1]["up"])
        spliced = shim.connect()
        spliced.sendall(H2_PREFACE)
        self.assertEqual(spliced.recv(100), H2_PREFACE)
        shim.feed.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: shim.get("/warren/health")[0] == 503)
        self.assertEqual(shim.get("/warren/status")[0], 503)
        self.assertEqual(shim.get("/v1/query")[0], 200)  # what is known still serves
        shim.told.clear()
        shim.new_feed()
        wait_for(lambda: shim.told and shim.told[-1]["up"])  # the new one is told at once
        self.assertEqual(shim.get("/warren/health")[0], 200)
        self.assertEqual(json.loads(shim.get("/warren/status")[1]), {"ok": True})
        spliced.sendall(b"still")
        self.assertEqual(spliced.recv(100), b"still")
        spliced.close()

    def test_address_in_use(self):
        shim = self.start()
        ours, theirs = socket.socketpair()
        p = subprocess.run([SHIM, str(shim.proxy), "1", "0", "w1", "-", str(theirs.fileno()), "-1"],
                           pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, timeout=10)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"in use", p.stderr)
        ours.close()
        theirs.close()

    def test_too_many_clients(self):
        """The 1025th waits in the backlog, nothing spins, and it is served when one leaves."""
        shim = self.start()
        socks = [shim.connect() for _ in range(1024)]
        late = shim.connect()
        late.sendall(b"GET /warren/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        before = shim.cpu()
        poll = select.poll()
        poll.register(late, select.POLLIN)
        self.assertEqual(poll.poll(1000), [])
        self.assertLess(shim.cpu() - before, 0.3)
        socks.pop().close()
        head, _ = read_head(late)
        self.assertIn(b"200 OK", head)
        [s.close() for s in socks]
        late.close()


if __name__ == "__main__":
    shim_lab.main()
