#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: [SEED=N] [SOAK_NODES=N] [SOAK_LOGS=DIRECTORY] tests/soak.sh [MINUTES]
#
# Twenty nodes behind mixed NATs, everybody talking with everybody, and faults without end: processes
# killed and frozen, NATs that forget, addresses and cables that change, loss, holes, a rendezvous that dies
# or has no disk, a machine that has no time. What must hold (docs/testing.md, "Soak") is looked at after
# each round of them. By hand as long as one likes; tests/net has five minutes of it.
cd "$(dirname "$0")" || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/soak_faults.sh
. lib/soak_check.sh

MINUTES=${1:-60}
SOAK_NODES=${SOAK_NODES:-20}
SEED=${SEED:-$((EPOCHSECONDS % 32768))}
RANDOM=$SEED
KINDS=(none fullcone portrestricted symmetric)
# Of each kind of NAT one whose processes nobody kills, so that what grows has all the time to.
KILLS=(gateway helper keeper node leaves clock tun)
KEPT=(n1 n6 n11 "n$SOAK_NODES")
RV_ONCE=(rv rv_frozen store rv_keeper disk) # of these one at a time
# What is ordinary whatever the faults are: a question to the rendezvous that was repeated is answered twice; who left
# is asked for over the relay for two minutes more, and a relay that has started meanwhile knows no address of it.
USUAL=(frame_unexpected relay_no_address)
NODES=()
declare -A SOAK_IP6=()
ALLOWED=() BEFORE_ALLOWED=()
ROUND=0 FAULT=0

soak_network() {
	local i n
	lab_public_host rv $RV_ADDR 2001:db8::10
	lab_public_host guest 203.0.113.99
	for ((i = 1; i <= SOAK_NODES; i++)); do
		n=n$i
		NODES+=("$n")
		[ $((i % 8)) != 4 ] || SOAK_IP6[$n]=2001:db8::$((20 + i))
		lab_site "$n" "${KINDS[i % 4]}" "203.0.113.$((20 + i))" ${SOAK_IP6[$n]:+"${SOAK_IP6[$n]}"}
	done
	lab_in inet nft add table bridge soak
	lab_in inet nft add chain bridge soak forward '{ type filter hook forward priority 1; }'
	# a disk of its own for the leases, that can be full
	RV_STATE=$LAB_DIR/rv-state
	install -d "$RV_STATE"
	mount -t tmpfs -o size=2m,mode=700,uid=nobody,gid=nogroup soak "$RV_STATE" || lab_die "no tmpfs for the leases"
	trap soak_cleanup EXIT
}

soak_cleanup() {
	local status=$?
	trap '' HUP INT TERM
	[ -z "${MESH_PID:-}" ] || lab_stop "$MESH_PID"
	umount -l "$RV_STATE"
	[ -z "${SOAK_LOGS:-}" ] || { mkdir -p "$SOAK_LOGS" && find "$LAB_DIR" -maxdepth 1 -type f -exec cp -t "$SOAK_LOGS" {} +; }
	(exit "$status")
	lab_cleanup
}

soak_join() {
	local n
	soak_rv_start
	for n in "${NODES[@]}"; do soak_node_start "$n"; done
	for n in "${NODES[@]}"; do
		lab_wait 40 "node_up $n" || lab_die "$n does not join: $(tail -n 2 "$LAB_DIR/$n.log")"
	done
}

is_one_of() {
	local x=$1
	shift
	[[ " $* " == *" $x "* ]]
}

