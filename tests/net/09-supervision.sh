#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# The launcher as supervisor and as PID 1: whatever is killed is back within a second, a transfer and
# an HTTP answer under way notice nothing; what a command is given and what it is not; in which order
# things end, and with which status. Who hangs is killed.
# shellcheck disable=SC2016 # commands are written for other shells to expand
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
lab_init super
warren_need

lab_public_host rv $RV_ADDR
lab_site c1 portrestricted 203.0.113.21
lab_site w1 portrestricted 203.0.113.22
lab_site h1 portrestricted 203.0.113.23
rv_start
node_start c1 TRINO_MODE=true -- python3 "$PWD/lib/slow_http.py" 8081
node_start w1 TRINO_MODE=true TRINO_COORDINATOR_ID=c1 -- sleep 1000
node_start h1 TRINO_MODE=true TRINO_COORDINATOR_ID=c1 -- sleep 1000
check_wait 20 "all have joined" 'node_up c1 && node_up w1 && node_up h1 && [ -n "$(process_of h1 warren-shim)" ]' \
	"tail -qn 3 $LAB_DIR/[cwh]1.log" || finish
# looked at after all else: it takes half a minute
HUNG="$(process_of h1 warren-gateway) $(process_of h1 warren-shim)"
# shellcheck disable=SC2086 # two
kill -STOP $HUNG
C1=$(node_ip c1) W1=$(node_ip w1)
check_wait 20 "they talk directly" "reach w1 $C1 && [ \"\$(path_of w1 c1)\" = direct ]" || finish

descriptors() {
	find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l
}

ask() {
	lab_exec w1 curl -sfN -m "${2:-10}" "http://localhost:8080/v1/query/$1"
}

logged() {
	grep -q "$1" "$LAB_DIR/w1.log"
}

# kill_part NODE NAME SIGNAL: another one is there within a second
kill_part() {
	local old began=${EPOCHREALTIME/./} new
	old=$(process_of "$1" "warren-$2")
	kill "-$3" "$old"
	while sleep 0.02; do
		new=$(process_of "$1" "warren-$2")
		[ -z "$new" ] || [ "$new" = "$old" ] || return 0
		[ $((${EPOCHREALTIME/./} - began)) -lt 1000000 ] || break
	done
	echo "$2 of $1 (process $old) after SIG$3: '$new'"
	return 1
}

check_wait 20 "the shim's way to the coordinator" 'ask 0'
LAUNCHER=${NODE_PID[w1]} COMMAND=$(pgrep -P "${NODE_PID[w1]}" -x sleep)
BEFORE=$(descriptors "$LAUNCHER")

# --- the tunnel's own, under load ---
transfer w1 c1 "$C1" 120000000 10000000 >"$LAB_DIR/transfer" 2>&1 &
moving=$!
ask 12 60 >"$LAB_DIR/answer" &
asking=$!
# what is connected lives on; a new connection in the second without a gateway is refused, as it must be
transfer_moves w1 "$C1" && lab_wait 10 "[ -s '$LAB_DIR/answer' ]" ||
	echo "the transfer or the answer has not begun"
for sig in KILL SEGV ABRT; do
	sleep 0.$((RANDOM % 10))
	check "SIG$sig: w1's gateway is back within 1 s" kill_part w1 gateway $sig
	sleep 1.$((RANDOM % 10))
done
check "the coordinator's side too" kill_part c1 gateway KILL
for sig in KILL TERM; do
	check "SIG$sig: the helper is back within 1 s" kill_part w1 helper $sig
done
if wait $moving; then
	ok "120 MB arrived with the right hash"
else
	not_ok "120 MB arrived with the right hash" "$(cat "$LAB_DIR/transfer")"
fi
wait $asking
check "the HTTP answer is whole" diff "$LAB_DIR/answer" <(seq -f %09.0f 0 119)
check "the addresses are the same" test "$(node_ip w1) $(node_ip c1)" = "$W1 $C1"

# --- the shim ---
for sig in KILL SEGV; do
	check "SIG$sig: the shim is back within 1 s" kill_part w1 shim $sig
	check_wait 2 "and serves" 'ask 0'
