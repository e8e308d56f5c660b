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
rv_start --route a=10.88.7.0/24 --route a=fd88:7::/64
lab_ns h
lab_node h
ip -n "${LAB}h" link add eth0 type veth peer name lan1 netns "${LAB}a"
ip -n "${LAB}h" addr add 10.88.7.2/24 dev eth0
ip -n "${LAB}h" link set eth0 up
ip -n "${LAB}h" route add default via 10.88.7.1
ip -n "${LAB}a" addr add 10.88.7.1/24 dev lan1
ip -n "${LAB}a" link set lan1 up
ip -n "${LAB}h" addr add fd88:7::2/64 dev eth0 nodad
ip -n "${LAB}h" -6 route add default via fd88:7::1
ip -n "${LAB}a" addr add fd88:7::1/64 dev lan1 nodad
lab_in a sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
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
# --- the same over IPv6: 1280 bytes pass on every path, so a larger path shows it better
B6=$(status b .ip6)
check_wait 10 "IPv6: the host behind a reaches b" "reach h $B6" "lab_in a ip -6 route get $B6; status b .drops"
check "IPv6: 1280 bytes pass in one piece" lab_exec h ping -c 1 -W 2 -q -M "do" -s 1232 "$B6"
too_large6() {
	lab_exec h ping -c 2 -i 0.3 -W 1 -M "do" -s "$1" "$B6" 2>&1
}
out=$(too_large6 1233)
check "1281 bytes are answered by the kernel of a: Packet Too Big, 1280" grep -q 'From fd88:7::1 .*[Pp]acket too big.*mtu=1280' <<<"$out"
check "and h has learnt it" eval 'lab_in h ip -6 route get "$B6" | grep "mtu 1280"'

# TCP of this host is cut to fit; a super-packet that it forwards must pass whole
check "as long as nothing is forwarded, a's own super-packets fit one message: $(segments_of a) segments" test "$(segments_of a)" = 44
check "without DF it passes" lab_exec h ping -c 1 -W 2 -q -M dont -s 4000 "$B"
lab_exec a "$WARREN" ping --sweep b >"$LAB_DIR/sweep" 2>&1
check "warren ping --sweep: all sizes are answered" grep -q '^15 of 15 sizes answered' "$LAB_DIR/sweep"
check "the largest in one piece" grep -qx 'largest packet in one piece: 1240 bytes' "$LAB_DIR/sweep"
check "and which outer packets pass" grep -q 'in use.*outer packets of 1300 bytes pass' "$LAB_DIR/sweep"
check "TCP from h to b, by hash" transfer h b "$B" 8388608
check "then those of h may be any size" test "$(segments_of a)" = 65535
check "TCP from b to h, by hash" transfer b h 10.88.7.2 8388608
check "TCP from h to b, by hash, IPv6" transfer h b "$B6" 8388608
check "TCP from b to h, by hash, IPv6" transfer b h fd88:7::2 8388608

# --- a path on which IPv6 has more than its floor
mtu_both a b 1400 silent
ip -n "${LAB}h" -6 route flush cache
mtu_renew a b
check_wait 20 "a path of 1400: found" '[ "$(path_mtu a) $(path_mtu b)" = "1400 1400" ]' 'path_mtu a; path_mtu b'
check_wait 5 "a's IPv6 route to b knows it" "lab_in a ip -6 route get $B6 | grep -q 'mtu 1340'" "lab_in a ip -6 route get $B6"
check_wait 5 "b's IPv6 route to that prefix knows it" "lab_in b ip -6 route get fd88:7::2 | grep -q 'mtu 1340'" 'lab_in b ip -6 route get fd88:7::2'
check "IPv6: 1340 bytes pass in one piece" lab_exec h ping -c 1 -W 2 -q -M "do" -s 1292 "$B6"
out=$(too_large6 1293)
check "1341 bytes: Packet Too Big, 1340" grep -q 'From fd88:7::1 .*[Pp]acket too big.*mtu=1340' <<<"$out"
check "TCP from h to b, by hash, IPv6, 1400" transfer h b "$B6" 8388608
finish
