#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 200
#
# 1 GiB over one TCP connection, while the link moves from the relay to the direct path and back,
# and through two rekeys: it must arrive with the right hash. (This build rekeys after 5 s.)
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
lab_init transfer
WARREN=${WARREN_REKEY:-$WARREN}
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site b portrestricted 203.0.113.22
rv_start
lab_block_direct a b
node_start a
node_start b
check_wait 20 "both have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
A=$(node_ip a) B=$(node_ip b)
check_wait 20 "the first packet goes over the relay" "reach a $B && [ \"\$(path_of a b)\" = relay ]" || finish

peer_of_a() {
	status a ".peers[] | select(.id == \"b\") | .$1"
}

# Whenever the age of the session falls, there has been a new one.
count_handshakes() {
	local age last=0 n=0
	while [ ! -e "$LAB_DIR/done" ]; do
		age=$(peer_of_a last_handshake_s 2>/dev/null)
		age=${age%.*}
		if [ "${age:-0}" -lt "$last" ]; then n=$((n + 1)); fi
		last=${age:-0}
		echo $n >"$LAB_DIR/handshakes"
		sleep 0.3
	done
}

sent() {
	echo $(($(peer_of_a tx_direct_bytes) + $(peer_of_a tx_relay_bytes)))
}

count_handshakes &
counting=$!
transfer a b "$B" 1073741824 50000000 >"$LAB_DIR/transfer" 2>&1 &
moving=$!
check_wait 30 "a third over the relay" '[ "$(sent)" -gt 300000000 ]' 'peer_of_a path'
check "none of it directly" test "$(peer_of_a tx_direct_bytes)" -lt 1000000
lab_unblock_direct a b
check_wait 60 "it moves to the direct path on its way" '[ "$(path_of a b)$(path_of b a)" = directdirect ]'
at=$(sent)
check_wait 60 "and another third goes there" "[ \$((\$(sent) - $at)) -gt 300000000 ]"
check "directly indeed" test "$(peer_of_a tx_direct_bytes)" -gt 290000000
lab_block_direct a b
check_wait 30 "the direct path dies: back to the relay" '[ "$(path_of a b)" = relay ]'
if wait $moving; then
	ok "1 GiB arrived with the right hash"
else
	not_ok "1 GiB arrived with the right hash" "$(cat "$LAB_DIR/transfer")"
fi
touch "$LAB_DIR/done"
wait $counting
check "through two rekeys at least: $(cat "$LAB_DIR/handshakes")" test "$(cat "$LAB_DIR/handshakes")" -ge 2
check "and the other way, unpaced, over the relay" transfer b a "$A" 67108864
finish