done
check_wait 3 "with the gateway's status" \
	"lab_exec w1 curl -sf -m 5 http://localhost:8080/warren/status | grep -q '\"state\":\"up\"'"

# --- SIGTERM to all at once, as an init system sends it: gateway and shim heed the launcher alone ---
gateway=$(process_of w1 warren-gateway) shim=$(process_of w1 warren-shim)
kill -TERM "$gateway" "$shim"
sleep 0.5
check "gateway and shim stay as long as the launcher wants" test "$(process_of w1 warren-gateway) $(process_of w1 warren-shim)" = "$gateway $shim"

check "the command has gone on" kill -0 "$COMMAND"
check "the launcher has kept no descriptor" test "$(descriptors "$LAUNCHER")" = "$BEFORE"

# --- the interface is deleted ---
lab_in w1 ip link del warren0
check_wait 10 "a deleted interface comes back" "node_up w1 && reach w1 $C1" "tail -n 3 $LAB_DIR/w1.log"

lab_stop "$LAUNCHER" TERM
check "the status of a command that a signal ended" test $? = 143
check "nothing of w1 is left" test -z "$(ip netns pids "${LAB}w1")"

# --- statuses, signals, what the command gets ---
run_w1() {
	lab_exec w1 timeout 60 env WARREN_JOIN="$TOKEN" WORKER_ID=w1 "$WARREN" run --log-level warning -- "$@"
}
is_status() {
	local want=$1 got
	shift
	run_w1 "$@"
	got=$?
	[ "$got" = "$want" ] || { echo "status $got"; return 1; }
}
check "status 0" is_status 0 true
check "status 7" is_status 7 sh -c 'exit 7'
check "killed: 128 + 9" is_status 137 sh -c 'kill -9 $$'
check "there is no such command: 127" is_status 127 /nonexistent
check "it is no program: 126" is_status 126 /etc/passwd
lab_exec w1 sh -c 'exec "$@" <&- >&- 2>&-' - env WARREN_JOIN="$TOKEN" WORKER_ID=w1 WARREN_FOO=1 "$WARREN" run -- sh -c \
	"ls -l /proc/self/fd >$LAB_DIR/fds; env >$LAB_DIR/env; grep -E '^(Cap|NoNew|SigBlk)' /proc/self/status >$LAB_DIR/self"
check "it inherits 0, 1 and 2 alone, even where those were closed" \
	test "$(awk '{ print $9 $11 }' "$LAB_DIR/fds" | tr '\n' ' ' | sed 's/ 3.*//')" = " 0/dev/null 1$LAB_DIR/fds 2/dev/null"
check "of ours in its environment: the addresses" \
	test "$(grep -o '^WARREN_[A-Z0-9]*' "$LAB_DIR/env" | sort | tr '\n' ' ')" = "WARREN_IP WARREN_IP6 "
check "no capability, no new privileges, no signal blocked" \
	test "$(awk '{ print $2 }' "$LAB_DIR/self" | sort -u | tr '\n' ' ')" = "0000000000000000 1 "

# In a process of its own the word WARREN_JOIN must not outlive its use, nor the text of the token.
node_start w1 TRINO_MODE=true -- sleep 1000
check_wait 10 "w1 runs again" 'node_up w1 && [ -n "$(process_of w1 warren-shim)" ]'
secrets() {
	local pid
	for pid in $(ip netns pids "${LAB}w1"); do
		if grep -aqF "${TOKEN:20:40}" "/proc/$pid/environ" "/proc/$pid/cmdline"; then
			echo "in environ or cmdline of $(cat "/proc/$pid/comm")"
		fi
	done
	lab_exec w1 python3 - "${TOKEN:20:40}" "$(process_of w1 warren-shim)" "$(process_of w1 warren-helper)" <<-'PY'
		import sys
		for pid in sys.argv[2:]:
		    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
		        for line in maps:
		            span, mode = line.split()[:2]
		            first, last = (int(x, 16) for x in span.split("-"))
		            if mode[:2] == "rw" and last - first < 1 << 26:
		                mem.seek(first)
		                if sys.argv[1].encode() in mem.read(last - first):
		                    print("in the memory of", pid)
	PY
}
secrets >"$LAB_DIR/secrets" 2>&1
check "the token is nowhere in plain sight, nor in shim and helper" diff /dev/null "$LAB_DIR/secrets"

