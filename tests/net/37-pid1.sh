#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 200
#
# `warren run` as PID 1 of a container's namespaces: which signals reach the command, that orphans are
# reaped, with which status it ends and in which order, and a command that does not heed SIGTERM.
# shellcheck disable=SC2016 # commands are written for other shells to expand
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init pid1
warren_need

lab_public_host rv $RV_ADDR
lab_site w1 portrestricted 203.0.113.22
lab_site c1 none 203.0.113.23
lab_public_host other 203.0.113.60
rv_start
node_start c1
check_wait 20 "the other end has joined" 'node_up c1' "tail -n 3 $LAB_DIR/c1.log" || finish
C1=$(node_ip c1)

CONTAINED_BY=()
# contained CMD…: w1 in namespaces of its own, in the background; CONTAINER is unshare's process, which
# takes the status over, and PID1 the launcher's as the host sees it.
contained() {
	: >"$LAB_DIR/w1.log"
	lab_spawn w1 "$LAB_DIR/w1.log" env WARREN_JOIN="$TOKEN" WORKER_ID=w1 \
		"${CONTAINED_BY[@]}" unshare --pid --fork --mount-proc --ipc "$WARREN" run -- "$@"
	CONTAINER=$LAB_PID
	lab_wait 5 launcher_is_there
}

# Before it is unshare's process CONTAINER is a shell's, whose children are others.
launcher_is_there() {
	PID1=$(cat "/proc/$CONTAINER/task/$CONTAINER/children")
	PID1=${PID1% }
	[ "$(cat "/proc/$PID1/comm")" = warren ]
}

# check_ended NAME STATUS
check_ended() {
	local got
	wait "$CONTAINER" 2>/dev/null
	got=$?
	check "$1 ($got)" test $got = "$2"
}

nobody_left() {
	[ -z "$(ip netns pids "${LAB}w1")" ]
}

logged() {
	grep -q "$1" "$LAB_DIR/w1.log"
}

online() {
	[ "$(rv_status '.members[] | select(.id == "w1") | .online')" = "$1" ]
}

# --- signals, orphans
contained sh -c 'for s in HUP QUIT USR1 USR2 WINCH INT; do trap "echo got-$s" $s; done
	trap "echo got-TERM; exit 9" TERM
	i=0; while :; do i=$((i + 1)); [ $((i % 5)) != 0 ] || sh -c "sleep 0.2 & exit 0"
	echo "zombies $(ps -eo stat= | grep -c ^Z) pid1 $(cat /proc/1/comm)"; sleep 0.1; done'
check_wait 20 "as PID 1 it joins" "node_up w1 && logged 'pid1 warren'" "tail -n 3 $LAB_DIR/w1.log"
for sig in HUP QUIT USR1 USR2 WINCH INT; do
	kill -$sig "$PID1"
	check_wait 2 "SIG$sig reaches the command" "logged got-$sig"
done
check_wait 5 "orphans come and go" 'logged "zombies 0"'
sleep 2
check "none stays a zombie" test "$(grep -o 'zombies [0-9]*' "$LAB_DIR/w1.log" | sort -u | awk '$2 > 2' | wc -l)" = 0
check "the network is there" reach w1 "$C1"
kill -TERM "$PID1"
check_ended "SIGTERM: the command's own status" 9
check_wait 3 "nobody is left" nobody_left
check_wait 3 "and the lease was given back" 'online false'

# --- statuses
contained sh -c 'exit 42'
check_ended "status 42" 42
contained sh -c 'kill -SEGV $$'
check_ended "a signal's: 128 + 11" 139
contained /nonexistent
check_ended "there is no such command: 127" 127

# --- a rough parent: hang-ups are to be ignored, the rest it left behind is not
CONTAINED_BY=(env --ignore-signal=HUP --ignore-signal=CHLD --block-signal=TERM)
contained sh -c 'kill -HUP $$; echo hung-up-on; while :; do sleep 0.1; done'
check_wait 20 "started by nohup: the command ignores a hang-up" 'node_up w1 && logged hung-up-on'
kill -HUP "$PID1"
check "and so does the launcher" lab_exec w1 ping -q -c 5 -i 0.2 -W 1 "$C1"
kill -TERM "$PID1"
check_ended "SIGTERM was blocked when it started, and ends it" 143
CONTAINED_BY=()

# --- the gateway dies beside it
contained sh -c 'while :; do sleep 0.1; done'
check_wait 20 "it runs again" "node_up w1 && reach w1 $C1"
for pid in $(ip netns pids "${LAB}w1"); do
	[ "$(cat "/proc/$pid/comm")" != warren-gateway ] || kill -KILL "$pid"
done
check_wait 5 "a killed gateway is back in its namespaces" "node_up w1 && reach w1 $C1" "tail -n 3 $LAB_DIR/w1.log"

# --- PID 1 is killed: the kernel ends the namespaces, and with them everything
kill -KILL "$PID1"
wait "$CONTAINER" 2>/dev/null
code=$?
check "SIGKILL ends it ($code)" test $code != 0
check_wait 3 "with it everything ends" nobody_left
check "and the range stays closed" grep -q 10.77.0.0/16 <(lab_in w1 ip route show type unreachable)

# --- a command that does not heed SIGTERM
STUBBORN='trap "echo unheeded" TERM; echo has-trap; while :; do sleep 0.1; done'
contained sh -c "$STUBBORN"
check_wait 20 "a stubborn command runs" "node_up w1 && reach w1 $C1 && logged has-trap"
kill -TERM "$PID1"
check_wait 3 "it does not heed SIGTERM" 'logged unheeded'
sleep 2
check "it goes on, for it may take its time" kill -0 "$PID1"
check "and so does its network" reach w1 "$C1"
check "and its lease" online true
kill -TERM "$PID1"
check_wait 3 "it is asked as often as one likes" '[ "$(grep -c unheeded "$LAB_DIR/w1.log")" = 2 ]'

# Another node takes the id over while this one is frozen: the command must end, and does not want to.
for pid in $(ip netns pids "${LAB}w1"); do
	[ "$(cat "/proc/$pid/comm")" != warren-gateway ] || GATEWAY=$pid
done
kill -STOP "$GATEWAY"
lab_spawn other "$LAB_DIR/other.log" env WARREN_JOIN="$TOKEN" WORKER_ID=w1 "$WARREN" up
OTHER=$LAB_PID
check_wait 25 "another node takes its id, for it is silent" '[ "$(status other .state)" = up ]' "tail -n 2 $LAB_DIR/other.log"
kill -CONT "$GATEWAY"
BEGAN=$EPOCHSECONDS
check_wait 15 "it learns so, in words" 'logged "held by another node now"' "tail -n 3 $LAB_DIR/w1.log"
check_wait 5 "and tells its command" '[ "$(grep -c unheeded "$LAB_DIR/w1.log")" = 3 ]'
check_ended "30 s later it is killed: status 75" 75
took=$((EPOCHSECONDS - BEGAN))
check "and not sooner ($took s)" test $took -ge 29
check "nor much later" test $took -le 50
check_wait 3 "nobody is left of it" nobody_left
check "and the other one goes on" test "$(status other .state)" = up
lab_stop "$OTHER" TERM
finish
