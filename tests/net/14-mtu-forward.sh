#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# A host behind a member, reached by a prefix that the operator granted: what is too large for the
# path is answered by the kernel, and its TCP needs no clamp.
#
#   h 192.168.7.2 ── a (forwards) ══ path of 1300 ══ b
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_lab.sh
lab_init forward
warren_need

mtu_init
mtu_site a
mtu_site b
mtu_set a b 1300 silent
mtu_set b a 1300 silent
# IPv4 outside alone: over IPv6 20 bytes less would fit, and either may be the faster one
for n in a b; do
	ip -n "$LAB$n" -6 route del default
	ip -n "$LAB$n" -6 addr flush dev eth0 scope global
done
rv_start --route a=10.88.7.0/24
lab_ns h
lab_node h
ip -n "${LAB}h" link add eth0 type veth peer name lan1 netns "${LAB}a"
ip -n "${LAB}h" addr add 10.88.7.2/24 dev eth0
ip -n "${LAB}h" link set eth0 up
ip -n "${LAB}h" route add default via 10.88.7.1
ip -n "${LAB}a" addr add 10.88.7.1/24 dev lan1
ip -n "${LAB}a" link set lan1 up
lab_in a sysctl -qw net.ipv4.ip_forward=1
node_start a
node_start b
check_wait 20 "both have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
B=$(node_ip b)

path_mtu() {
	status "$1" ".peers[0].paths[] | select(.in_use) | if .mtu_state == \"complete\" then .mtu else .mtu_state end"
}

check_wait 20 "the host behind a reaches b" "reach h $B" "status b .drops"
check_wait 20 "the path's MTU is found" '[ "$(path_of a b) $(path_mtu a) $(path_mtu b)" = "direct 1300 1300" ]' 'path_mtu a; path_mtu b'
check_wait 5 "a's route to b knows it" "lab_in a ip route get $B | grep -q 'mtu 1240'" "lab_in a ip route get $B"
check_wait 5 "b's route to that prefix knows it" "lab_in b ip route get 10.88.7.2 | grep -q 'mtu 1240'" 'lab_in b ip route get 10.88.7.2'
check "1240 bytes pass with DF" lab_exec h ping -c 1 -W 2 -q -M "do" -s 1212 "$B"

# the first answer teaches h's kernel, so that the second packet does not leave at all
too_large() {
	lab_exec h ping -c 2 -i 0.3 -W 1 -M "do" -s 1213 "$B" 2>&1
}
out=$(too_large)
check "1241 bytes are answered by the kernel of a: Fragmentation Needed, 1240" grep -q 'From 10.88.7.1 .*mtu = 1240' <<<"$out"
check "and h has learnt it" bash -c "ip netns exec ${LAB}h ip route get $B | grep -q 'mtu 1240'"
check "without DF it passes" lab_exec h ping -c 1 -W 2 -q -M dont -s 4000 "$B"
lab_exec a "$WARREN" ping --sweep b >"$LAB_DIR/sweep" 2>&1
check "warren ping --sweep: all sizes are answered" grep -q '^15 of 15 sizes answered' "$LAB_DIR/sweep"
check "the largest in one piece" grep -qx 'largest packet in one piece: 1240 bytes' "$LAB_DIR/sweep"
check "and which outer packets pass" grep -q 'in use.*outer packets of 1300 bytes pass' "$LAB_DIR/sweep"
check "TCP from h to b, by hash" transfer h b "$B" 8388608
check "TCP from b to h, by hash" transfer b h 10.88.7.2 8388608
finish