# A round: one to five faults at different nodes, at their own times.
soak_round() {
	local count=$((1 + RANDOM % 5)) of_rv='' who=() jobs=() kind node seconds after
	ALLOWED=()
	while [ ${#jobs[@]} -lt $count ]; do
		kind=${FAULTS[RANDOM % ${#FAULTS[@]}]} node=${NODES[RANDOM % SOAK_NODES]}
		seconds=$((2 + RANDOM % 8)) after=$((RANDOM % 4)).$((RANDOM % 10))
		is_one_of "$node" "${who[@]}" && continue
		is_one_of "$kind" "${KILLS[@]}" && is_one_of "$node" "${KEPT[@]}" && continue
		if is_one_of "$kind" "${RV_ONCE[@]}"; then
			[ -z "$of_rv" ] || continue
			of_rv=$kind
		fi
		who+=("$node")
		FAULT=$((FAULT + 1))
		echo "  after $after s: $kind $node $seconds s" >>"$LAB_DIR/rounds"
		# shellcheck disable=SC2206 # words
		ALLOWED+=(${FAULT_DROPS[$kind]})
		(sleep "$after" && "fault_$kind" "$node" "$seconds" "$FAULT") >>"$LAB_DIR/faults.log" 2>&1 &
		jobs+=($!)
	done
	wait "${jobs[@]}"
	soak_all_alive
}

soak_check() {
	local talk found
	talk=$(soak_talks "$1")
	soak_drops "$LAB_DIR/drops.now"
	found=$("$SOAK_WATCH" drops "$LAB_DIR/drops" "$LAB_DIR/drops.now" "${USUAL[@]}" "${ALLOWED[@]}" "${BEFORE_ALLOWED[@]}")
	[ -z "$found" ] || finding "round $1: dropped without a reason: ${found//$'\n'/; }"
	{ echo "-- $1" && "$SOAK_WATCH" drops "$LAB_DIR/drops" "$LAB_DIR/drops.now"; } >>"$LAB_DIR/grown"
	mv "$LAB_DIR/drops.now" "$LAB_DIR/drops"
	# a late one of the round before
	BEFORE_ALLOWED=("${ALLOWED[@]}")
	soak_tree "$1"
	echo "round $1, $((SECONDS - BEGAN)) s: $talk" >>"$LAB_DIR/rounds"
	sed -n "/^-- $1\$/,\$p" "$LAB_DIR/rounds"
	tail -n +$((SHOWN + 1)) "$LAB_DIR/findings"
	SHOWN=$(wc -l <"$LAB_DIR/findings")
}

lab_init soak
warren_need
echo "seed $SEED: SEED=$SEED tests/soak.sh $MINUTES"
soak_network
soak_join
: >"$LAB_DIR/findings"
SHOWN=0
soak_leak_watch "$(status n1 .ip6 | sed 's,::.*,::/64,')"
soak_mesh_start
BEGAN=$SECONDS
check "all $SOAK_NODES nodes talk with each other" soak_talks 0
soak_drops "$LAB_DIR/drops"
while [ $((SECONDS - BEGAN)) -lt $((MINUTES * 60)) ]; do
	ROUND=$((ROUND + 1))
	echo "-- $ROUND" >>"$LAB_DIR/rounds"
	soak_round
	soak_check $ROUND
	if [ ! -e "$LAB_DIR/quarter" ] && [ $((SECONDS - BEGAN)) -ge $((MINUTES * 15)) ]; then
		soak_processes "$LAB_DIR/quarter"
	fi
done
soak_processes "$LAB_DIR/end"
while read -r line; do
	[ -z "$line" ] || finding "grown: $line"
done < <("$SOAK_WATCH" memory "$LAB_DIR/quarter" "$LAB_DIR/end")
soak_ends
LEAKS=$(soak_leaks)
tail -n +$((SHOWN + 1)) "$LAB_DIR/findings"
check "$ROUND rounds, $FAULT faults: no inner address was seen on any wire" test "$LEAKS" = 0
check "each pair talked within 10 s of the last fault of each round" sh -c "! grep 'not all pairs' '$LAB_DIR/findings'"
check "nothing was dropped that no fault explains" sh -c "! grep 'without a reason' '$LAB_DIR/findings'"
check "memory and descriptors are flat" sh -c "! grep '^grown' '$LAB_DIR/findings'"
check "and nothing else was found" sh -c "! grep -v 'not all pairs\|without a reason\|^grown\|inner addresses' '$LAB_DIR/findings'"
finish
