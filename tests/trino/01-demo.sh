#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# alone: three Java machines fill two cores
#
# The demo is a test: every step of it must work, and nothing may be left of it, neither when it ends
# nor when somebody stops it half-way.
cd "$(dirname "$0")/.." || exit 1
. lib/check.sh

# What a demo could leave on the machine: namespaces, interfaces, processes, folders.
left() {
	ip netns list | grep -E '^w[0-9]+-demo-'
	ip -o link show | awk -F': ' '{ print $2 }' | grep -vxE "$LINKS"
	pgrep -af 'warren-lab\.|io\.trino' | grep -v "$OTHERS"
	find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'warren-lab.*' | grep -vF "$OTHERS"
}

LINKS=$(ip -o link show | awk -F': ' '{ print $2 }' | paste -sd '|')
OTHERS=$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'warren-lab.*' | head -n 1)
OTHERS=${OTHERS:-no other lab is there}
LOG=$(mktemp)
trap 'rm -f "$LOG"' EXIT

nothing_left() {
	local what
	what=$(left)
	echo "$what"
	[ -z "$what" ]
}

# The steps as the demo announces them; each is one test.
STEPS=('A small internet' 'joins with nothing but' 'Trino 476, unmodified' 'A join over 6 million rows' 'All of it worked')
./demo.sh </dev/null >"$LOG" 2>&1
status=$?
cat "$LOG"
for ((i = 0; i < ${#STEPS[@]} - 1; i++)); do
	check "step: ${STEPS[i]}" grep -q "${STEPS[i + 1]}" "$LOG"
done
check "the demo ends with status 0" test $status = 0
check "the demo leaves nothing" nothing_left

# Stopped with Trino half-way up, as by ^C
setsid ./demo.sh </dev/null >"$LOG" 2>&1 &
demo=$!
for ((i = 0; i < 1200; i++)); do
	grep -q 'Waiting for three active' "$LOG" && break
	kill -0 $demo 2>/dev/null || break
	sleep 0.1
done
kill -TERM -- -$demo
wait $demo
status=$?
check "a stopped demo says so by its status: $status" test $status -gt 128
check "a stopped demo leaves nothing" nothing_left
finish
