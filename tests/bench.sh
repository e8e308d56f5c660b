#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: tests/bench.sh [mtu] [--rounds N] [--seconds N] [--only NAME,NAME]
#
# warren beside bare veth and wireguard-go, in one run on one machine: two namespaces joined by a
# veth pair of MTU 1500 (two more for wireguard-go), all three kept up, the rounds interleaved so
# that what else the machine does falls on all alike. TCP with 1 and with 4 streams, the CPU-seconds
# of both gateways per gigabit carried, those of the whole machine, round trips idle and beside a
# TCP stream, UDP at the highest rate with at most 1 % loss, memory. Each figure is the
# median of the rounds, with the least and the largest; the raw ones are kept. It asserts no speed.
#
# mtu: warren alone: jumbo packets, and the cost of fragments (lib/bench_mtu.sh).
cd "$(dirname "$0")" || exit 1
. lib/lab.sh
. lib/warren.sh
. lib/wg.sh
. lib/packages.sh
. lib/bench_measure.sh
. lib/bench_mtu.sh

ROUNDS=5 SECS=5 MODE=default ONLY=bare,warren,wireguard-go
if [ "${1:-}" = mtu ]; then
	MODE=mtu ONLY=$BENCH_MTU_NAMES
	shift
fi
ALL=$ONLY

usage() {
	sed -n '4s/^# //p' "${0##*/}" >&2
	echo "names: $ALL" >&2
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--rounds) ROUNDS=$2 ;;
	--seconds) SECS=$2 ;;
	--only) ONLY=$2 ;;
	*) usage ;;
	esac
	shift 2 || usage
done
for name in ${ONLY//,/ }; do
	[[ ,$ALL, = *,$name,* ]] || usage
done

need_packages
lab_init bench
OUT=${BENCH_OUT:-$LAB_DIR/bench.tsv}
: >"$OUT"

wanted() {
	[[ ,$ONLY, = *,$1,* ]]
}

# wire A B: two machines and one cable
wire() {
	lab_ns "$1"
	lab_ns "$2"
	lab_node "$1"
	lab_node "$2"
	ip -n "$LAB$1" link add eth0 type veth peer name eth0 netns "$LAB$2"
	ip -n "$LAB$1" addr add 203.0.113.10/24 dev eth0
	ip -n "$LAB$2" addr add 203.0.113.20/24 dev eth0
	ip -n "$LAB$1" link set eth0 up
	ip -n "$LAB$2" link set eth0 up
	serve "$2"
}

# On machines of its own: warren would take the way through it for one more path, and may prefer it.
start_wireguard_go() {
	local n
	wg_go_find || lab_die "no wireguard-go"
	wire wg-a wg-b
	for n in wg-a wg-b; do
		wg_pair "$LAB_DIR/$n.key"
		wg_go_start $n wgbench0
		PIDS[wireguard-go]+=" $LAB_PID"
	done
	wg_peer wg-a 1 wg-b 203.0.113.20 2
	wg_peer wg-b 2 wg-a 203.0.113.10 1
	FROM[wireguard-go]=wg-a TARGET[wireguard-go]=10.66.0.2
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
	lab_wait 30 '[ "$(mtu_known a)$(mtu_known b)" = 15001500 ]' || lab_die "no path MTU: $(status a '.peers')"
	FROM[warren]=a TARGET[warren]=$(node_ip b)
}

# mtu_known NODE: the MTU of its path in use, once the search is over
mtu_known() {
	status "$1" '.peers[].paths[] | select(.in_use and .mtu_state == "complete") | .mtu'
}

default_start() {
	local name
	wire a b
	FROM[bare]=a TARGET[bare]=203.0.113.20
	! wanted wireguard-go || start_wireguard_go
	! wanted warren || start_warren
	for name in ${ONLY//,/ }; do
		lab_wait 10 "lab_in ${FROM[$name]} ping -c1 -W1 ${TARGET[$name]}" || lab_die "no ping over $name"
	done
}

default_round() {
	local name
	# shellcheck disable=SC2086 # a list
	measure_ping ${ONLY//,/ }
	for name in ${ONLY//,/ }; do
		measure_tcp "$name" 1
		measure_tcp "$name" 4
		measure_loaded "$name"
	done
}

# Once, at the end: the search for the highest rate has rounds of its own.
default_udp() {
	local tunnels=${ONLY//,/ }
	tunnels=${tunnels/bare/}
	# shellcheck disable=SC2086 # a list
	UDP_AS=udp1372_ UDP_BYTES=1372 measure_udp $tunnels
	# shellcheck disable=SC2086
	UDP_AS=udp64_ UDP_BYTES=64 UDP_LEAST=2 UDP_MOST=512 measure_udp $tunnels
}

default_say() {
	local name
	for name in ${ONLY//,/ }; do
		note "$name" hwm "$(memory "$name" VmHWM)"
		note "$name" anon "$(memory "$name" RssAnon)"
	done
	! wanted warren || echo "warren's AEAD: $(status a .aead)"
	! wanted wireguard-go || echo "wireguard-go: $WG_GO_IS"
}

default_tables() {
	python3 lib/bench_table.py "$OUT" warren/bare warren/wireguard-go
}

"${MODE}_start"
for ((round = 1; round <= ROUNDS; round++)); do
	"${MODE}_round"
	echo "round $round of $ROUNDS" >&2
done
[ $MODE = mtu ] || default_udp
the_machine
echo "$ROUNDS rounds of $SECS s; each figure: the median (the least-the largest)"
"${MODE}_say"
"${MODE}_tables"
