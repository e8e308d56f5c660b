#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole shim between clients and fake Trinos, over real sockets on loopback addresses.

    client -> 127.0.0.1:PROXY [ shim of w1 ] -> 127.0.0.2:TRINO  w1's own Trino ("virtual IP")
                    |                        -> 127.0.0.1:TRINO  the same, where it is bound so
                    +- feed (socketpair) -+  -> 127.0.0.3:TRINO  the coordinator c1

Waits are for events with a deadline; the only pauses are those whose absence is the thing tested.
"""
import http.client
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

SHIM = sys.argv.pop(1) if len(sys.argv) > 1 else None
MIB = 1 << 20
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def free_port(hosts=("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")):
    """A port that is free on all the addresses that a test may use."""
    while True:
        held = []
        try:
            first = socket.socket()
            held.append(first)
            first.bind((hosts[0], 0))
            port = first.getsockname()[1]
            for host in hosts[1:]:
                s = socket.socket()
                held.append(s)
                s.bind((host, port))
            return port
        except OSError:
            continue
        finally:
            for s in held:
                s.close()


def wait_for(what, seconds=10.0, message="waited in vain"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(0.02)
    raise AssertionError(message)


def read_head(sock, data=b""):
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return None, data
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    return head, rest


class FakeTrino:
    """One thread a connection; `handler(sock, method, target, headers, rest)` answers, and returns
    what it has read beyond the request, or None to close."""

    def __init__(self, host, port, name, address=None, coordinator=False):
        self.name, self.host, self.port = name, host, port
        self.address = host if address is None else address
        self.coordinator = coordinator
        self.version = "476"
        self.seen = []  # (method, target, headers, body)
        self.connections = []
        self.raw = []
        self.paused = threading.Event()
        self.handlers = {}
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(512)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(sock)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for sock in self.connections:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def serve(self, sock):
        try:
            rest = sock.recv(65536)
            if rest[:3] == b"PRI" or rest[:1] == b"\x16":
                self.echo(sock, rest)
                return
            while rest is not None:
                head, rest = read_head(sock, rest)
                if head is None:
                    break
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ")
                headers = [tuple(x.split(": ", 1)) for x in lines[1:]]
                rest = self.answer(sock, method, target, headers, rest)
        except OSError:
            pass
        finally:
            sock.close()

    def echo(self, sock, data):
        self.raw.append(data[:24])
        while data:
            sock.sendall(data)
            data = sock.recv(65536)

    @staticmethod
    def body(sock, headers, rest):
        length = int(dict((k.lower(), v) for k, v in headers).get("content-length", 0))
        while len(rest) < length:
            more = sock.recv(65536)
            if not more:
                raise OSError("short body")
            rest += more
        return rest[:length], rest[length:]

    def answer(self, sock, method, target, headers, rest):
        path = target.split("?")[0]
        if path in self.handlers:
            return self.handlers[path](sock, method, target, headers, rest)
        body, rest = self.body(sock, headers, rest)
        if not any(k == "User-Agent" and v.startswith("warren") for k, v in headers):
            self.seen.append((method, target, headers, body))
        if path == "/v1/status":
            self.paused.wait(0) if not self.paused.is_set() else time.sleep(30)
            return self.reply(sock, rest, 200, json.dumps({
                "nodeId": self.name, "nodeVersion": {"version": self.version},
                "environment": "test", "coordinator": self.coordinator,
                "internalAddress": self.address, "externalAddress": self.address}), method)
        if path == "/v1/info":
            return self.reply(sock, rest, 200, json.dumps({
                "nodeVersion": {"version": self.version}, "environment": "test",
                "coordinator": self.coordinator, "starting": False, "who": self.name}), method)
        if path.startswith("/v1/announcement/"):
            status = {"PUT": 202, "DELETE": 204}.get(method, 200)
            return self.reply(sock, rest, status, "", method)
        if path == "/v1/announce":
            return self.reply(sock, rest, 204, "", method)
        return self.reply(sock, rest, 200, "%s %s %s" % (self.name, method, target), method)

    @staticmethod
    def reply(sock, rest, status, text, method="GET", extra=""):
        data = text.encode()
        head = "HTTP/1.1 %d X\r\n%s" % (status, extra)
        if status not in (204, 304):
            head += "Content-Length: %d\r\n" % len(data)
        sock.sendall(head.encode() + b"\r\n" + (b"" if method == "HEAD" or status in (204, 304)
                                                else data))
        return rest


class Shim:
    def __init__(self, coordinator="-", worker="w1", https=0):
        self.proxy = free_port()
        self.trino = free_port()
        self.worker = worker
        self.feed, theirs = socket.socketpair()
        self.told, self.status = [], {"ok": True}
        self.wants = 0
        self.log = []
        self.process = subprocess.Popen(
            [SHIM, str(self.proxy), str(self.trino), str(https), worker, coordinator,
             str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        theirs.close()
        threading.Thread(target=self.read_feed, daemon=True).start()
        threading.Thread(target=self.read_log, daemon=True).start()
        wait_for(lambda: any("listens on" in x for x in self.log), message="shim did not start")

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip())

    def read_feed(self):
        try:
            for line in self.feed.makefile():
                o = json.loads(line)
                if "trino" in o:
                    self.told.append(o["trino"])
                if o.get("want") == "status":
                    self.wants += 1
                    if self.status is not None:
                        self.say({"status": self.status})
        except (OSError, ValueError):
            pass

    def say(self, o):
        self.feed.sendall(json.dumps(o).encode() + b"\n")

    def roster(self, *members, ip="127.0.0.2", coordinator=None):
        self.say({"roster": {"self": self.worker, "ip": ip, "ip6": None,
                             "coordinator_id": coordinator, "members": list(members)}})

    def member(self, name, ip, **more):
        m = {"id": name, "ip": ip, "ip6": None, "http": self.trino, "https": 0,
             "coordinator": False, "environment": "test", "version": "476", "online": True,
             "link": "direct", "release": "0.1.0"}
        m.update(more)
        return m

    def usual(self, **coordinator):
        self.roster(self.member("c1", "127.0.0.3", coordinator=True, **coordinator),
                    self.member("w1", "127.0.0.2", link="self"))
        wait_for(lambda: self.get("/warren/health")[0] == 200)

    def connect(self, timeout=20):
        s = socket.create_connection(("127.0.0.1", self.proxy), timeout=timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def request(self, method, path, body=None, headers=None, timeout=20):
        c = http.client.HTTPConnection("127.0.0.1", self.proxy, timeout=timeout)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.read().decode(), dict((k.lower(), v) for k, v in r.getheaders())
        finally:
            c.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def rss(self, key="VmHWM"):
        with open("/proc/%d/status" % self.process.pid) as f:
            for line in f:
                if line.startswith(key):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu(self):
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Ends the feed: the shim must end by itself, and clean (a leak fails an ASan build)."""
        try:
            self.feed.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        code = self.process.wait(10)
        self.feed.close()
        self.process.stderr.close()
        return code


