#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A neighbour on a node's own LAN is outside: it reaches neither what listens on the virtual address,
# not even with a route to it (Linux answers for any of its addresses on any interface), nor the
# shim; and a member does not reach the neighbour through the node, even where that node forwards.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init lan
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site b portrestricted 203.0.113.22
lab_lan_host a neighbour 192.168.1.20
lab_in a sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
rv_start
node_start a TRINO_MODE=true
node_start b
check_wait 20 "both have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
A=$(node_ip a)
check_wait 20 "they talk" "reach b $A"
lab_spawn a "$LAB_DIR/listen.log" socat "TCP-LISTEN:8081,bind=$A,fork,reuseaddr" SYSTEM:'echo open'
lab_wait 5 'lab_in a ss -Hltn | grep -q :8081'

opens() {
	[ "$(lab_exec "$1" timeout 10 socat -t 5 -T 5 "TCP:$2,connect-timeout=2" STDOUT </dev/null 2>/dev/null)" = open ]
}
closed() {
	! opens "$@"
}

check "a member reaches the port at the virtual address" opens b "$A:8081"
check "the neighbour reaches the node" lab_exec neighbour ping -q -c 1 -W 2 192.168.1.10
check "but not the port at the LAN address" closed neighbour 192.168.1.10:8081
lab_in neighbour ip route add 10.77.0.0/16 via 192.168.1.10
check "nor at the virtual address with a route to it" closed neighbour "$A:8081"
check "nor another member through the node" sh -c "! ip netns exec ${LAB}neighbour ping -q -c 1 -W 2 $(node_ip b)"
check_wait 10 "the shim listens on the node" 'lab_in a nc -z 127.0.0.1 8080'
check "and is closed to the neighbour" closed neighbour 192.168.1.10:8080
check "and on the virtual address it is closed to members" sh -c "! ip netns exec ${LAB}b nc -z -w 2 $A 8080"

# The other way: a member that sends into the node's LAN
lab_in b ip route add 192.168.77.0/24 dev warren0
drops() {
	status b '.drops | add // 0'
}
before=$(drops)
lab_exec b ping -q -c 3 -i 0.2 -W 1 192.168.77.1 >/dev/null
check "an address that is no member's goes nowhere, and is counted" test "$(drops)" -gt "$before"
finish
