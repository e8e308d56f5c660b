#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# A stock WireGuard peer and the members of a network, through a member that lists it: docs/trino.md, "A laptop".
#
#   l (wireguard-go, 10.99.0.2) ══ c1 (member, forwards) ══ w1 (member, has never heard of l)
#   m (wireguard-go, 10.98.0.2) ══ c1: its address is none that the rendezvous granted to c1
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
lab_init laptop
warren_need
wg_go_find || { skip "a laptop" "no wireguard-go" && finish; }

lab_public_host rv $RV_ADDR
lab_public_host c1 203.0.113.21 2001:db8::21
lab_public_host w1 203.0.113.22 2001:db8::22
lab_public_host l 203.0.113.23 2001:db8::23
lab_public_host m 203.0.113.24 2001:db8::24
rv_start --route c1=10.99.0.0/24 --route c1=fd99::/64
lab_in c1 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
node_start c1 WARREN_PORT=51820
node_start w1
check_wait 20 "c1 and w1 have joined" 'node_up c1 && node_up w1' "tail -qn 2 $LAB_DIR/{c1,w1}.log" || finish
W1=$(node_ip w1) W1_6=$(status w1 .ip6) C1=$(node_ip c1)

# What the laptop's owner writes, and one line on c1.
wg_of c1 show warren0 public-key >"$LAB_DIR/c1.key.pub"
# laptop NODE N: 10.N.0.2 and fdN::2
laptop() {
	wg_pair "$LAB_DIR/$1.key"
	wg_bare "$1" wg0 go
	wg_of "$1" set wg0 private-key "$LAB_DIR/$1.key" peer "$(wg_pub c1)" endpoint 203.0.113.21:51820 \
		allowed-ips 10.77.0.0/16,fd00::/8 persistent-keepalive 25
	lab_in "$1" ip addr add "10.$2.0.2/32" dev wg0
	lab_in "$1" ip addr add "fd$2::2/128" dev wg0
	lab_in "$1" ip link set wg0 up mtu 1420
	lab_in "$1" ip route add 10.77.0.0/16 dev wg0
	lab_in "$1" ip -6 route add fd00::/8 dev wg0
	cat >"$LAB_DIR/$1.conf" <<-CONF
		[Peer]
		PublicKey = $(wg_pub "$1")
		AllowedIPs = 10.$2.0.2/32, fd$2::2/128
	CONF
	wg_of c1 addconf warren0 "$LAB_DIR/$1.conf"
}
laptop l 99
laptop m 98

check_wait 10 "the laptop reaches the member that lists it" "reach l $C1" "wg_of l show"
check_wait 10 "and another that does not" "reach l $W1" "status w1 .drops; status c1 .drops"
check_wait 10 "over IPv6, too" "reach l $W1_6"
check "a member reaches the laptop" reach w1 10.99.0.2
check "over IPv6" reach w1 fd99::2
check "TCP to the member, by hash" transfer l w1 "$W1" 16777216
check "TCP to the laptop, by hash" transfer w1 l 10.99.0.2 16777216

# --- the door stays closed ---

spoofed() {
	status w1 '.drops.inner_spoofed_source // 0'
}
before=$(spoofed)
check_wait 10 "who lists it has the other one" "reach m $C1"
check "an address that c1 was not granted gets no further" bash -c "! ip netns exec ${LAB}m ping -c 3 -i 0.2 -W 1 -q $W1 >/dev/null"
check "it is dropped where it arrives" test "$(spoofed)" -gt "$before"
check "and is not to be reached" bash -c "! ip netns exec ${LAB}w1 ping -c 1 -W 1 -q 10.98.0.2 >/dev/null 2>&1"
lab_in c1 ip addr add 192.168.55.1/32 dev lo
lab_in l ip route add 192.168.55.1 dev wg0
wg_of l set wg0 peer "$(wg_pub c1)" allowed-ips 10.77.0.0/16,fd00::/8,192.168.55.0/24
check "a static peer keeps WireGuard's rules: c1's own LAN is c1's firewall's to guard" reach l 192.168.55.1
check "a member is not let through to there" bash -c "! ip netns exec ${LAB}w1 ping -c 1 -W 1 -q 192.168.55.1 >/dev/null 2>&1"
finish
