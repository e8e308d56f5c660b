#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 400
# alone: it measures how long a hole lasts
#
# A router in the middle begins to drop everything above some size, silently, while data flows: one
# direction of a connection alone, datagrams at a constant rate and one a second, over the relay (either
# leg), IPv6 outside. Each is mended within three seconds. Then the router lets everything pass, and each
# path is found again.
#
#        a ──TCP── b ──TCP── c        each pair meets one hole; the hosts are the same five
#        │ IPv6              │ UDP
#        e ──────relay────── d
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init holes
warren_need

mtu_init
for node in a b c d e; do
	mtu_site "$node"
	mtu_host "$node" 1500
done
mtu_no_ipv6 b c d rv
mtu_cut a e ip
mtu_cut d e
rv_start
for node in a b c d e; do
	node_start "$node"
done
check_wait 30 "five nodes join" 'node_up a && node_up b && node_up c && node_up d && node_up e' \
	"tail -qn 2 $LAB_DIR/[abcde].log" || finish
declare -A IP=()
for node in a b c d e; do
	IP[$node]=$(node_ip $node)
done

# meet A B KIND: by that path, both ways, which takes 1500
meet() {
	check_wait 30 "$1 and $2 meet: $3" "reach $1 ${IP[$2]} &&
		[ \"\$(path_of $1 $2)\$(path_of $2 $1)\" = ${3%6}${3%6} ]" "paths_of $1 $2"
	check_found 20 "$1" "$2" "$3" 1500 "before" && check_found 20 "$2" "$1" "$3" 1500 "before"
}
meet a b direct
meet b c direct
meet c d direct
meet d e relay
meet a e direct6
[ $CHECK_FAILED = 0 ] || finish

# mended SECONDS WHAT
mended() {
	check "$2: mended after $1 s, 3 at most" awk "BEGIN { exit !($1 <= 3) }"
}

# flow_hole NAME SINCE BYTES WHAT: bytes flow again, and the time in which none did
flow_hole() {
	local at
	flow_take "$1"
	at=$(flow_bytes)
	check_wait 15 "$4: bytes flow" "[ \"\$(flow_bytes)\" -gt $((at + $3)) ]" flow_mss
	mended "$(flow_gap "$2")" "$4"
}

flow_begin data a b "${IP[b]}" 1000000
flow_begin acks b c "${IP[c]}" 1000000
stream_begin fast c d "${IP[d]}" 1400 100
stream_begin slow d c "${IP[c]}" 1400 1
flow_begin leg1 d e "${IP[e]}" 500000
flow_begin ip6 a e "${IP[e]}" 1000000
# both have been watched for some time
lab_wait 10 'flow_take leg1; [ "$(flow_bytes)" -gt 2000000 ]'

# --- the holes, all at once
pair_now one a b 1300 drop   # the direction of the bytes
pair_now one c b 1000 drop   # the direction of the acknowledgements
pair_now both c d 1123 drop # both have datagrams
pair_now one d rv 1250 drop  # the first leg of the bytes
pair_now one a e 1290 drop   # IPv6
since=$EPOCHREALTIME
mtu_apply
flow_hole data "$since" 2000000 "TCP, its own direction cut to 1300"
flow_hole acks "$since" 2000000 "TCP, the way back cut to 1000"
flow_hole leg1 "$since" 1000000 "TCP over the relay, first leg cut to 1250"
flow_hole ip6 "$since" 2000000 "TCP, IPv6 outside, cut to 1290"
mended "$(stream_hole fast "$since")" "UDP, 100 a second, cut to 1123"
lab_wait 4 "[ $((${since%.*} + 7)) -le \$EPOCHSECONDS ]"
mended "$(stream_hole slow "$since")" "UDP, one a second, cut to 1123"
check_found 20 a b direct 1300 "cut"
check_found 20 c d direct 1123 "cut"
check_found 20 d c direct 1123 "cut, one datagram a second"
check_found 20 d e relay 1250 "cut"
check_found 20 a e direct6 1290 "cut"
check "the way back of a direction that is cut has stayed" test "$(path_mtu b a direct)$(path_mtu e d relay)$(path_mtu e a direct6)" = 150015001500

# the direction in which nobody has sent anything large, from its first bytes on
since=$EPOCHREALTIME
flow_begin upload c b "${IP[b]}" 1000000
flow_hole upload "$since" 2000000 "TCP the other way, which was cut to 1000 before"
check_found 20 c b direct 1000 "cut"

# the second leg of the relay, with bytes that come from the other side
flow_begin leg2 e d "${IP[d]}" 500000
flow_take leg2
lab_wait 10 '[ "$(flow_bytes)" -gt 1500000 ]'
pair_now one rv d 1111 drop
since=$EPOCHREALTIME
mtu_apply
flow_hole leg2 "$since" 1000000 "TCP over the relay, last leg cut to 1111"
check_found 20 e d relay 1111 "cut"

# --- lifted
for pair in "${!MTU_SIZE[@]}"; do
	unset "MTU_SIZE[$pair]" "MTU_MODE[$pair]"
done
mtu_apply
lifted=$SECONDS
# again FROM TO KIND
again() {
	check_wait $((125 - (SECONDS - lifted))) "lifted: $1 → $2: 1500 found again within two minutes" \
		"[ \"\$(path_mtu $1 $2 $3)\" = 1500 ]" "paths_of $1 $2"
	check_found 5 "$1" "$2" "$3" 1500 "lifted"
}
again a b direct
again c b direct
again c d direct
again d c direct
again a e direct6
again d e relay
again e d relay
echo "# the last one after $((SECONDS - lifted)) s"
for name in data acks upload leg1 leg2 ip6; do
	flow_take $name
	check "the connection has lived through it: $name" flow_end
done
finish
