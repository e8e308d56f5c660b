#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: inject.py PID CALL [ARGUMENT…]

Makes a process that runs make a system call (by its number, x86-64), as code that took it over would:
stopped by ptrace, its registers set to the call and put back after it. Arguments are numbers, or texts,
which are written below its stack. Prints what came of it: the number that was returned, or the name of
the signal that the process ended by.
"""
import ctypes
import os
import platform
import signal
import struct
import sys

ATTACH, DETACH, GETREGS, SETREGS, STEP, CONT = 16, 17, 12, 13, 9, 7
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
             "fs_base gs_base ds es fs gs").split()
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
MASK = (1 << 64) - 1

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, data=None):
    if libc.ptrace(request, pid, None, data) < 0:
        number = ctypes.get_errno()
        sys.exit(f"ptrace({request}) of {pid}: {os.strerror(number)}")


def registers(pid):
    buf = ctypes.create_string_buffer(8 * len(REGISTERS))
    ptrace(GETREGS, pid, buf)
    return dict(zip(REGISTERS, struct.unpack(f"{len(REGISTERS)}Q", buf.raw)))


def set_registers(pid, regs):
    raw = struct.pack(f"{len(REGISTERS)}Q", *(regs[r] & MASK for r in REGISTERS))
    ptrace(SETREGS, pid, ctypes.create_string_buffer(raw, len(raw)))


def syscall_instruction(pid, mem):
    """Where the process' own code has `syscall`: it maps no new code."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        for line in maps:
            span, mode = line.split()[:2]
            if mode[2] != "x" or line.rstrip().endswith("]"):
                continue
            first, last = (int(x, 16) for x in span.split("-"))
            mem.seek(first)
            at = mem.read(last - first).find(b"\x0f\x05")
            if at >= 0:
                return first + at
    sys.exit(f"{pid}: no system call in its code")


def arguments(mem, below, words):
    values = []
    for word in words:
        try:
            values.append(int(word, 0))
        except ValueError:
            text = word.encode() + b"\0"
            below -= len(text)
            mem.seek(below)
            mem.write(text)
            values.append(below)
    return values


def wait(pid):
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        print(signal.Signals(os.WTERMSIG(status)).name)
        sys.exit(0)
    if not os.WIFSTOPPED(status):
        print(f"status {os.WEXITSTATUS(status)}")
        sys.exit(0)
    return os.WSTOPSIG(status)


def inject(pid, call, words):
    ptrace(ATTACH, pid)
    wait(pid)
    before = registers(pid)
    with open(f"/proc/{pid}/mem", "r+b", 0) as mem:
        there = dict(before, rax=call, orig_rax=MASK, rip=syscall_instruction(pid, mem))
        there.update(zip(ARGUMENTS, arguments(mem, before["rsp"] - 1024, words)))
    set_registers(pid, there)
    ptrace(STEP, pid)
    stop = wait(pid)
    if stop == signal.SIGTRAP:
        result = registers(pid)["rax"]
        set_registers(pid, before)
        ptrace(DETACH, pid)
        print(result - (1 << 64) if result >> 63 else result)
        return
    while True:  # a signal of its own doing goes its way; the step into its handler is ours
        ptrace(CONT, pid, ctypes.c_void_p(0 if stop == signal.SIGTRAP else stop))
        stop = wait(pid)


if __name__ == "__main__":
    if platform.machine() != "x86_64":
        sys.exit("inject.py knows x86-64 alone")
    inject(int(sys.argv[1]), int(sys.argv[2], 0), sys.argv[3:])
