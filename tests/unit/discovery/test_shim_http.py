#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a proxy must preserve, how much it may hold, and what it says when something breaks."""
import http.client
import os
import socket
import struct
import threading
import time

import shim_lab
from shim_lab import (H2_PREFACE, MIB, SHIM, FakeTrino, ShimTest, ended, drop, free_port, read_head,
                      shim_raw, wait_for)


class HttpTest(ShimTest):
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

    def test_kept_connection_that_trino_closed(self):
        shim = self.cluster()
        s = shim.connect()
        for i in range(20):
            s.sendall(b"GET /k HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head, data = read_head(s)
            drop(s, data, len("c1 GET /k"))
            self.assertIn(b" 200 ", head)
            if i % 2:
                self.coordinator.connections[-1].shutdown(socket.SHUT_RDWR)
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
        self.assertIn(b"Connection: close", head)
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
        self.assert_grew_less(before, 4 * MIB)

    def test_slow_reader_bounds_memory(self):
        """Twenty clients that read nothing while Trino pushes: it is stopped, not buffered."""
        shim = self.cluster()
        pushed = []

        def handler(sock, method, target, headers, rest):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            sock.settimeout(4)
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
        time.sleep(1)  # by now all is full, and Trino still pushes
        cpu = shim.cpu()
        time.sleep(1)
        self.assertLess(shim.cpu() - cpu, 0.2)  # a full buffer is waited for, not polled
        wait_for(lambda: len(pushed) == 20, 20)
        self.assertTrue(all(n < 50 * MIB for n in pushed))
        self.assert_grew_less(before, 8 * MIB)
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


if __name__ == "__main__":
    shim_lab.main()
