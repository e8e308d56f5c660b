#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 150
#
# Descriptors and memory run out under processes that live: those who ask wait or are refused, nothing spins,
# nobody dies, links stay; and a start with too few descriptors says so. (The shim, and the rendezvous'
# and the gateway's own code without memory: discovery-shim-starved, sim-starved.)
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init starved
warren_need

lab_public_host rv $RV_ADDR
lab_public_host a 203.0.113.21
lab_public_host b 203.0.113.22
lab_public_host c 203.0.113.23
rv_start
node_start a
node_start b
check_wait 20 "a and b have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
B=$(node_ip b)
check_wait 20 "they talk" 'reach a $B'

ticks() {
	awk '{ print $14 + $15 }' "/proc/$1/stat"
}

# calm PID: uses less than a tenth of a core in two seconds
calm() {
	local before
	before=$(ticks "$1")
	sleep 2
	[ $(($(ticks "$1") - before)) -lt $(($(getconf CLK_TCK) / 5)) ]
}

# limit PID LIMIT: as its owner, who needs no right for it
limit() {
	if [ "$(stat -c %u "/proc/$1")" = 0 ] && ! grep -q "^Uid:.*$(id -u nobody)" "/proc/$1/status"; then
		prlimit --pid "$1" "$2"
	else
		"${AS_NOBODY[@]}" prlimit --pid "$1" "$2"
	fi
}

# enough PID: as many descriptors again as it may have
enough() {
	limit "$1" --nofile="$(awk '/^Max open files/ { print $5 }' "/proc/$1/limits")":
}

# --- descriptors
# no_descriptors NAME PID ASK: without one left, ASK gets no answer, nothing spins; with them it gets one
no_descriptors() {
	limit "$2" --nofile=3:
	eval "$3" >/dev/null 2>&1 &
	local asking=$!
	check "$1 without descriptors does not spin" calm "$2"
	wait "$asking"
	check "who asks it meanwhile is not left without an answer for ever" test $? != 124
	check "it is the same process, and the links stay" sh -c "kill -0 $2 && ip netns exec ${LAB}a ping -c 1 -W 1 -q $B"
	enough "$2"
	check_wait 5 "with descriptors it answers again" "$3"
}
RV=$(rv_process)
GATEWAY=$(process_of a warren-gateway)
ask_rv() {
	[ "$(rv_status .role)" = rendezvous ]
}
no_descriptors "the rendezvous" "$RV" ask_rv
no_descriptors "a gateway" "$GATEWAY" 'node_up a'
# wg(8) waits for its answer as long as it takes: it has one once there are descriptors
limit "$GATEWAY" --nofile=3:
lab_exec a timeout 20 wg show warren0 peers >"$LAB_DIR/wg.out" &
ASKING=$!
check "its configuration socket without descriptors does not spin" calm "$GATEWAY"
enough "$GATEWAY"
wait "$ASKING"
check "wg has its answer once there are some" test -s "$LAB_DIR/wg.out"
said() {
	[ "$(grep -c 'sock takes nobody for a second: Too many open files' "$LAB_DIR/$1.log")" = 1 ]
}
check "the rendezvous' log says it once" said rv
check "the gateway's, too, of two sockets" said a

# --- memory: not a page more for the rendezvous and its store
STORE=$(process_of rv warren-store)
no_page_more() {
	limit "$1" --as=$(($(awk '{ print $1 }' "/proc/$1/statm") * $(getconf PAGESIZE))):
}
no_page_more "$RV"
no_page_more "$STORE"
node_start c
lab_wait 5 'node_up c'
check "a rendezvous without memory lives, and so do the links" sh -c \
	"kill -0 $RV && kill -0 $STORE && ip netns exec ${LAB}a ping -c 1 -W 1 -q $B"
limit "$RV" --as=unlimited:
limit "$STORE" --as=unlimited:
check_wait 30 "with memory whoever came meanwhile is in" 'node_up c && reach c $B' "tail -n 3 $LAB_DIR/c.log"
check "it is the same process" sh -c "kill -0 $RV && kill -0 $STORE"
lab_stop "${NODE_PID[c]}"

# --- too few from the start: it works, or one line says why not
few() {
	! timeout 5 prlimit --nofile="$1:$1" env WARREN_JOIN="$TOKEN" WORKER_ID=few "$WARREN" up >"$LAB_DIR/few.log" 2>&1 </dev/null &&
		grep -q 'Too many open files' "$LAB_DIR/few.log" && [ -z "$(lab_in c ip -o link show warren0 2>/dev/null)" ]
}
few_there() {
	lab_exec c bash -c "$(declare -f few); TOKEN='$TOKEN' WARREN='$WARREN' LAB_DIR='$LAB_DIR'; lab_in() { shift; \"\$@\"; }; few $1"
}
check "a start with 5 descriptors says what is wanting" few_there 5
check "and one with 9: $(tail -n 1 "$LAB_DIR/few.log" | cut -c 26-120)" few_there 9
finish
