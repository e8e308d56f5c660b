#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 260
#
# Relay and direct path have an MTU each. A connection moves between them: to the smaller one without
# a black hole, to the larger one with a larger MSS. Then two paths as people have them: PPPoE behind
# a NAT, and a warren inside of another VPN.
#
#   a ── the middle ── NAT ── b        c ══ wg ══ v ── the middle
#              │ rv
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_move.sh
lab_init relay
warren_need
wg_go_find || lab_die "no wireguard-go"

mtu_init
mtu_site a
mtu_site b portrestricted
mtu_host a 1500
mtu_host b 1500
mtu_no_ipv6 a rv

relay_direct 1300 1500
mtu_cut a b
rv_start
node_start a
node_start b
check_wait 30 "two nodes join" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
A=$(node_ip a) B=$(node_ip b)
check_wait 20 "the relay carries the first packets" "reach a $B && [ \"\$(path_of a b)\" = relay ]" || finish
echo_start b

flow_start a b "$B" 4000000
WHAT="relay 1300"
is_on relay 1300
WHAT="healed: direct 1500"
mtu_heal a b
is_on direct 1500
check "$WHAT: the relay's own MTU is still known" test "$(path_mtu a b relay)" = 1300
WHAT="cut again: relay 1300"
mtu_cut a b
is_on relay 1300
WHAT="one leg of the relay wider: no difference"
mtu_both a rv 1500 silent
mtu_renew a b
is_on relay 1300
check "the connection has lived through all of it" flow_end
check "TCP the other way over the relay" transfer b a "$A" 8388608

relay_direct 1500 1300
mtu_renew a b
flow_start a b "$B" 4000000
WHAT="relay 1500"
is_on relay 1500
WHAT="healed: direct 1300"
mtu_heal a b
is_on direct 1300
WHAT="cut again: relay 1500"
mtu_cut a b
is_on relay 1500
check "the connection has lived through that, too" flow_end

# --- PPPoE: the routers' outer sides have 1492
mtu_clear
for site in a b; do
	ip -n "$LAB$site-r" link set eth0 mtu 1492
	ip -n "${LAB}inet" link set "to$site" mtu 1492
done
mtu_renew a b
WHAT="PPPoE behind a NAT"
moves direct
check_found 20 a b direct 1492 "$WHAT"
check_found 20 b a direct 1492 "$WHAT"
check_pings a "$B" 1432 "$WHAT"
CARRY_WHAT=$WHAT check_carries a b sample:1:40:28:9000

# --- a host whose whole network is a tunnel: c sends everything to v, who has the outer address
mtu_site v
mtu_site c
mtu_no_ipv6 v c
mtu_host v 1500
mtu_host c 1500
wg_pair "$LAB_DIR/v.key"
wg_pair "$LAB_DIR/c.key"
wg_go_start v wg0
wg_go_start c wg0
lab_exec v wg set wg0 listen-port 51820 private-key "$LAB_DIR/v.key" peer "$(cat "$LAB_DIR/c.key.pub")" \
	allowed-ips 10.200.0.2/32
lab_exec c wg set wg0 private-key "$LAB_DIR/c.key" peer "$(cat "$LAB_DIR/v.key.pub")" \
	allowed-ips 0.0.0.0/0 endpoint "${LAB_PUBLIC[v]}:51820"
lab_in v ip addr add 10.200.0.1/24 dev wg0
lab_in c ip addr add 10.200.0.2/24 dev wg0
lab_in v ip link set wg0 mtu 1420 up
lab_in c ip link set wg0 mtu 1420 up
lab_in c ip route add "${LAB_PUBLIC[v]}" via "$(lab_in c ip route show default | awk '{ print $3 }')"
lab_in c ip route replace default dev wg0
lab_in v sysctl -qw net.ipv4.ip_forward=1
lab_in v nft 'table ip nat { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }'
LAB_PUBLIC[c]=${LAB_PUBLIC[v]}
WHAT="inside of another VPN"
node_start c
check_wait 30 "$WHAT: a third node joins" "node_up c && reach c $A" "tail -n 3 $LAB_DIR/c.log"
check_wait 30 "$WHAT: directly" '[ "$(path_of a c)$(path_of c a)" = directdirect ]' 'paths_of a c'
check_found 20 c a direct 1420 "$WHAT"
check_found 20 a c direct 1420 "$WHAT"
echo_start a
CARRY_WHAT=$WHAT check_carries c a sample:1:40:28:9000
finish
