#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 900
# alone: three Java machines fill two cores
#
# The demo is a test: every step of it must work, and nothing may be left of it, neither when it ends
# nor when somebody stops it half-way.
cd "$(dirname "$0")/.." || exit 1
. lib/check.sh

# Its folders, and with them the command lines of all that it starts, lie in a place of its own.
TMPDIR=$(mktemp -d)
export TMPDIR
chmod 755 "$TMPDIR" # the rendezvous is not root
LOG=$TMPDIR/log
trap 'rm -rf "$TMPDIR"' EXIT
LINKS=$(ip -o link show | awk -F': ' '{ print $2 }' | paste -sd '|')

# nothing_left PID: what the demo with that process id could leave
nothing_left() {
	local what
	what=$(
		ip netns list | grep "^w$1-demo-"
		ip -o link show | awk -F': ' '{ print $2 }' | grep -vxE "$LINKS"
		pgrep -af "$TMPDIR/"
		find "$TMPDIR" -mindepth 1 ! -name log
	)
	echo "$what"
	[ -z "$what" ]
}

# The steps as the demo announces them; each is one test.
STEPS=('A small internet' 'joins with nothing but' 'Trino 476, unmodified' 'A join over 6 million rows' 'All of it worked')
./demo.sh </dev/null >"$LOG" 2>&1 &
demo=$!
wait $demo
status=$?
cat "$LOG"
for ((i = 0; i < ${#STEPS[@]} - 1; i++)); do
	check "step: ${STEPS[i]}" grep -q "${STEPS[i + 1]}" "$LOG"
done
check "the demo ends with status 0" test $status = 0
check "the demo leaves nothing" nothing_left $demo

# Stopped with Trino half-way up, as by ^C. The log of the first one is no sign of that.
: >"$LOG"
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
tail -n 15 "$LOG"
check "a stopped demo says so by its status: $status" test $status -gt 128
check "a stopped demo leaves nothing" nothing_left $demo
finish
