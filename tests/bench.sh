#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: tests/bench.sh [--rounds N] [--seconds N] [--only NAME,NAME]
#
# warren beside bare veth and wireguard-go, in one run on one machine: two namespaces joined by a
# veth pair of MTU 1500, all three kept up, the rounds interleaved so that what else the machine
# does falls on all alike. TCP with 1 and with 4 streams, the CPU-seconds of both gateways per
# gigabit carried, ping, memory. Each figure is the median of the rounds; the raw ones are kept.
cd "$(dirname "$0")" || exit 1
. lib/lab.sh
. lib/warren.sh
. lib/wg.sh
. lib/packages.sh

ROUNDS=5 SECS=5 ONLY=bare,warren,wireguard-go
while [ $# -gt 0 ]; do
	case $1 in
	--rounds) ROUNDS=$2 ;;
	--seconds) SECS=$2 ;;
	--only) ONLY=$2 ;;
	*)
		sed -n '4p' "$0" >&2
		exit 2
		;;
	esac
	shift 2 || exit 2
done

need_packages
lab_init bench
OUT=${BENCH_OUT:-$LAB_DIR/bench.tsv}
: >"$OUT"
declare -A TARGET=() PIDS=()

wanted() {
	[[ ,$ONLY, = *,$1,* ]]
}

# Two machines and one cable.
wire() {
	lab_ns a
	lab_ns b
	lab_node a
	lab_node b
	ip -n "${LAB}a" link add eth0 type veth peer name eth0 netns "${LAB}b"
	ip -n "${LAB}a" addr add 203.0.113.10/24 dev eth0
	ip -n "${LAB}b" addr add 203.0.113.20/24 dev eth0
	ip -n "${LAB}a" link set eth0 up
	ip -n "${LAB}b" link set eth0 up
	TARGET[bare]=203.0.113.20
}

start_wireguard_go() {
	local n
	wg_go_find || lab_die "no wireguard-go"
	for n in a b; do
		wg_pair "$LAB_DIR/$n.key"
		wg_go_start $n wgbench0
		PIDS[wireguard-go]+=" $LAB_PID"
	done
	wg_peer a 1 b 203.0.113.20 2
	wg_peer b 2 a 203.0.113.10 1
	TARGET[wireguard-go]=10.66.0.2
}

# wg_peer NODE NUMBER PEER ENDPOINT NUMBER
wg_peer() {
	lab_exec "$1" wg set wgbench0 listen-port 51820 private-key "$LAB_DIR/$1.key" \
		peer "$(cat "$LAB_DIR/$3.key.pub")" endpoint "$4:51820" allowed-ips "10.66.0.$5/32"
	ip -n "$LAB$1" addr add "10.66.0.$2/24" dev wgbench0
	ip -n "$LAB$1" link set wgbench0 mtu 1420 up
}

# Joined by a token as anybody would, with the rendezvous beside one of the two.
start_warren() {
	local n
	warren_need
	RV_NODE=a NETWORK=bench
	rv_start
	for n in a b; do
		node_start $n
		PIDS[warren]+=" $LAB_PID"
	done
	lab_wait 20 'node_up a && node_up b' || lab_die "warren does not come up: $(tail -n 3 "$LAB_DIR"/[ab].log)"
	lab_wait 30 '[ "$(path_of a b)" = direct ] && [ "$(path_of b a)" = direct ]' ||
		lab_die "no direct path: $(status a '.peers')"
	TARGET[warren]=$(node_ip b)
}

# tree PID…: these processes and all their descendants
tree() {
	local p
	for p in "$@"; do
		echo "$p"
		# shellcheck disable=SC2046 # a list
		tree $(cat "/proc/$p/task/$p/children" 2>/dev/null)
	done
}

# cpu_ticks NAME: what its processes on both sides have used so far (the fields after the name in
# parentheses: utime and stime are the 12th and 13th of those)
cpu_ticks() {
	local p
	# shellcheck disable=SC2086 # a list
	for p in $(tree ${PIDS[$1]:-}); do
		sed 's/.*) //' "/proc/$p/stat"
	done 2>/dev/null | awk '{ n += $12 + $13 } END { print n + 0 }'
}

# memory NAME FIELD: kB of one side's processes; the larger side
memory() {
	local p q most=0 sum
	for p in ${PIDS[$1]:-}; do
		sum=0
		for q in $(tree "$p"); do
			sum=$((sum + $(awk -v f="$2:" '$1 == f { print $2 }' "/proc/$q/status" 2>/dev/null || echo 0)))
		done
		[ $sum -le $most ] || most=$sum
	done
	echo $most
}

# measure_tcp NAME STREAMS
measure_tcp() {
	local before after json=$LAB_DIR/iperf.json
	before=$(cpu_ticks "$1")
	lab_in a iperf3 -c "${TARGET[$1]}" -t "$SECS" -P "$2" -J >"$json" 2>&1 ||
		lab_die "iperf3 over $1: $(tail -n 3 "$json")"
	after=$(cpu_ticks "$1")
	jq -r --arg n "$1" --arg s "$2" --argjson cpu "$((after - before))" --argjson hz "$(getconf CLK_TCK)" '
		.end.sum_received as $r |
		[$n, "tcp" + $s, ($r.bits_per_second / 1e9)],
		[$n, "cpu" + $s, ($cpu / $hz / ($r.bytes * 8 / 1e9))] | @tsv' "$json" >>"$OUT"
}

measure_ping() {
	local rtt
	rtt=$(lab_in a ping -q -c 200 -i 0.005 "${TARGET[$1]}" | awk -F/ '/^rtt/ { print $5 }')
	printf '%s\tping\t%s\n' "$1" "$rtt" >>"$OUT"
}

wire
wanted wireguard-go && start_wireguard_go
wanted warren && start_warren
lab_spawn b "$LAB_DIR/iperf3.log" iperf3 -s
lab_wait 10 'lab_in b ss -Hltn | grep -q :5201'
for name in ${ONLY//,/ }; do
	lab_wait 10 "lab_in a ping -c1 -W1 ${TARGET[$name]}" || lab_die "no ping over $name"
done
for ((round = 1; round <= ROUNDS; round++)); do
	for name in ${ONLY//,/ }; do
		measure_ping "$name"
		measure_tcp "$name" 1
		measure_tcp "$name" 4
	done
	echo "round $round of $ROUNDS" >&2
done
for name in ${ONLY//,/ }; do
	printf '%s\thwm\t%s\n%s\tanon\t%s\n' "$name" "$(memory "$name" VmHWM)" "$name" "$(memory "$name" RssAnon)" >>"$OUT"
done
echo "both ends, iperf3 and the gateways on $(nproc) cores; kernel $(uname -r); ${WG_GO_IS:-}; $ROUNDS rounds of $SECS s"
python3 lib/bench_table.py "$OUT"
