#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# An operator pins the inner MTU: it works over paths that take far less, and what people read says what
# it costs: `warren status`, `warren ping --sweep`, the log.
#
#   p --mtu 1500 ──┬── the middle ── a
#   q --mtu 9000 ──┘
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init pinned
warren_need
SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

mtu_init
for node in a p q; do
	mtu_site "$node"
done
mtu_no_ipv6 a p q
mtu_all 1280 silent
rv_start
node_start a
node_start p WARREN_MTU=1500
node_start q WARREN_MTU=9000
check_wait 30 "three nodes join over 1280" 'node_up a && node_up p && node_up q' "tail -qn 2 $LAB_DIR/[apq].log" || finish
A=$(node_ip a)
declare -A PINNED=([p]=1500 [q]=9000)
for node in p q; do
	check_wait 20 "$node and a meet" "reach $node $A && [ \"\$(path_of $node a)\$(path_of a $node)\" = directdirect ]" \
		"paths_of $node a" || finish
done
echo_start a

text_status() {
	lab_exec "$1" "$WARREN" status
}

# line_of NODE FILE: the member's line of a printed status; FIELDS: columns
member_column() {
	awk -v id="$2" -v column="$3" '$1 == id { print $column }' <<<"$1"
}

# cost_of TEXT: the three numbers of what was cut and put together with a, below its row and other paths' rows
cost_of() {
	sed -n '/^  a /{:next;n;/^ *or /b next;/go singly/b next;s/^ *cut \([0-9]*\) packets into \([0-9]*\), put \([0-9]*\) together$/\1 \2 \3/p}' <<<"$1"
}

# pinned NODE N: everything over a path of N
pinned() {
	local node=$1 n=$2 pin=${PINNED[$1]} what text before after parts
	what="pinned ${PINNED[$1]} over $2"
	check_wait 20 "$what: what the path takes is found all the same" \
		"[ \"\$(path_mtu $node a direct)\$(path_mtu a $node direct)\" = $n$n ]" "paths_of $node a"
	check "$what: the routes have what was asked for" test "$(route_mtu "$node" "$A")" = "$pin"
	check_wait 5 "$what: and those of the other side what fits" "[ \"\$(route_mtu a $(node_ip "$node"))\" = $((n - 60)) ]"
	check_pings "$node" "$A" "$pin" "$what"
	before=$(cost_of "$(text_status "$node")")
	check "$what: 20 packets of $pin bytes with DF" \
		lab_exec "$node" ping -q -c 20 -i 0.02 -W 1 -M "do" -s $((pin - 28)) "$A"
	text=$(text_status "$node")
	after=$(cost_of "$text")
	parts=$(((pin + n - 61) / (n - 60)))
	check "$what: status has the path's MTU beside the inner one" says "$text" "^  a  *$A .* $n  *$pin "
	check "$what: status tells that it is pinned, and what for" \
		says "$text" "^inner MTU pinned to $pin: what does not fit a path is cut$"
	check "$what: status tells what it cost: 20 packets more, $parts parts or more of each ($before; $after)" \
		cost_grew "$before" "$after" 20 $parts
	CARRY_WHAT=$what check_carries "$node" a "sample:$SEED:40:28:9000" $((n - 60)) $((n - 59)) "$pin"
	sweeps "$node" "$n" "$pin" "$what"
}

# cost_grew BEFORE AFTER N PARTS: N packets were cut, each into that many at least; as many answers put together
cost_grew() {
	awk -v before="${1:-0 0 0}" -v after="$2" -v n="$3" -v parts="$4" 'BEGIN {
		split(before, b, " "); split(after, a, " ");
		exit !(a[1] - b[1] >= n && a[2] - b[2] >= n * parts && a[3] >= b[3]) }'
}

# says TEXT PATTERN: a line of it does; else the text is the reason
says() {
	grep -qE -e "$2" <<<"$1" || {
		echo "$1"
		return 1
	}
}

# sweeps NODE N PIN WHAT: the text of warren ping --sweep
sweeps() {
	local text ms='[0-9.]+ ms$'
	text=$(lab_exec "$1" "$WARREN" ping --sweep a 2>&1)
	check "$4: sweep: first line" says "$text" "^a \\($A\\): the route's MTU is $3$"
	check "$4: sweep: a packet of $3 bytes with DF" says "$text" "^ *$3 bytes  answered with DF, $ms"
	[ "$3" = 9000 ] || check "$4: sweep: a larger one is the kernel's" says "$text" \
		"^ *9000 bytes  larger than the route's MTU with DF; answered in fragments of the kernel, $ms"
	check "$4: sweep: all are answered" says "$text" '^([0-9]+) of \1 sizes answered$'
	check "$4: sweep: the largest in one piece" says "$text" "^largest packet in one piece: $3 bytes$"
	check "$4: sweep: which outer packets pass" says "$text" \
		"^path direct via ${LAB_PUBLIC[a]//./\\.}:[0-9]+ \\(in use\\): outer packets of $2 bytes pass, complete, "
}

pinned p 1280
pinned q 1280

# --- the path shrinks under traffic, is looked at anew, and grows again: the log has a line for each
# logged NODE TEXT: a line about the direct path to a
logged() {
	grep -q "a: path MTU $2" "$LAB_DIR/$1.log"
}
at_a="direct to ${LAB_PUBLIC[a]//./\\.}:[0-9]*"
check "log: found" logged p "1280.* $at_a: found by the search"
stream_begin hole p a "$A" 1500 50
mtu_all 576 drop
check_wait 10 "log: a black hole" "logged p '576 (was 1280) $at_a: large packets stopped arriving'" "tail -n 5 $LAB_DIR/p.log"
mtu_renew p q a
pinned p 576
pinned q 576
mtu_clear
mtu_renew p q a
check_wait 10 "log: found again" "logged p '9000 (was [0-9]*) $at_a: found by the search'" "tail -n 5 $LAB_DIR/p.log"
check "log: no line without a change" not grep -E 'path MTU ([0-9]+) \(was \1\)' "$LAB_DIR/p.log"
mtu_host p 1400
check_wait 10 "log: this host's own MTU" "logged p '1400 (was 9000) $at_a: [^:]*MTU'" "tail -n 5 $LAB_DIR/p.log"
finish
