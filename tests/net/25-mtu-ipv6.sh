#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 400
#
# IPv6 outside: no router cuts anything, and 1280 bytes pass everywhere. Sizes at that floor and above it,
# in both directions and in one, with IPv4 and IPv6 inside. Then forged Packet Too Big and Fragmentation
# Needed: from on and off the path, about relayed messages, about a stock peer's.
#
#   a ══ IPv6 ══ b        a ══ relay, IPv4 ══ c        a ══ IPv6 ══ g wireguard-go
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init ipv6
warren_need
wg_go_find || lab_die "no wireguard-go"
SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

mtu_init
for node in a b c g; do
	mtu_site "$node"
done
mtu_cut a b ip
mtu_cut a c
rv_start
for node in a b c; do
	node_start "$node"
done
check_wait 30 "three nodes join" 'node_up a && node_up b && node_up c' "tail -qn 2 $LAB_DIR/[abc].log" || finish
B=$(node_ip b) B6=$(status b .ip6) A6=$(status a .ip6) C=$(node_ip c)
check_wait 30 "a and b meet over IPv6" "reach a $B && [ \"\$(path_of a b)\$(path_of b a)\" = directdirect ]" "paths_of a b" || finish
check_wait 30 "a and c over the relay" "reach a $C && [ \"\$(path_of a c)\$(path_of c a)\" = relayrelay ]" "paths_of a c" || finish
echo_start b
echo_start c
flow_begin through a b "$B" 400000

# step one|both N MODE
step() {
	local n=$2 back=9000 since what="IPv6 outside, $2 $1, $3"
	[ "$1" = one ] || back=$n
	pair_now "$1" a b "$n" "$3"
	mtu_apply
	since=$EPOCHREALTIME
	mtu_renew a b
	check_found 20 a b direct6 "$n" "$what"
	check_found 20 b a direct6 "$back" "$what" || return
	check_fits a b "$what"
	CARRY_WHAT=$what check_small_carries a b "sample:$SEED:8:28:9000" $((n - 81)) $((n - 80)) $((n - 79))
	check "$what: IPv6 inside: 1280 bytes in one piece" ping_often a "$B6" 1280
	check "$what: IPv6 inside: UDP" echo_sizes a "$B6" "sample:$SEED:8:48:9000" 1279-1281
	check "$what: IPv6 inside: TCP a → b" transfer a b "$B6" 1048576
	check "$what: IPv6 inside: TCP b → a" transfer b a "$A6" 1048576
	flow_lives through "$since" 200000 "$what"
}
step both 1280 silent
step one 1281 icmp
step both 1400 drop
step one 1280 drop
step both 9000 icmp
step both 1281 drop
step one 1400 silent
step both 1280 icmp
step one 9000 icmp
step both 1400 silent
flow_take through
check "the connection has lived through all of it" flow_end

# --- forgeries
pair_now both a b 1400 drop
pair_now both a rv 1400 drop
pair_now both c rv 1400 drop
mtu_apply
mtu_renew a b c
check_found 20 a c relay 1400 "over the relay"
check_found 20 a b direct6 1400 "IPv6 outside"
wg_pair "$LAB_DIR/g.key"
wg_go_start g wg0
lab_exec g wg set wg0 listen-port 51820 private-key "$LAB_DIR/g.key" \
	peer "$(wg_of a show warren0 public-key)" allowed-ips "$(node_ip a)/32"
lab_in g ip addr add 10.5.0.1/32 dev wg0
lab_in g ip link set wg0 mtu 1420 up
lab_in g ip route add "$(node_ip a)" dev wg0
check "a stock peer beside the members" wg_of a set warren0 peer "$(wg_pub g)" allowed-ips 10.5.0.1/32 \
	endpoint "[${MTU_ADDR6[g]}]:51820"
lab_in a ip route replace 10.5.0.1/32 dev warren0
check_wait 10 "it answers" "reach a 10.5.0.1" "status a '.peers[] | select(.kind == \"static\")'"
echo_start g

# The kernel believes the first one about a stock peer, and cuts what it sends there.
A4=${LAB_PUBLIC[a]} A6OUT=${MTU_ADDR6[a]} B6OUT=${MTU_ADDR6[b]} G6OUT=${MTU_ADDR6[g]}
for wrong in ports bytes; do
	check_forged "Packet Too Big, forged, wrong $wrong" a "$B" 1200-1320 . toa "$A6OUT" "$B6OUT" 1280 --wrong $wrong
	check_forged "about a relayed message, forged, wrong $wrong" a "$C" 1200-1312 . toa "$A4" $RV_ADDR 600 --wrong $wrong
	TELL=1 check_forged "about a stock peer's, forged, wrong $wrong" a 10.5.0.1 1200-1400 . toa "$A6OUT" "$G6OUT" 1280 \
		--wrong $wrong
	mtu_forget a
done
check_forged "Packet Too Big, forged, by who sees the packets" a "$B" 1200-1320 . toa "$A6OUT" "$B6OUT" 1280
check_forged "about a relayed message, by who sees the packets" a "$C" 1200-1312 . toa "$A4" $RV_ADDR 600
TELL=1 check_forged "about a stock peer's, by who sees the packets" a 10.5.0.1 1200-1400 'select(.warren)' toa "$A6OUT" \
	"$G6OUT" 1280
check "which is all that there is to know of its path: that peer has less" \
	test "$(status a '.peers[] | select(.warren | not) | .mtu')" = 1200
check "the kernel's own memory of the outer path says 1280" eval 'lab_in a ip route get "${MTU_ADDR6[b]}" | grep "mtu 1280"'
mtu_renew a c
check_found 20 a b direct6 1400 "forged, and searched again"
check_found 20 a c relay 1400 "forged, and searched again"
finish
