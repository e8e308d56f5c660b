#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: tests/bench.sh [mtu|others|trino] [--rounds N] [--seconds N] [--tcp NAME] [--only NAME,NAME]
#
# warren beside bare veth and wireguard-go, in one run on one machine: for each two namespaces joined
# by a veth pair of MTU 1500, all kept up, the rounds interleaved so that what else the machine does
# falls on all alike. TCP with 1 and with 4 streams, the CPU-seconds of both gateways per gigabit
# carried, those of the whole machine, round trips idle and beside a TCP stream, UDP at the highest
# rate with at most 1 % loss, memory. warren is there twice, once with the AEAD of processors that
# libipsec-mb has nothing for. Each figure is the median of the rounds, with the least and the
# largest; the raw ones are kept. It asserts no speed. iperf3's TCP is CUBIC, as Debian's is, whatever
# this machine was set to; --tcp takes another that `sysctl net.ipv4.tcp_available_congestion_control` has.
#
# mtu: warren alone: jumbo packets, and the cost of fragments (lib/bench_mtu.sh).
# others: nebula and boringtun, too; TCP, ping, memory; draws docs/bench.svg (lib/bench_others.sh).
# trino: a query on three Trino nodes over each of them (lib/bench_trino.sh).
cd "$(dirname "$0")" || exit 1
. lib/lab.sh
. lib/warren.sh
. lib/wg.sh
. lib/trino.sh
. lib/packages.sh
. lib/bench_measure.sh
. lib/bench_variants.sh
. lib/bench_mtu.sh
. lib/bench_others.sh
. lib/bench_trino.sh

ROUNDS=5 SECS=5 TCP=cubic MODE=default ONLY=bare,warren,warren-libcrypto,wireguard-go
case ${1:-} in
mtu) MODE=$1 ONLY=$BENCH_MTU_NAMES ;;
others) MODE=$1 ONLY=$BENCH_OTHERS_NAMES ;;
trino) MODE=$1 ONLY=$BENCH_TRINO_NAMES ;;
esac
[ "$MODE" = default ] || shift
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
	--tcp) TCP=$2 ;;
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
warren_need
OUT=${BENCH_OUT:-$LAB_DIR/bench.tsv}
BENCH_SVG=${BENCH_SVG-../docs/bench.svg}
: >"$OUT"

wanted() {
	[[ ,$ONLY, = *,$1,* ]]
}

default_start() {
	start_all
	memory_watch
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

# The search for the highest rate has rounds of its own.
default_end() {
	local tunnels=,$ONLY,
	tunnels=${tunnels/,bare,/,}
	# shellcheck disable=SC2086 # a list
	UDP_AS=udp1372_ UDP_BYTES=1372 measure_udp ${tunnels//,/ }
	# shellcheck disable=SC2086
	UDP_AS=udp64_ UDP_BYTES=64 UDP_LEAST=2 UDP_MOST=512 measure_udp ${tunnels//,/ }
	memory_note
}

default_tables() {
	python3 lib/bench_table.py "$OUT" warren/bare warren/wireguard-go warren-libcrypto/wireguard-go
}

"${MODE}_start"
for ((round = 1; round <= ROUNDS; round++)); do
	"${MODE}_round"
	echo "round $round of $ROUNDS" >&2
done
"${MODE}_end"
the_machine
what_they_are
if [ "$MODE" = trino ]; then
	echo "$ROUNDS rounds; each figure: the median (the least-the largest)"
else
	echo "TCP: $TCP; $ROUNDS rounds of $SECS s; each figure: the median (the least-the largest)"
fi
"${MODE}_tables"
