#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 200
# alone: it takes the machine's time, and measures
#
# A machine that has no time (STARVE seconds, 20 unless said), and a rendezvous that is stopped and
# continued: no path moves, no session is lost, probes are answered within 500 ms, and everybody joins.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init starved
warren_need
STARVE=${STARVE:-20}
STOPS=${STOPS:-6}

NODES=(a b c d)
lab_public_host rv $RV_ADDR 2001:db8::10
lab_site a portrestricted 203.0.113.21
lab_site b fullcone 203.0.113.22
lab_site c symmetric 203.0.113.23
# two ways between these: IPv4 and IPv6
lab_site d none 203.0.113.24 2001:db8::24
lab_public_host e 203.0.113.25 2001:db8::25
NODES+=(e)
rv_start
for n in "${NODES[@]}"; do node_start "$n"; done
for n in "${NODES[@]}"; do check_wait 20 "$n has joined" "node_up $n" "tail -n 2 $LAB_DIR/$n.log"; done
declare -A IP=()
for n in "${NODES[@]}"; do IP[$n]=$(node_ip "$n"); done

# paths: of everybody to everybody; sessions: the logs' word of each
paths() {
	local n
	for n in "${NODES[@]}"; do
		status "$n" ".peers[] | select(.kind == \"member\") | \"$n \(.id) \(.path) \(.endpoint) \(.session)\""
	done
}
words() {
	cat "$LAB_DIR"/[a-e].log | grep -cE 'session is up|no path|over the relay|direct to|started anew|registered|no answer'
}
as_expected() {
	[ "$(paths | grep -c ' direct .* true$')" = 18 ] && [ "$(paths | grep -c ' relay .* true$')" = 2 ]
}
same_paths() {
	diff "$LAB_DIR/paths" <(paths)
}
drops_of_all() {
	local n
	for n in "${NODES[@]}"; do status "$n" '.drops' | sed "s/^/$n /" | grep :; done
}

# hogs SECONDS: four for each core, that ask for nothing but time
HOGS=()
hogs() {
	local i
	for ((i = 0; i < 4 * $(nproc); i++)); do
		timeout "$1" sh -c 'while :; do :; done' &
		HOGS+=($!)
	done
}

# pings SECONDS: from each to the next, five a second; each says its slowest answer
pings() {
	local i n next running=()
	for i in "${!NODES[@]}"; do
		n=${NODES[i]} next=${NODES[(i + 1) % ${#NODES[@]}]}
		lab_exec "$n" ping -q -i 0.2 -c $((5 * $1)) -W 2 "${IP[$next]}" >"$LAB_DIR/ping.$n" 2>&1 &
		running+=($!)
	done
	wait "${running[@]}"
}
lost_pings() {
	cat "$LAB_DIR"/ping.? | grep -c 'packet loss' | grep -qx ${#NODES[@]} || echo "not all have pinged"
	grep -h 'packet loss' "$LAB_DIR"/ping.? | grep -v ' 0% packet loss'
}
slowest() {
	sed -n 's/^rtt .*= [0-9.]*\/[0-9.]*\/\([0-9]*\).*/\1/p' "$LAB_DIR"/ping.? | sort -n | tail -n 1
}

check_wait 60 "paths are as the NATs allow" as_expected paths
sleep 2
paths >"$LAB_DIR/paths"
drops_of_all >"$LAB_DIR/drops"
BEFORE=$(words)
hogs "$STARVE"
pings "$STARVE"
wait "${HOGS[@]}"
lost_pings >"$LAB_DIR/lost"
check "$STARVE s without time: no probe is lost" diff /dev/null "$LAB_DIR/lost"
check "each is answered within 500 ms ($(slowest) ms)" test "$(slowest)" -le 500
check "no path has moved, each session is there" same_paths
check "nor for a moment" test "$(words)" = "$BEFORE"
drops_of_all >"$LAB_DIR/drops.now"
check "nothing was dropped" diff "$LAB_DIR/drops" "$LAB_DIR/drops.now"

# --- the rendezvous is stopped, and goes on: whoever came meanwhile joins, whoever was there stays
rv_knows() {
	[ "$(rv_status "[.members[] | select(.online)] | length")" = "$1" ]
}
kill_node() {
	kill -KILL "${NODE_PID[$1]}"
	lab_wait 5 "[ -z \"\$(ip netns pids $LAB$1)\" ]"
}
# a stop of that many seconds, while one that was killed and one that left come back
stopped_for() {
	kill_node a
	lab_stop "${NODE_PID[e]}" TERM
	kill -STOP "$(rv_process)"
	node_start a
	node_start e
	sleep "$1"
	# and one that gives up while nobody answers
	lab_stop "${NODE_PID[e]}" TERM
	node_start e
	sleep 0.5
	kill -CONT "$(rv_process)"
}
for ((i = 1; i <= STOPS; i++)); do
	seconds=$((i * 2 % 9)).$((i * 3 % 10))
	stopped_for $seconds
	check_wait 10 "after a stop of $seconds s they join" "node_up a && node_up e" "tail -qn 3 $LAB_DIR/[ae].log"
	check_wait 10 "and everybody talks" "reach b ${IP[a]} && reach c ${IP[e]} && reach d ${IP[a]} && reach a ${IP[e]}" paths
done
check_wait 10 "all are known again, with their addresses" 'rv_knows 5'
check "the same" test "$(node_ip a) $(node_ip e)" = "${IP[a]} ${IP[e]}"
finish
