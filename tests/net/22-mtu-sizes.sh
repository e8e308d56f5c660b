#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
#
# Sizes that no list of usual ones has: three pairs of hosts, one for each way in which a middle treats
# what is too large, step through them together, in both directions and in one. Through all of it lives
# one connection of each pair.
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
lab_init sizes
warren_need
SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

mtu_three_pairs

# step one|both N: all pairs go there, then each is looked at
step() {
	local x y mode since what back=9000
	for pair in "${PAIRS[@]}"; do
		read -r x y mode <<<"$pair"
		pair_now "$1" "$x" "$y" "$2" "$mode"
	done
	[ "$1" = one ] || back=$2
	mtu_apply
	since=$EPOCHREALTIME
	mtu_renew "${NODES[@]}"
	for pair in "${PAIRS[@]}"; do
		read -r x y mode <<<"$pair"
		what="$2 $1, $mode"
		check_found 20 "$x" "$y" direct "$2" "$what"
		check_found 20 "$y" "$x" direct "$back" "$what" || continue
		check_fits "$x" "$y" "$what"
		CARRY_WHAT=$what check_small_carries "$x" "$y" "sample:$SEED:8:28:9000" $(($2 - 61)) $(($2 - 60)) $(($2 - 59))
		flow_lives "$x" "$since" 200000 "$what"
	done
}

for n in 577 1499 600 1281 1000 1333 1279; do
	step both $n
done
for n in 1499 577 1333 1279 1000 1281 600; do
	step one $n
done
for pair in "${PAIRS[@]}"; do
	flow_take "${pair%% *}"
	check "the connection of ${pair%% *} has lived through all of it" flow_end
done
finish
