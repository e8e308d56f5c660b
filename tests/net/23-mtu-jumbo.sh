#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 450
#
# Paths of wires of 9000 bytes that take less, but more than 1500: exact where routers say so, near and
# never above it where they do not. Then UDP payloads of each size from 1 to 9000 bytes: with 28 bytes of
# headers the last ones are above the 9000 bytes that fit inside, so the host cuts them by IP.
#
#   a ── icmp ── b      c ── silent ── d      e ── drop ── f
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init jumbo
warren_need
SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

mtu_three_pairs

# found MODE FROM TO N WHAT
found() {
	if [ "$1" = icmp ]; then
		check_found 30 "$2" "$3" direct "$4" "$5"
	else
		check_near 30 "$2" "$3" "$4" "$5"
	fi
}

# step one|both N
step() {
	local x y mode since what
	for pair in "${PAIRS[@]}"; do
		read -r x y mode <<<"$pair"
		pair_now "$1" "$x" "$y" "$2" "$mode"
	done
	mtu_apply
	since=$EPOCHREALTIME
	mtu_renew "${NODES[@]}"
	for pair in "${PAIRS[@]}"; do
		read -r x y mode <<<"$pair"
		what="$2 $1, $mode"
		found "$mode" "$x" "$y" "$2" "$what"
		if [ "$1" = both ]; then
			found "$mode" "$y" "$x" "$2" "$what"
		else
			check_found 30 "$y" "$x" direct 9000 "$what"
		fi
		check_fits "$x" "$y" "$what"
		CARRY_WHAT=$what check_small_carries "$x" "$y" "sample:$SEED:8:28:9000" $(($2 - 61)) $(($2 - 60)) $(($2 - 59))
		flow_lives "$x" "$since" 200000 "$what"
	done
}

step both 4000
step one 8999
step both 2000
step one 8500
step both 8999
step one 4000
step both 8500
step one 2000
for pair in "${PAIRS[@]}"; do
	flow_take "${pair%% *}"
	check "the connection of ${pair%% *} has lived through all of it" flow_end
done

# --- payloads of 1 to 9000 bytes: IP packets of 29 to 9028, over IPv6 49 to 9048
# payloads A B WHAT
payloads() {
	check "$3: UDP payloads of 1 to 9000 bytes" echo_sizes "$1" "$(node_ip "$2")" 29-9028
	check "$3: UDP payloads of 1 to 9000 bytes, IPv6 inside" echo_sizes "$1" "$(status "$2" .ip6)" 49-9048
}
pair_now both a b 9000 icmp
pair_now both c d 1500 silent
pair_now both e f 577 drop
mtu_apply
mtu_renew "${NODES[@]}"
check_found 30 a b direct 9000 "9000"
check_found 30 c d direct 1500 "1500"
check_found 30 e f direct 577 "577"
payloads a b "over 9000"
payloads c d "over 1500"
payloads e f "over 577"

# A node that has 9000 inside: what fits is one packet for the kernel, one byte more are two.
lab_stop "${NODE_PID[c]}"
node_start c WARREN_MTU=9000
check_wait 30 "c again, with --mtu 9000" "node_up c && reach c \$(node_ip d) && [ \"\$(path_of c d)\" = direct ]" "paths_of c d"
check_found_pinned() {
	[ "$(route_mtu c "$(node_ip d)")" = 9000 ]
}
check "its routes have 9000" check_found_pinned
check_pings c "$(node_ip d)" 9000 "pinned 9000 over 1500"
payloads c d "pinned 9000 over 1500"
finish
