#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How a rendezvous begins: what it inherits from whoever starts it, what it is told, and where it prints to.

usage: test_started.py WARREN
"""
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

WARREN = sys.argv[1]
DIR = tempfile.mkdtemp(prefix="warren-started.")
failed = 0


def check(name, good, why=""):
    global failed
    print(f"{'ok' if good else 'not ok'} - {name}{'' if good else f': {why}'}", flush=True)
    failed += not good


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Rendezvous:
    """One that runs, of a state of its own unless one is named."""

    def __init__(self, name, *options, begin=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)):
        self.state = os.path.join(DIR, name)
        self.log = os.path.join(DIR, name + ".log")
        port = free_port()
        with open(self.log, "w") as log:
            self.p = subprocess.Popen(
                [WARREN, "rendezvous", "--listen", f"127.0.0.1:{port}", "--public", "127.0.0.1:7777",
                 "--state", self.state, *options], stderr=log, preexec_fn=begin, restore_signals=False)
        self.is_up = wait(lambda: " on UDP " in self.says() or self.p.poll() is not None) and self.p.poll() is None

    def says(self):
        with open(self.log) as f:
            return f.read()

    def ended(self):
        return wait(lambda: self.p.poll() is not None)

    def end(self, signum=signal.SIGTERM):
        self.p.send_signal(signum)
        good = self.ended()
        self.p.kill()
        self.p.wait()
        return good

    def stat(self, *words, out=subprocess.DEVNULL):
        return warren(*words, "--state", self.state, out=out)


def warren(*words, out=subprocess.PIPE):
    p = subprocess.run([WARREN, *words], stdout=out, stderr=subprocess.PIPE, text=True, timeout=20)
    return p.returncode, p.stderr


def inherited_signals():
    rv = Rendezvous("plain")
    check("a hang-up ends it", rv.end(signal.SIGHUP) and rv.p.returncode == 0, rv.p.returncode)

    rv = Rendezvous("nohup", begin=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    rv.p.send_signal(signal.SIGHUP)
    lives = rv.stat("status")[0] == 0 and rv.stat("status")[0] == 0 and rv.p.poll() is None
    check("but not where nohup has it ignored", lives, rv.p.poll())
    rv.end()

    def blocked():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD])

    rv = Rendezvous("blocked", begin=blocked)
    check("SIGTERM that was blocked at its start ends it", rv.end() and rv.p.returncode == 0, rv.says())


def limited_files():
    """The database grows beyond `ulimit -f`: a write that fails, and no signal."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    rv = Rendezvous("limited", begin=limit)
    rv.ended()
    check("a limit of the size of files is said in words", "signal" not in rv.says() and "leases" in rv.says(), rv.says())
    rv.end()


def full_output():
    rv = Rendezvous("full")
    with open("/dev/full", "w") as full:
        for words in (["token"], ["token", "--for", "c1"], ["status"], ["status", "--json"]):
            code, err = rv.stat(*words, out=full)
            check(f"{' '.join(words)} to a full disk is no success", code == 1 and "No space" in err, f"{code} {err}")
        for words in (["genkey"], ["genpsk"], ["--help"], ["--version"], ["run", "--help"]):
            code, err = warren(*words, out=full)
            check(f"{' '.join(words)} neither", code == 1 and "No space" in err, f"{code} {err}")
    check("and goes on", rv.stat("token")[0] == 0)
    rv.end()


def words_of_the_operator():
    rv = Rendezvous("words")
    for words in (["--for", ""], ["--for="], ["--expires", ""], ["--expires", "2027-02-30"], ["--expires", "2027-13-01"]):
        code, err = rv.stat("token", *words)
        check(f"token {' '.join(words)} makes none", code == 2 and words[0][:5] in err, f"{code} {err}")
    check("the last of February is a day", rv.stat("token", "--expires", "2028-02-29")[0] == 0)
    control = os.path.join(rv.state, "control.sock")
    rv.p.send_signal(signal.SIGSTOP)  # the starter, which makes another
    os.unlink(control)
    code, err = rv.stat("token", "--for", "c1")
    check("a control socket that was removed is named", code == 1 and "control socket" in err and "restart" in err, f"{code} {err}")
    rv.p.send_signal(signal.SIGCONT)
    check("and is there again", wait(lambda: os.path.exists(control)) and rv.stat("status")[0] == 0, rv.says())
    check("which is told of", "control.sock was removed: it is there again" in rv.says(), rv.says())
    check("for its owner alone", os.stat(control).st_mode & 0o777 == 0o600, oct(os.stat(control).st_mode))
    os.unlink(os.path.join(rv.state, "token"))
    code, err = rv.stat("token")
    check("and so is a token", code == 1 and "when it starts" in err, f"{code} {err}")
    rv.end()
    check("a clean end takes it away", not os.path.exists(control))
    rv = Rendezvous("words")
    check("both are there again with the next start", rv.stat("token")[0] == 0 and rv.stat("token", "--for", "c1")[0] == 0)
    rv.end()


def where_nobody_gets():
    for public, *more in (("0.0.0.0:7777",), ("[::]:7777",), ("224.0.0.1:7777",), ("[ff02::1]:7777",), ("10.77.0.9:7777",),
                          ("192.168.5.5:7777", "--prefix", "192.168.0.0/16")):
        code, err = warren("rendezvous", "--public", public, "--state", os.path.join(DIR, "nowhere"), *more)
        check(f"--public {public} {' '.join(more)} is refused", code == 2 and "--public" in err, f"{code} {err}")


def another_name():
    def start(*more):
        rv = Rendezvous("moved", "--public", "rv.example:7777", *more)
        rv.end()
        return rv.says()

    says = start()
    check("a first start has nothing to compare", "any more" not in says, says)
    check("and says that it is one", "this is a new network" in says, says)
    says = start()
    check("the same again is no news", "any more" not in says and "new network" not in says, says)
    rv = Rendezvous("moved")
    check("a name that is not said any more is told of", "does not name rv.example port 7777 any more" in rv.says(), rv.says())
    rv.end()


def narrower_range():
    """Leases of before that the range has no more: named, left out, and there again with the range of before."""
    rv = Rendezvous("narrow")
    rv.end()
    with sqlite3.connect(os.path.join(rv.state, "leases.db")) as db:
        now = int(time.time())
        for number, name in ((5, "near"), (300, "far")):
            db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?)", (number, name, os.urandom(32), now, now))
    db.close()
    os.unlink(os.path.join(rv.state, "token"))
    rv = Rendezvous("narrow", "--prefix", "10.77.0.0/24")
    check("a lease that is not of the range is named", "the lease of far, number 300, is left out: --prefix" in rv.says(),
          rv.says())
    rv.end()
    os.unlink(os.path.join(rv.state, "token"))
    rv = Rendezvous("narrow")
    check("and is there again with the range of before", rv.is_up and "left out" not in rv.says(), rv.says())
    rv.end()


try:
    inherited_signals()
    limited_files()
    full_output()
    words_of_the_operator()
    where_nobody_gets()
    another_name()
    narrower_range()
finally:
    shutil.rmtree(DIR)
sys.exit(1 if failed else 0)
