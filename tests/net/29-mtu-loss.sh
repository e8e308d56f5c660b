#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# Loss is not a small MTU: with 5 and with 20 % of all packets lost, in each direction, the size is found
# to the byte, stays, and TCP carries its bytes.
#
#   a ── 5 % ── b      c ── 20 % ── d
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init loss
warren_need

mtu_init
for node in a b c d; do
	mtu_site "$node"
	mtu_host "$node" 1500
done
mtu_no_ipv6 a b c d
rv_start
for node in a b c d; do
	node_start "$node"
done
check_wait 30 "four nodes join" 'node_up a && node_up b && node_up c && node_up d' "tail -qn 2 $LAB_DIR/[abcd].log" || finish
A=$(node_ip a) B=$(node_ip b) C=$(node_ip c) D=$(node_ip d)
check_wait 20 "two pairs" "reach a $B && reach c $D && [ \$(path_of a b)\$(path_of c d)\$(path_of b a)\$(path_of d c) = directdirectdirectdirect ]" \
	"paths_of a b" || finish
echo_start b
echo_start d
# The relay's legs, too: else data would leave the bad path, as they should.
for pair in "a b" "b a" "a rv" "rv a" "b rv" "rv b"; do
	MTU_LOSS[$pair]=5
done
for pair in "c d" "d c" "c rv" "rv c" "d rv" "rv d"; do
	MTU_LOSS[$pair]=20
done

# step N MODE [one]
step() {
	local n=$1 back=$1 way=${3:-both}
	[ "$way" = both ] || back=1500
	pair_now "$way" a b "$n" "$2"
	pair_now "$way" c d "$n" "$2"
	mtu_apply
	mtu_renew a b c d
	check_found 30 a b direct "$n" "5 % loss, $n $way, $2"
	check_found 30 b a direct "$back" "5 % loss, $n $way, $2"
	check_found 130 c d direct "$n" "20 % loss, $n $way, $2"
	check_found 130 d c direct "$back" "20 % loss, $n $way, $2"
}
# Several, so that luck is not what is tested. One search in a hundred at 20 % ends too low and looks again
# after a minute.
step 1450 silent
step 1400 drop
step 1111 silent
step 1500 silent
step 1333 silent one
step 1492 icmp

# --- it stays while data flows, and the data arrive
sizes_of_all() {
	path_mtu a b direct
	path_mtu b a direct
	path_mtu c d direct
	path_mtu d c direct
}
timed() {
	local began=$EPOCHREALTIME
	check "$@"
	echo "# in $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }") s"
}
timed "5 % loss: TCP a → b, 4 MiB" transfer a b "$B" 4194304
timed "5 % loss: TCP b → a, 4 MiB" transfer b a "$A" 4194304
timed "20 % loss: TCP c → d, 128 KiB" transfer c d "$D" 131072
timed "20 % loss: TCP d → c, 128 KiB" transfer d c "$C" 131072
check "5 % loss: UDP" echo_sizes a "$B" --tries 20 sample:1:60:28:4000
check "20 % loss: UDP" echo_sizes c "$D" --tries 40 sample:1:20:28:3000
check_wait 30 "what was found is what passes, after all of that" \
	"[ \"\$(sizes_of_all | sort -u)\" = 1492 ]" sizes_of_all
# lost: how many packets the middle has lost since its rules are these
lost() {
	lab_in inet nft list chain inet mtu forward |
		awk '/numgen/ { for (i = 1; i < NF; i++) if ($i == "packets") n += $(i + 1) } END { print n + 0 }'
}
n=$(lost)
check "and packets were lost meanwhile ($n)" test "$n" -gt 300
finish
