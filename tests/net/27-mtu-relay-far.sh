#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# The smallest and the largest paths, relayed and direct, and a connection that moves between them. IPv6's
# 1280 bytes inside hold on every one, also where one leg of the relay takes 576.
#
#   a ── the middle ── b
#            │ rv
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_move.sh
lab_init far
warren_need

mtu_init
mtu_site a
mtu_site b
mtu_no_ipv6 a b rv
mtu_cut a b
mtu_both a rv 576 silent
rv_start
node_start a
node_start b
check_wait 30 "two nodes join, one of them over 576 bytes" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
A=$(node_ip a) B=$(node_ip b) A6=$(status a .ip6) B6=$(status b .ip6)
check_wait 20 "the relay carries the first packets" "reach a $B && [ \"\$(path_of a b)\" = relay ]" "paths_of a b" || finish
echo_start b

# ipv6_inside: 1280 bytes in one piece, and everything else
ipv6_inside() {
	check "$WHAT: IPv6 inside: 1280 bytes with DF, a → b" ping_often a "$B6" 1280
	check "$WHAT: IPv6 inside: 1280 bytes with DF, b → a" ping_often b "$A6" 1280
	check "$WHAT: IPv6 inside: one more is refused here" ping_says a "$B6" 1281 "mtu.*1280"
	check "$WHAT: IPv6 inside: UDP" echo_sizes a "$B6" sample:1:40:48:9000 1279-1281
	check "$WHAT: IPv6 inside: TCP a → b" transfer a b "$B6" 4194304
	check "$WHAT: IPv6 inside: TCP b → a" transfer b a "$A6" 4194304
}

# leg NODE: its leg alone takes 576
leg() {
	mtu_clear
	mtu_cut a b
	mtu_both "$1" rv 576 silent
	mtu_renew a b
	WHAT="the leg of $1 takes 576"
	check_found 20 a b relay 576 "$WHAT"
	check_found 20 b a relay 576 "$WHAT"
	ipv6_inside
	check "$WHAT: UDP" echo_sizes a "$B" sample:1:40:28:9000
	check "$WHAT: TCP b → a" transfer b a "$A" 4194304
}
leg a
leg b
check "what did not fit went in fragments" test "$(peer_status a b .fragments.packets_sent)" -gt 0

# --- between 576 and 9000, in both roles
relay_direct 576 9000
mtu_renew a b
flow_start a b "$B" 2000000
WHAT="relay 576"
is_on relay 576
WHAT="healed: direct 9000"
mtu_heal a b
is_on direct 9000
WHAT="cut again: relay 576"
mtu_cut a b
is_on relay 576
ipv6_inside

relay_direct 9000 576
mtu_renew a b
WHAT="relay 9000"
is_on relay 9000
WHAT="healed: direct 576"
mtu_heal a b
is_on direct 576
ipv6_inside
WHAT="cut again: relay 9000"
mtu_cut a b
is_on relay 9000
check "the connection has lived through all of it" flow_end
check "TCP the other way over the relay" transfer b a "$A" 8388608
finish