class ShimTest(unittest.TestCase):
    def start(self, **more):
        self.shim = Shim(**more)
        self.addCleanup(self.stopped)
        return self.shim

    def stopped(self):
        code = self.shim.stop()
        if code != 0:
            print("\n".join(self.shim.log), file=sys.stderr)
        self.assertEqual(code, 0)

    def fake(self, host, name, **more):
        t = FakeTrino(host, more.pop("port", self.shim.trino), name, **more)
        self.addCleanup(t.close)
        return t

    def cluster(self, **more):
        """w1 (us), its Trino at 127.0.0.2, the coordinator c1 at 127.0.0.3."""
        shim = self.start(**more)
        self.local = self.fake("127.0.0.2", "w1")
        self.coordinator = self.fake("127.0.0.3", "c1", coordinator=True)
        shim.usual()
        return shim

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
        self.assertEqual(shim.request("HEAD", "/warren/")[1], "")
        self.assertEqual(shim.get("/warren/nothing")[0], 404)

    def test_markup_in_names(self):
        shim = self.start()
        shim.roster(shim.member("<b>x", "127.0.0.3", version="<script>alert(1)</script>"))
        wait_for(lambda: shim.get("/warren/health")[0] == 200)
        page = shim.get("/warren/")[1]
        self.assertIn("&lt;b&gt;x", page)
        self.assertNotIn("<script", page)

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

    # -- what a proxy must preserve ---------------------------------------------------------

    def test_head_204_304(self):
        shim = self.cluster()
        self.coordinator.handlers["/none"] = \
            lambda sock, m, t, h, rest: FakeTrino.reply(sock, rest, 304, "")
        s = shim.connect()
        for method, path, status in (("HEAD", "/v1/query", b"200"), ("GET", "/none", b"304"),
                                     ("GET", "/v1/announce", b"204"), ("HEAD", "/v1/info", b"200"),
                                     ("GET", "/warren/health", b"200")):
            s.sendall(("%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (method, path)).encode())
            head, rest = read_head(s)
            self.assertEqual(head.split(b" ")[1], status)
            if path != "/warren/health":
                self.assertEqual(rest, b"")
        s.close()

    def test_keep_alive_and_pipelining(self):
        shim = self.cluster()
        before = len(self.coordinator.connections)
        s = shim.connect()
        data = b""
        for i in range(20):
            s.sendall(b"GET /a%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % i)
            head, data = read_head(s, data)
            data = drop(s, data, len("c1 GET /a%d" % i))
        self.assertEqual(len(self.coordinator.connections) - before, 1)
        s.sendall(b"".join(b"POST /p%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab"
                           % i for i in range(50)))
        for i in range(50):
            head, data = read_head(s, data)
            while len(data) < len("c1 POST /p%d" % i):
                data += s.recv(65536)
            self.assertTrue(data.startswith(b"c1 POST /p%d" % i))
            data = data[len("c1 POST /p%d" % i):]
        s.close()

    def test_hop_headers(self):
        shim = self.cluster()
        shim_raw(shim, b"GET /h HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, "
                 b"close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\nTE: trailers\r\nX-Odd:  a \r\n\r\n")
        self.assertEqual([k for k, _ in self.coordinator.seen[-1][2]], ["Host", "X-Odd"])

    def test_expect_continue(self):
        shim = self.cluster()

        def handler(sock, method, target, headers, rest):
            assert rest == b"" and dict(headers)["Expect"] == "100-continue"
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body, rest = FakeTrino.body(sock, headers, rest)
            return FakeTrino.reply(sock, rest, 200, "got %d" % len(body))
        self.coordinator.handlers["/expect"] = handler
        s = shim.connect()
        s.sendall(b"POST /expect HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                  b"Content-Length: 5\r\n\r\n")
        head, rest = read_head(s)
        self.assertTrue(head.startswith(b"HTTP/1.1 100"))
        s.sendall(b"hello")
        head, rest = read_head(s, rest)
        self.assertTrue(head.startswith(b"HTTP/1.1 200"))
        self.assertNotIn(b"Connection: close", head)
        s.close()

    def test_refused_without_reading_the_body(self):
        shim = self.cluster()
        s = shim.connect()
        s.sendall(b"POST /v1/statement HTTP/1.1\r\nHost: evil\r\nExpect: 100-continue\r\n"
                  b"Content-Length: 500\r\n\r\n")
        head, _ = read_head(s)
        self.assertTrue(head.startswith(b"HTTP/1.1 421"))
        self.assertIn(b"Connection: close", head)
        s.close()

    def test_early_answer_to_a_large_body(self):
        """Trino refuses before it has read the body: the client still gets to read why."""
        shim = self.cluster()

        def handler(sock, method, target, headers, rest):
            FakeTrino.reply(sock, b"", 413, "too much")
            return None
        self.coordinator.handlers["/much"] = handler
        s = shim.connect()
        s.sendall(b"POST /much HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (8 * MIB))
        try:
            for _ in range(8):
                s.sendall(b"x" * MIB)
        except OSError:
            pass
        head, rest = read_head(s)
        self.assertTrue(head.startswith(b"HTTP/1.1 413"), head)
        s.close()

    def test_long_poll(self):
        shim = self.cluster()

        def handler(sock, method, target, headers, rest):
            time.sleep(3)
            return FakeTrino.reply(sock, rest, 200, "late")
        self.coordinator.handlers["/poll"] = handler
        before = shim.cpu()
        self.assertEqual(shim.get("/poll")[:2], (200, "late"))
        self.assertLess(shim.cpu() - before, 0.5)  # it waited, it did not spin

    def test_half_closed_client(self):
        shim = self.cluster()
        s = shim.connect()
        s.sendall(b"GET /half HTTP/1.1\r\nHost: localhost\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        data = b""
        while True:
            more = s.recv(65536)
            if not more:
                break
            data += more
        self.assertTrue(data.endswith(b"c1 GET /half"))

    def test_http10(self):
        shim = self.cluster()
        status, head, body = shim_raw(shim, b"GET /ten HTTP/1.0\r\nHost: localhost\r\n\r\n")
        self.assertEqual((status, body), (200, b"c1 GET /ten"))

    # -- streaming --------------------------------------------------------------------------

    def test_streams_both_ways(self):
        """300 MB up and the same bytes down, chunked, at once; the memory stays small."""
        shim = self.cluster()
        size, piece = 300 * 1000 * 1000, os.urandom(1000 * 1000)

        def handler(sock, method, target, headers, rest):
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            left = size - len(rest)
            while True:
                if rest:
                    sock.sendall(b"%x\r\n" % len(rest))
                    sock.sendall(rest + b"\r\n")
                if left == 0:
                    break
                rest = sock.recv(min(left, 262144))
                left -= len(rest)
            sock.sendall(b"0\r\n\r\n")
            return b""
        self.coordinator.handlers["/echo"] = handler
        before = shim.rss()
        c = http.client.HTTPConnection("127.0.0.1", shim.proxy, timeout=60)
        c.connect()
        sock = c.sock  # http.client lets go of it where the answer says that it is the last
        sender = threading.Thread(target=lambda: [sock.sendall(piece) for _ in range(300)])
        c.putrequest("POST", "/echo")
        c.putheader("Content-Length", str(size))
        c.endheaders()
        sender.start()
        r = c.getresponse()
        view, at, buf = memoryview(piece), 0, bytearray(1000 * 1000)
        while at < size:
            n = r.readinto(buf)
            self.assertTrue(n)
            done = 0
            while done < n:
                k = min(n - done, len(piece) - at % len(piece))
                self.assertTrue(memoryview(buf)[done:done + k] == view[at % len(piece):][:k])
                done += k
                at += k
        self.assertEqual(r.read(), b"")
        sender.join()
        c.close()
        self.assertLess(shim.rss() - before, 4 * MIB)

    def test_slow_reader_bounds_memory(self):
        """Twenty clients that read nothing while Trino pushes: it is stopped, not buffered."""
        shim = self.cluster()
        pushed = []

        def handler(sock, method, target, headers, rest):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            sock.settimeout(1.5)
            n = 0
            try:
                while n < 100 * MIB:
                    n += sock.send(b"x" * MIB)
            except OSError:
                pass
            pushed.append(n)
            return None
        self.coordinator.handlers["/push"] = handler
        before = shim.rss()
        socks = []
        for _ in range(20):
            s = shim.connect()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            s.sendall(b"GET /push HTTP/1.1\r\nHost: localhost\r\n\r\n")
            socks.append(s)
        wait_for(lambda: len(pushed) == 20, 20)
        self.assertTrue(all(n < 50 * MIB for n in pushed))
        self.assertLess(shim.rss() - before, 8 * MIB)
        self.assertEqual(shim.get("/v1/query")[0], 200)
        [s.close() for s in socks]

    def test_200_connections(self):
        shim = self.cluster()
        self.coordinator.handlers["/wait"] = \
            lambda sock, m, t, h, rest: (time.sleep(1), FakeTrino.reply(sock, rest, 200, t))[1]
        socks = [shim.connect() for _ in range(200)]
        for i, s in enumerate(socks):
            s.sendall(b"GET /wait?%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % i)
        for i, s in enumerate(socks):
            head, rest = read_head(s)
            while len(rest) < len("/wait?%d" % i):
                rest += s.recv(100)
            self.assertEqual(rest, b"/wait?%d" % i)
        [s.close() for s in socks]
        wait_for(lambda: "warren_shim_connections 1\n" in shim.get("/warren/metrics")[1])

    # -- what breaks ------------------------------------------------------------------------

    def broken(self, path, data, reset=False):
        def handler(sock, method, target, headers, rest):
            sock.sendall(data)
            if reset:
                time.sleep(0.2)  # what was sent is read before the reset overtakes it
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return None
        self.coordinator.handlers[path] = handler

    def test_upstream_breaks(self):
        shim = self.cluster()
        for path, data, reset in (("/none", b"", False), ("/part", b"HTTP/1.1 200 O", False),
                                  ("/junk", b"SSH-2.0-x\r\n\r\n", False), ("/rst", b"", True),
                                  ("/101", b"HTTP/1.1 101 Switching\r\n\r\n", False),
                                  ("/two", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"
                                   b"Content-Length: 2\r\n\r\nab", False)):
            self.broken(path, data, reset)
            status, text, _ = shim.get(path)
            self.assertEqual(status, 502, path)
            self.assertIn("Trino", text)
        for path, data, reset in (
                ("/cl", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", False),
                ("/ch", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", False),
                ("/badch", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeX", False),
                ("/eof", b"HTTP/1.1 200 OK\r\n\r\nabc", True)):
            self.broken(path, data, reset)
            with self.assertRaises((OSError, http.client.HTTPException), msg=path):
                shim.get(path)
        self.broken("/whole", b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.assertEqual(shim.get("/whole")[:2], (200, "abc"))
        self.assertEqual(shim.get("/v1/query")[0], 200)

    def test_client_breaks(self):
        shim = self.cluster()
        gone = threading.Event()

        def handler(sock, method, target, headers, rest):
            try:
                FakeTrino.body(sock, headers, rest)
            except OSError:
                gone.set()
            return None
        self.coordinator.handlers["/up"] = handler
        s = shim.connect()
        s.sendall(b"POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        time.sleep(0.1)
        s.close()
        self.assertTrue(gone.wait(5))
        s = shim.connect()
        s.sendall(b"POST /up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"+5\r\nabcde\r\n0\r\n\r\n")
        head, _ = read_head(s)
        self.assertTrue(head.startswith(b"HTTP/1.1 400"))
        s.close()

    def test_slow_head(self):
        shim = self.start()
        s = shim.connect(timeout=30)
        start = time.monotonic()
        s.sendall(b"GET / HT")
        feeder = threading.Event()

        def drip():
            while not feeder.wait(1):
                try:
                    s.sendall(b"x")
                except OSError:
                    return
        t = threading.Thread(target=drip, daemon=True)
        t.start()
        head, _ = read_head(s)
        feeder.set()
        self.assertTrue(head.startswith(b"HTTP/1.1 408"))
        self.assertLess(abs(time.monotonic() - start - 10), 2)
        s.close()

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
        c9["online"] = True
        shim.roster(shim.member("w1", "127.0.0.2"), c9)
        wait_for(lambda: shim.get("/v1/query")[0] == 200)

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
        self.assertLess(shim.rss() - before, 4 * MIB)

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
        self.assertEqual(shim.process.wait(5), 0)  # its supervisor starts it again

    def test_address_in_use(self):
        shim = self.start()
        ours, theirs = socket.socketpair()
        p = subprocess.run([SHIM, str(shim.proxy), "1", "0", "w1", "-", str(theirs.fileno())],
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


def drop(sock, data, n):
    while len(data) < n:
        data += sock.recv(65536)
    return data[n:]


def ended(sock):
    """What comes until the end, be it an orderly one or a reset."""
    data = b""
    try:
        while True:
            more = sock.recv(65536)
            if not more:
                return data
            data += more
    except ConnectionResetError:
        return data


def shim_raw(shim, request):
    s = shim.connect()
    s.sendall(request)
    head, body = read_head(s)
    body += ended(s)
    s.close()
    return int(head.split(b" ")[1]), head, body


if __name__ == "__main__":
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    unittest.main(verbosity=1, warnings="ignore")
