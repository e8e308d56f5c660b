#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 220
#
# Connections between members ask for marks of congestion, by the routes alone, and gateways whose queues stand
# make them: over IPv4 and IPv6. A stock peer's routes say nothing of it.
#
#   a ── the middle ── b
#             │ rv
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
lab_init queues
warren_need

lab_public_host rv 203.0.113.10
lab_public_host a 203.0.113.11
lab_public_host b 203.0.113.12
rv_start
node_start a
node_start b
check_wait 30 "two nodes join" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
A=$(node_ip a) B=$(node_ip b) B6=$(status b .ip6)
check_wait 30 "by a direct path" "lab_in a ping -c1 -W1 $B && [ \"\$(path_of a b)\" = direct ]" || finish

route_says() {
	lab_in "$1" ip "$3" route show "$2" | grep -q 'features ecn'
}
check "a's route to b asks for marks" route_says a "$B" -4
check "and b's to a" route_says b "$A" -4
check "and that over IPv6" route_says a "$B6" -6

# marked EDGE NODE: how many packets were, there
marked() {
	status "$2" ".$1.marked"
}

both_marked() {
	echo $(($(marked udp b) + $(marked tun a)))
}

# ask_for_marks PORT: both ends of all connections to it have agreed on them (which ss tells with -o alone)
ask_for_marks() {
	lab_in a ss -Htino state established dport = :"$1" | grep -w ecn >/dev/null
}

# told_by_marks ADDRESS PORT: eight streams from a to b
told_by_marks() {
	local before
	before=$(both_marked)
	lab_spawn b "$LAB_DIR/iperf3.log" iperf3 -s -p "$2"
	lab_wait 10 "lab_in b ss -Hltn | grep ':$2 '" || lab_die "no iperf3: $(cat "$LAB_DIR/iperf3.log")"
	lab_spawn a "$LAB_DIR/iperf.log" iperf3 -c "$1" -p "$2" -t 60 -P 8
	check_wait 10 "connections to $1 ask for marks" "ask_for_marks $2" "tail -n 2 $LAB_DIR/iperf.log"
	check_wait 40 "and are told by them of a queue that stands" "[ \$(both_marked) -gt $before ]"
	check "of which nothing is seen outside" seen_outside
	lab_stop "$LAB_PID" INT
}

# Of two hundred datagrams to b none may be marked by routers, some of which would lose it.
seen_outside() {
	lab_in b timeout 20 tcpdump -vni eth0 -c 200 'udp and greater 1000' 2>/dev/null >"$LAB_DIR/outside"
	[ "$(grep -c 'tos 0x0,' "$LAB_DIR/outside")" = 200 ] || { sed -n 's/.*\(tos [^,]*\),.*/\1/p' "$LAB_DIR/outside" | sort | uniq -c && false; }
}
told_by_marks "$B" 5201
told_by_marks "$B6" 5202

# --- a stock peer: what is behind it may be far away

lab_public_host w 203.0.113.13
wg_pair "$LAB_DIR/w.key"
wg_pair "$LAB_DIR/x.key"
cat >"$LAB_DIR/w.conf" <<-CONF
	[Interface]
	PrivateKey = $(cat "$LAB_DIR/w.key")
	Address = 10.8.0.1/24
	[Peer]
	PublicKey = $(wg_pub x)
	AllowedIPs = 10.8.0.2/32, 192.0.2.0/24
	Endpoint = 203.0.113.12:51820
CONF
lab_spawn w "$LAB_DIR/w.log" "$WARREN" up "$LAB_DIR/w.conf"
check_wait 20 "a WireGuard file's routes are there" 'lab_in w ip route show 192.0.2.0/24 | grep -q .' "tail -n 3 $LAB_DIR/w.log"
check "and ask for none" test -z "$(lab_in w ip route show | grep features)"
finish
