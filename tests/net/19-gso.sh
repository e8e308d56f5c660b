#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 150
#
# A middle that loses what is offloaded: the kernel hands batches of datagrams on as one, and here
# everything above 2000 bytes is dropped, as a bad driver would. Single datagrams pass. Nobody says so;
# the counts that the peers send each other show it, and the offload is switched off on that path alone.
# A middle that is overloaded loses batches, too, and single datagrams no less: they stay.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
lab_init gso
warren_need

lab_public_host rv $RV_ADDR
lab_public_host a 203.0.113.21
lab_public_host b 203.0.113.22
lab_public_host c 203.0.113.23
rv_start
for n in a b c; do node_start $n; done
check_wait 20 "all have joined" 'node_up a && node_up b && node_up c' || finish
A=$(node_ip a) B=$(node_ip b) C=$(node_ip c)
check_wait 20 "all paths are direct" '[ "$(path_of a b)$(path_of a c)" = directdirect ]'

# in_use NODE PEER FIELD: of the path in use
in_use() {
	status "$1" ".peers[] | select(.id == \"$2\") | .paths[] | select(.in_use) | .$3"
}

check "batches carry a transfer" transfer a b "$B" 67108864
calls() {
	status a '.udp | "\(.tx_datagrams / .tx_calls)"' | cut -d. -f1
}
check "indeed: $(calls) datagrams a call" test "$(calls)" -gt 5
check "and are allowed" test "$(in_use a b batches)" = true

lab_in inet nft add rule bridge lab forward ip saddr 203.0.113.21 ip daddr 203.0.113.22 \
	meta l4proto udp meta length gt 2000 counter drop
# The verdict needs batches and single datagrams in turns: more traffic than one transfer, or less.
transfers=0 damaged=0
until [ "$(in_use a b batches)" = false ] || [ $transfers = 20 ]; do
	transfer a b "$B" 33554432 >>"$LAB_DIR/lossy" 2>&1 || damaged=$((damaged + 1))
	transfers=$((transfers + 1))
done
check "batches are lost: single datagrams from then on" test "$(in_use a b batches)" = false
check "each transfer until then ends, by hash" test $damaged = 0
check "the log says so" grep -q 'b: batches of datagrams are lost direct to 203.0.113.22' "$LAB_DIR/a.log"
lab_exec a "$WARREN" status >"$LAB_DIR/text"
check "so does the status: $(grep singly "$LAB_DIR/text")" \
	grep -q '^ *direct to 203.0.113.22:.*: datagrams go singly, batches of them get lost$' "$LAB_DIR/text"
check_wait 20 "which shows each path with its MTU" \
	"lab_exec a $WARREN status | grep -Eq '^ +or +relay +$RV_ADDR:[0-9]+ .* 1500\$'"
check "the MTU was not blamed" test "$(in_use a b mtu)" = 1500
check "the other direction goes on in batches" test "$(in_use b a batches)" = true
check "other peers, too" test "$(in_use a c batches)" = true
check "TCP without stalls, by hash" transfer a b "$B" 67108864
check "and back" transfer b a "$A" 67108864
check "to the third" transfer a c "$C" 33554432

lab_in inet nft add rule bridge lab forward ip saddr 203.0.113.21 ip daddr 203.0.113.23 \
	meta l4proto udp limit rate over 8 mbytes/second burst 256 kbytes counter drop
lab_spawn c "$LAB_DIR/iperf3" iperf3 -s -p 5201
check_wait 10 "iperf3 listens" "lab_in c ss -Hltn | grep -q ':5201 '" || finish
# burst RATE BYTES: the share of it that is lost, in percent. 0.4 and 1.2 s: a trial of single datagrams, were
# it one alone, would often fall into the second.
burst() {
	lab_exec a timeout 20 iperf3 -u -b "$1" -l 1372 -n "$2" -J -c "$C" | jq '.end.sum.lost_percent | floor'
}
lost=$(for _ in $(seq 8); do burst 300M 15M; burst 40M 6M; done | tr '\n' ' ')
check "overload comes and goes: $lost% are lost" grep -Eq '[2-9][0-9] [0-9] .*[2-9][0-9] [0-9] ' <<<"$lost"
check "batches are not blamed for it" test "$(in_use a c batches)" = true
check "nor were they for a while" test "$(grep -c 'c: batches of' "$LAB_DIR/a.log")" = 0
finish
