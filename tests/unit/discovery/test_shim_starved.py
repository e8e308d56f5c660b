#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Descriptors and memory run out: requests wait or are refused, the shim lives and does not spin."""
import concurrent.futures
import resource
import socket
import time
import unittest

import shim_lab
from shim_lab import MIB, SANITIZED, ShimTest, wait_for


class StarvedTest(ShimTest):
    def limited(self, which, amount):
        """Until the test says otherwise; what it was."""
        pid = self.shim.process.pid
        before = resource.prlimit(pid, which)
        resource.prlimit(pid, which, (amount, before[1]))
        return before

    def unlimited(self, which, before):
        resource.prlimit(self.shim.process.pid, which, before)

    def assert_calm(self, seconds):
        """It has nothing to do, and does nothing."""
        before = self.shim.cpu()
        time.sleep(seconds)
        self.assertLess(self.shim.cpu() - before, seconds / 5)

    def ask(self, path):
        try:
            return self.shim.get(path, timeout=30)[0]
        except (OSError, ValueError, shim_lab.http.client.HTTPException):
            return 0

    def all_ask(self, n, path):
        with concurrent.futures.ThreadPoolExecutor(n) as pool:
            return list(pool.map(self.ask, [path] * n))

    def test_few_descriptors(self):
        """Each client that is let in has a descriptor for its way upstream, too."""
        shim = self.cluster(descriptors=96)
        self.assertTrue(any("room for 16 connections" in x for x in shim.log))
        idle = [shim.connect() for _ in range(15)]
        wait_for(lambda: "warren_shim_connections 16\n" in shim.get("/warren/metrics")[1])
        self.assertEqual(self.all_ask(40, "/v1/query"), [200] * 40)
        more = [shim.connect() for _ in range(40)]
        self.assert_calm(1.5)
        for s in idle + more:
            s.close()
        wait_for(lambda: self.ask("/v1/query") == 200)
        self.assertFalse(any("no more connections" in x for x in shim.log))

    def test_no_descriptor(self):
        shim = self.cluster()
        kept = shim_lab.http.client.HTTPConnection("127.0.0.1", shim.proxy, timeout=20)
        kept.request("GET", "/warren/health")
        self.assertEqual(kept.getresponse().read(), b"ok\n")
        before = self.limited(resource.RLIMIT_NOFILE, 3)
        waiting = [shim.connect() for _ in range(20)]
        self.assert_calm(2.5)
        kept.request("GET", "/warren/health")  # who is in is served
        self.assertEqual(kept.getresponse().read(), b"ok\n")
        kept.request("GET", "/v1/query")  # and told what cannot be
        answer = kept.getresponse()
        self.assertEqual(answer.status, 503)
        self.assertIn(b"Too many open files", answer.read())
        self.assertEqual(len([x for x in shim.log if "no more connections for a second" in x]), 1)
        self.unlimited(resource.RLIMIT_NOFILE, before)
        wait_for(lambda: self.ask("/v1/query") == 200)
        for s in waiting + [kept]:
            s.close()

    @unittest.skipIf(SANITIZED, "a sanitizer takes terabytes of addresses")
    def test_no_memory(self):
        shim = self.cluster()
        self.assertEqual(self.ask("/v1/query"), 200)
        with open("/proc/%d/statm" % shim.process.pid) as f:
            size = int(f.read().split()[0]) * resource.getpagesize()
        before = self.limited(resource.RLIMIT_AS, size)
        large = []
        for _ in range(24):  # heads that need a megabyte each
            s = shim.connect()
            s.settimeout(0.5)
            try:
                s.sendall(b"GET /v1/query HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: " + b"a" * MIB)
            except OSError:
                pass
            large.append(s)
        idle = [shim.connect() for _ in range(700)]
        answers = self.all_ask(200, "/v1/query")
        self.assertLessEqual(set(answers), {0, 200, 503})
        self.assertIn(0, answers + [self.ended_early(s) for s in large])  # it was in want
        self.assertIsNone(shim.process.poll())
        for s in large + idle:
            s.close()
        self.unlimited(resource.RLIMIT_AS, before)
        wait_for(lambda: self.ask("/v1/query") == 200)
        self.assertEqual(self.all_ask(100, "/v1/query"), [200] * 100)
        self.assert_calm(1.0)

    @staticmethod
    def ended_early(s):
        try:
            return 0 if s.recv(1) == b"" else 1
        except socket.timeout:
            return 1
        except OSError:
            return 0


if __name__ == "__main__":
    shim_lab.main()