# The launcher is killed: nothing goes on without it.
kill -KILL "${NODE_PID[w1]}"
check_wait 3 "nothing outlives the launcher" '[ -z "$(ip netns pids "${LAB}w1")" ]' "ps -o pid,args \$(ip netns pids ${LAB}w1)"

# --- the order of an end: the command first, and it has the network until its end ---
node_start w1 -- sh -c "trap 'echo is-ending; while [ ! -e $LAB_DIR/end ]; do sleep 0.1; done
	curl -sf -m 5 http://$C1:8081/v1/info && echo had-network; exit 5' TERM; echo has-trap; while :; do sleep 0.1; done"
check_wait 10 "w1 with a slow command" "node_up w1 && reach c1 $W1 && logged has-trap"
kill -TERM "${NODE_PID[w1]}"
check_wait 2 "it is told to end" 'logged is-ending'
check "while it ends the gateway works" reach c1 "$W1"
touch "$LAB_DIR/end"
wait "${NODE_PID[w1]}"
check "its status" test $? = 5
check "it had the network to its end" logged had-network
check_wait 3 "then the member is away" '[ "$(rv_status ".members[] | select(.id == \"w1\") | .online")" = false ]'

# every signal that Trino may want
node_start w1 -- sh -c 'trap "echo got-HUP" HUP; trap "echo got-QUIT" QUIT; trap "echo got-USR1" USR1; echo has-traps; while :; do sleep 0.1; done'
check_wait 10 "w1 with traps" "node_up w1 && logged has-traps"
for sig in HUP QUIT USR1; do
	kill -$sig "${NODE_PID[w1]}"
	check_wait 2 "SIG$sig reaches the command" "logged got-$sig"
done
lab_stop "${NODE_PID[w1]}" KILL

# a stop while it joins: no command ever ran, so that is no success, and it is soon
kill -STOP "$(rv_process)"
node_start w1 -- sleep 1000
lab_wait 10 '[ "$(status w1 .state)" = joining ]'
began=$EPOCHSECONDS
lab_stop "${NODE_PID[w1]}" TERM
check "stopped while joining: 143" test $? = 143
check "and within 6 s" test $((EPOCHSECONDS - began)) -le 6
check "and nothing is left" test -z "$(ip netns pids "${LAB}w1")$(lab_in w1 ip route show type unreachable)"
kill -CONT "$(rv_process)"

# a launcher that leaves a daemon behind
lab_exec w1 timeout 60 env WARREN_JOIN="$TOKEN" WORKER_ID=w1 TRINO_MODE=true "$WARREN" run -- sh -c 'sleep 30 & exit 0' >"$LAB_DIR/daemon" 2>&1
check "a command that leaves a daemon: it says what to do" grep -q 'launcher run' "$LAB_DIR/daemon"

# --- as PID 1 ---
lab_exec w1 timeout 60 env WARREN_JOIN="$TOKEN" WORKER_ID=w1 unshare -pf --mount-proc "$WARREN" run --log-level warning -- sh -c \
	'for i in 1 2 3 4 5; do sh -c "sleep 0.2 & exit 0"; done; sleep 1; echo "zombies: $(ps -eo stat= | grep -c ^Z)"; exit 3' >"$LAB_DIR/pid1" 2>&1
check "as PID 1: the status" test $? = 3
check "orphans are reaped" grep -q '^zombies: 0' "$LAB_DIR/pid1"

# --- processes that hang ---
check_wait 40 "a gateway that hangs is killed, and another is there" "node_up h1 && reach h1 $C1" "tail -n 3 $LAB_DIR/h1.log"
check_wait 5 "both are told of" "grep -q 'the shim hangs' $LAB_DIR/h1.log && grep -q 'the gateway hangs' $LAB_DIR/h1.log"
check "and those that hung are gone" sh -c "! kill -0 ${HUNG% *} && ! kill -0 ${HUNG#* }"
finish
