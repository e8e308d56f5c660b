#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 500
#
# Each path's MTU is found exactly, for each direction by itself, whether routers say something or
# not; it becomes the MTU of the kernel's routes; and what is larger passes all the same.
#
#   a ── a-r ── the middle ── b-r ── b        underlays of 576 to 9000 bytes
#                   │ rv
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init mtu
warren_need
SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

mtu_init
mtu_site a
mtu_site b
mtu_site c
mtu_no_ipv6 a b
# --- from the start on the smallest path there is, with nobody to say so
mtu_all 576 silent
rv_start
node_start a
node_start b
check_wait 30 "two nodes join over a path of 576 bytes" 'node_up a && node_up b' "tail -qn 3 $LAB_DIR/[ab].log" || finish
A=$(node_ip a) B=$(node_ip b)
check_wait 20 "and reach each other directly" "reach a $B && [ \"\$(path_of a b)\$(path_of b a)\" = directdirect ]" \
	"paths_of a b" || finish
echo_start b
both_ways() {
	local n=$1 what=$2
	check_found 20 a b direct "$n" "$what" && check_found 20 b a direct "$n" "$what" || return
	check_pings a "$B" $((n - 60)) "$what"
	check_pings b "$A" $((n - 60)) "$what"
	CARRY_WHAT=$what check_carries a b "${SIZES[@]}"
}
SIZES=(28-9000)
both_ways 576 "from the start, 576 both ways, silent"
check "IPv6 inside: 1280 bytes in one piece for the kernel" ping_often a "$(status b .ip6)" 1280
check "IPv6 inside: 9000 bytes" ping_often a "$(status b .ip6)" 9000 dont
check "IPv6 inside: TCP a → b" transfer a b "$(status b .ip6)" 4194304
check "what did not fit went in fragments" test "$(peer_status a b .fragments.packets_sent)" -gt 0

# A connection that was opened before each change lives through it, and ends with the right bytes.
before_change() {
	mtu_clear
	flow_begin before a b "$B" 1000000
	changed=$EPOCHREALTIME
}
after_change() {
	flow_lives before "$changed" 300000 "$1"
	check "$1: the connection opened before the change: all of its bytes" flow_end
}

# one_way N MODE: a → b alone
one_way() {
	local n=$1 what="$1 one way, $2"
	before_change
	mtu_set a b "$n" "$2"
	mtu_renew a b
	check_found 20 a b direct "$n" "$what"
	check_found 20 b a direct 9000 "$what" || return
	check_pings a "$B" $((n - 60)) "$what"
	CARRY_WHAT=$what check_carries a b "sample:$SEED:20:28:9000"
	after_change "$what"
}

# two_ways N MODE
two_ways() {
	before_change
	mtu_both a b "$1" "$2"
	mtu_renew a b
	both_ways "$1" "$1 both ways, $2"
	after_change "$1 both ways, $2"
}

SIZES=("sample:$SEED:20:28:9000")
one_way 576 icmp
two_ways 1124 icmp
one_way 1280 silent
two_ways 1296 silent
one_way 1400 icmp
two_ways 1492 icmp
one_way 1492 drop
two_ways 1280 drop
one_way 1124 silent
SIZES=(28-9000)
two_ways 1500 silent
SIZES=("sample:$SEED:20:28:9000")
one_way 8896 icmp
one_way 1500 drop
two_ways 9000 icmp
one_way 1296 icmp
two_ways 8896 silent
two_ways 1400 drop

# --- the host's own MTU is the limit
mtu_clear
mtu_host a 1500
mtu_host b 1500
both_ways 1500 "hosts on networks of 1500"

# --- an operator who wants another MTU inside, and a direct path over IPv6
mtu_cut a c ip
mtu_both a c 1400 silent
ip -n "${LAB}a" addr add "${MTU_ADDR6[a]}/64" dev eth0 nodad
ip -n "${LAB}a" -6 route replace default via 2001:db8:1::1
node_start c WARREN_MTU=9000
check_wait 30 "a third one joins with --mtu 9000" "node_up c && reach c $A" "tail -n 3 $LAB_DIR/c.log"
check_wait 30 "the two meet over IPv6" '[ "$(path_of a c)$(path_of c a)" = directdirect ]' "paths_of a c"
check_found 30 a c direct6 1400 "IPv6 outside"
check_wait 20 "IPv6 outside: c → a: 1400 bytes pass" '[ "$(path_mtu c a direct6)" = 1400 ]' "paths_of c a"
check "the pinned node's routes have 9000" test "$(route_mtu c "$A")" = 9000
check "and its status says so" test "$(status c .mtu_pinned)" = 9000
check "9000 bytes with DF pass, cut inside the tunnel" ping_often c "$A" 9000
echo_start a
CARRY_WHAT="pinned 9000 over a path of 1400" check_carries c a "sample:$SEED:100:28:9000"
check "in fragments" test "$(peer_status c a .fragments.packets_sent)" -gt 50

# --- a host that has an IPv6 route but no address of its own: its kernel takes the one of the tunnel, and
# an answer to that would go into the tunnel, for ever and ever
ip -n "${LAB}b" -6 route add default via 2001:db8:2::1 dev eth0 onlink
mtu_renew b c
reach b "$(node_ip c)" >/dev/null
# in_itself NODE…: paths to virtual addresses
in_itself() {
	local node
	for node in "$@"; do
		status "$node" '.peers[].paths[].endpoint' | grep "^\[$(status "$node" .ip6 | cut -d: -f 1-4)"
	done
}
check "no path leads through the tunnel itself" not lab_wait 8 '[ -n "$(in_itself b c)" ]'
finish
