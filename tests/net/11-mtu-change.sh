#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 260
#
# A path whose MTU changes while it is used: a black hole is mended within three seconds and the
# connection lives on; what was lost is found again. Nobody can make a path small by forged ICMP messages.
#
#   a ── the middle ── b      a connection, while the path shrinks and grows
#   c ── the middle ── d      forgeries at the same time
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init change
warren_need

mtu_init
for site in a b c d; do
	mtu_site $site
	mtu_host $site 1500
	mtu_no_ipv6 $site
done
rv_start
for node in a b c d; do
	node_start $node
done
check_wait 30 "four nodes join" 'node_up a && node_up b && node_up c && node_up d' "tail -qn 2 $LAB_DIR/[abcd].log" || finish
A=$(node_ip a) B=$(node_ip b) D=$(node_ip d)
lab_wait 10 "reach a $B"
flow_start a b "$B" 4000000
first_mss=$(flow_mss)
echo_start d

# --- a connection that began while the search was under way
check_found 20 a b direct 1500 "the path of the connection"
check_wait 10 "the connection's MSS grows with it (from $first_mss)" \
	'[ "$(flow_mss)" -ge 1388 ]' 'flow_mss; paths_of a b'

# shrinks N: the path loses everything larger, silently, while bytes flow
shrinks() {
	local since=$EPOCHREALTIME at gap
	at=$(flow_bytes)
	mtu_both a b "$1" drop
	# bytes that were under way count for little
	check_wait 15 "shrunk to $1: bytes flow again" "[ \"\$(flow_bytes)\" -gt $((at + 3000000)) ]" 'paths_of a b; flow_mss'
	gap=$(flow_gap "$since")
	check "shrunk to $1: they stopped for $gap s, 3 at most" awk "BEGIN { exit !($gap <= 3) }"
	check_found 20 a b direct "$1" "shrunk to $1"
	check_wait 20 "shrunk to $1: the connection's MSS does, too" \
		"[ \"\$(flow_mss)\" -le $(($1 - 100)) ]" 'flow_mss; paths_of a b'
}
shrinks 1300
shrinks 1000
shrinks 700

# The other direction has carried nothing but acknowledgements, so nobody has missed anything there.
check "shrunk, nobody having looked: TCP the other way" transfer b a "$A" 4194304
check_found 20 b a direct 700 "shrunk, nobody having looked"
mtu_clear
lifted=$SECONDS

# --- forgeries
check_found 20 c d direct 1500 "the other path"
# forged WHAT OPTION…: while datagrams go from c to d, c is told that 600 pass
forged() {
	local what=$1
	shift
	check_forged "$what" c "$D" 1200-1440 . toc "${LAB_PUBLIC[c]}" "${LAB_PUBLIC[d]}" 600 "$@"
	check "$what: MTU in the kernel" test "$(route_mtu c "$D")" = 1440
}
forged "forged, wrong ports" --wrong ports
forged "forged, bytes never sent" --wrong bytes
forged "forged, by who sees the packets"
# The kernel of c has believed the last ones: what it remembers must not become a limit when asked anew.
check "the kernel's own memory of the outer path says 600" eval \
	'lab_in c ip route get "${LAB_PUBLIC[d]}" | grep "mtu 600"'
mtu_renew c d
check_found 20 c d direct 1500 "forged, and the path searched again"

# --- and the first path has grown
check_wait $((125 - (SECONDS - lifted))) "within two minutes a path that was lifted is found again" \
	'[ "$(path_mtu a b direct)" = 1500 ]' 'paths_of a b'
echo "# after $((SECONDS - lifted)) s"
check_found 10 a b direct 1500 "lifted"
check_wait 10 "the connection's MSS has grown again" '[ "$(flow_mss)" -ge 1388 ]' 'flow_mss; paths_of a b'

# --- this host's own network
for n in 1200 1500; do
	since=$EPOCHREALTIME at=$(flow_bytes)
	mtu_host a $n
	check_wait 10 "own MTU $n: bytes flow" "[ \"\$(flow_bytes)\" -gt $((at + 4000000)) ]" 'paths_of a b'
	gap=$(flow_gap "$since")
	check "own MTU $n: never stopping for more than a second ($gap)" awk "BEGIN { exit !($gap <= 1) }"
	check_found 20 a b direct $n "own MTU $n"
done
check "the connection has lived through all of it" flow_end
finish
