#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
#
# What a gateway leaves behind: nothing after a clean end, the unreachable routes alone after
# SIGKILL, and a start after that cleans up its own leftovers and nobody else's.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init left
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site b portrestricted 203.0.113.22
rv_start

# What belongs to others and must stay as it is.
lab_in a ip tuntap add mode tun name other0
lab_in a ip addr add 10.88.0.1/24 dev other0
lab_in a ip link set other0 up
lab_in a ip route add unreachable 10.99.0.0/16 metric 4294967295

# picture NODE: all that a gateway could leave in the kernel and in /run
picture() {
	lab_in "$1" ip -o link show | sed 's/^[0-9]*: //; s/@.*//; s/ .*//'
	lab_in "$1" ip -o addr show | awk '{ print $2, $4 }' | grep -v 'fe80::'
	lab_in "$1" ip -4 route show table all
	lab_in "$1" ip -6 route show table all | grep -v 'fe80::\|ff00::'
	lab_in "$1" ip rule show
	lab_in "$1" ip -6 rule show
	(cd "$LAB_DIR/node/$1/run" && find . -mindepth 1 ! -path ./warren ! -path ./wireguard | sort)
}

unreachable() {
	lab_in a ip route show type unreachable | grep '^unreachable 10\.77\.0\.0/16'
}

unreachable6() {
	lab_in a ip -6 route show type unreachable | grep '^unreachable fd'
}

same_as_before() {
	diff "$LAB_DIR/before" <(picture a)
}

kill_a() {
	local pid
	for pid in $(ip netns pids "${LAB}a"); do kill -KILL "$pid" 2>/dev/null; done
	lab_wait 5 "[ -z \"\$(ip netns pids ${LAB}a)\" ]"
}

picture a >"$LAB_DIR/before"
node_start a
node_start b
check_wait 20 "both have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
A=$(node_ip a) B=$(node_ip b)
check_wait 20 "they talk" "reach a $B"
check "the prefix is unreachable but for the peers" unreachable
check "the IPv6 prefix too" unreachable6
check "a peer has a host route" grep -q "$B dev warren0" <(lab_in a ip route)
check "a free address of the prefix is unreachable" grep -qiE 'unreachable|no route' <(lab_in a ip route get 10.77.250.250 2>&1)

# A clean end
lab_stop "${NODE_PID[a]}" TERM
check "SIGTERM is a clean end: status 0" test $? = 0
check_wait 5 "a clean end leaves nothing" same_as_before same_as_before
node_start a
check_wait 20 "it starts again" "reach a $B"
lab_stop "${NODE_PID[a]}" INT
check_wait 5 "SIGINT leaves nothing either" same_as_before same_as_before

# Killed, all of it at once
node_start a
check_wait 20 "it starts a third time" "reach a $B"
kill_a
check "after SIGKILL the prefix stays unreachable" unreachable
check "and IPv6's" unreachable6
check "packets for a dead link go nowhere" sh -c "! ip netns exec ${LAB}a ping -c1 -W1 $B"
node_start a
check_wait 20 "a start after SIGKILL comes up" "reach a $B" "tail -n 3 $LAB_DIR/a.log"
check "with the same address" test "$(node_ip a)" = "$A"
lab_stop "${NODE_PID[a]}" TERM
check_wait 5 "and its clean end removes all of it" same_as_before same_as_before

# Another network, whose gateway waits for its lease: what it has closed is not a leftover
OTHER=$(lib/token_edit.py "$(lib/token_edit.py "$TOKEN" prefix 10.66.0.0/16)" key)
closed() {
	lab_in a ip route show type unreachable | grep -q "^unreachable $1 "
}
other_start() {
	lab_spawn a "$LAB_DIR/other.log" env WARREN_JOIN="$OTHER" WORKER_ID=a "$WARREN" up \
		--interface "$1" --run-dir "$2" --state "$LAB_DIR/other-state"
	OTHER_PID=$LAB_PID
	check_wait 10 "a second network has closed its prefix" 'closed 10.66.0.0/16' "tail -n 3 $LAB_DIR/other.log"
}
other_start warren1 "$LAB_DIR/other-run"
node_start a
check_wait 20 "the first one starts beside it" "reach a $B" "tail -n 3 $LAB_DIR/a.log"
check "and leaves it closed" closed 10.66.0.0/16
kill_a
check "both are closed when all are dead" sh -c "ip -n ${LAB}a route show type unreachable | grep -c '^unreachable 10.[67]' | grep -qx 2"
other_start warren0 /run/warren
check_wait 10 "the next one of this interface opens what the one before closed" '! closed 10.77.0.0/16'
lab_stop "$OTHER_PID" TERM
other_start warren1 "$LAB_DIR/other-run"
lab_stop "$OTHER_PID" TERM
node_start a
check_wait 20 "the first network is there again" "reach a $B" "tail -n 3 $LAB_DIR/a.log"
lab_stop "${NODE_PID[a]}" TERM
check_wait 5 "and a clean end leaves nothing" same_as_before same_as_before

# One process of three dies: it is started again, and the command goes on
node_start a -- sleep 1000
check_wait 20 "warren run is up" "reach a $B"
command_pid=$(ip netns pids "${LAB}a" | while read -r p; do grep -qx sleep "/proc/$p/comm" && echo "$p"; done)
gateway_pid=$(lab_in a ss -Hulnp | sed -n 's/.*"warren[^"]*",pid=\([0-9]*\).*/\1/p' | head -n 1)
kill -KILL "$gateway_pid"
check_wait 5 "a killed gateway is back by itself" "reach a $B" "tail -n 5 $LAB_DIR/a.log"
check "and the command has gone on" kill -0 "$command_pid"
lab_exec a rm -rf /run/warren
check_wait 10 "a /run/warren that was removed is there again" 'node_up a' "tail -n 5 $LAB_DIR/a.log"
kill -TERM "$command_pid"
wait "${NODE_PID[a]}"
check "when the command ends, everything ends with its status" test $? = 143
check_wait 5 "and leaves nothing" same_as_before same_as_before
lab_spawn a "$LAB_DIR/a.log" env WARREN_JOIN="$TOKEN" WORKER_ID=a "$WARREN" run -- sh -c 'exit 7'
wait "$LAB_PID"
check "the command's exit status is the program's" test $? = 7
finish
