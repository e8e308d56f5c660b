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
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

SHIM = sys.argv.pop(1)
SANITIZED = sys.argv.pop(1) == "sanitized"  # its memory says nothing about ours
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
    def __init__(self, coordinator="-", worker="w1", https=0, descriptors=None):
        self.proxy = free_port()
        self.trino = free_port()
        self.worker = worker
        self.feed, theirs = socket.socketpair()
        self.second, second = socket.socketpair()
        self.told, self.status = [], {"ok": True}
        self.wants = 0
        self.log = []
        self.process = subprocess.Popen(
            [SHIM, str(self.proxy), str(self.trino), str(https), worker, coordinator,
             str(theirs.fileno()), str(second.fileno())],
            pass_fds=[theirs.fileno(), second.fileno()], stderr=subprocess.PIPE,
            preexec_fn=descriptors and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))))
        theirs.close()
        second.close()
        threading.Thread(target=self.read_feed, daemon=True).start()
        threading.Thread(target=self.read_log, daemon=True).start()
        wait_for(lambda: any("listens on" in x for x in self.log), message="shim did not start")

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip())

    def new_feed(self):
        """The gateway died and another comes with a new socket."""
        self.feed.close()
        self.feed = self.second
        self.process.send_signal(signal.SIGUSR1)
        threading.Thread(target=self.read_feed, daemon=True).start()

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

    def roster(self, *members, ip="127.0.0.2", coordinator=None, down=None):
        self.say({"roster": {"self": self.worker, "ip": ip, "ip6": None,
                             "coordinator_id": coordinator, "down": down, "members": list(members)}})

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
        """The shim must end clean: a leak fails a build with ASan."""
        self.process.terminate()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = "hung"
        self.feed.close()
        self.second.close()
        self.process.stderr.close()
        return code


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

    def assert_grew_less(self, before, limit):
        if not SANITIZED:
            self.assertLess(self.shim.rss() - before, limit)


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    unittest.main(warnings="ignore")
