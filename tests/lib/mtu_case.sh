# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# What several scripts about path MTU do with two hosts; to be sourced after mtu_check.sh.

# --- several connections at once (mtu_check.sh's flow_… work on the one that was taken last)

declare -A FLOWS=()

# flow_begin NAME FROM TO ADDRESS BYTES-PER-S: flow_start, to be taken by that name
flow_begin() {
	local name=$1
	shift
	flow_start "$@"
	FLOWS[$name]="$FLOW_FROM $FLOW_PORT $FLOW_LOG $FLOW_SENDER $FLOW_RECEIVER"
}

flow_take() {
	read -r FLOW_FROM FLOW_PORT FLOW_LOG FLOW_SENDER FLOW_RECEIVER <<<"${FLOWS[$1]}"
}

# flow_lives NAME SINCE BYTES WHAT: since that moment it has not stopped for more than 3 s, and goes on
flow_lives() {
	local at gap
	flow_take "$1"
	at=$(flow_bytes)
	check_wait 10 "$4: the connection opened before goes on" "[ \"\$(flow_bytes)\" -gt $((at + $3)) ]" flow_mss
	gap=$(flow_gap "$2")
	check "$4: it never stopped for more than 3 s ($gap)" awk "BEGIN { exit !($gap <= 3) }"
}

# --- datagrams of one size

# stream_begin NAME FROM TO ADDRESS SIZE PER-S: datagrams from now on
declare -A STREAMS=()
stream_begin() {
	local port=$((20000 + RANDOM % 20000)) log
	log=$LAB_DIR/stream.$port
	lab_spawn "$3" "$log.received" python3 "$MTU_LIB/stream.py" receive $port "$log"
	lab_wait 10 "lab_in $3 ss -Huln | grep -q ':$port '" || lab_die "no stream: $(cat "$log.received")"
	lab_spawn "$2" "$log.sent" python3 "$MTU_LIB/stream.py" send "$4" $port "$5" "$6"
	STREAMS[$1]="$log $6"
	lab_wait 10 "[ -s '$log' ]"
}

# stream_hole NAME SINCE: for how long what was sent since then got lost
stream_hole() {
	local log rate
	read -r log rate <<<"${STREAMS[$1]}"
	python3 "$MTU_LIB/stream.py" hole "$log" "$rate" "$2"
}

# --- one case of a matrix

# pair_now one|both A B N MODE: what passes from A to B, or both ways; the way back takes everything else
pair_now() {
	unset "MTU_SIZE[$3 $2]" "MTU_MODE[$3 $2]"
	MTU_SIZE[$2 $3]=$4 MTU_MODE[$2 $3]=$5
	[ "$1" = one ] || MTU_SIZE[$3 $2]=$4 MTU_MODE[$3 $2]=$5
}

# check_near SECONDS FROM TO N WHAT: nothing larger than N is found, and 93 % of it at least: where nobody
# says anything and sizes are dear, the rest is left to later looks (tests/unit/punch/test_pmtu.c: test_jumbo)
check_near() {
	local from=$2 to=$3 n=$4 what=$5 ip
	ip=$(node_ip "$to")
	check_wait "$1" "$what: $from → $to: 93 % of $n bytes found, and not more" \
		"mtu_near $from $to $n" "paths_of $from $to" || return 1
	check_wait 5 "$what: $from → $to: MTU in the kernel" \
		"[ \"\$(route_mtu $from $ip)\" = \$((\$(path_mtu $from $to direct) - 60)) ]" "paths_of $from $to"
}

mtu_near() {
	local found
	found=$(path_mtu "$1" "$2" direct)
	[ "${found:-0}" -le "$3" ] && [ "${found:-0}" -ge $((($3 * 93 + 99) / 100)) ]
}

# check_fits FROM TO WHAT: what the route says passes with DF, one more is refused here, 9000 pass without DF
check_fits() {
	local ip
	ip=$(node_ip "$2")
	check_pings "$1" "$ip" "$(route_mtu "$1" "$ip")" "$3"
}

# check_small_carries FROM TO SIZES…: check_carries with a megabyte, for long matrices
check_small_carries() {
	local from=$1 to=$2 ip back
	shift 2
	ip=$(node_ip "$to") back=$(node_ip "$from")
	check "$CARRY_WHAT: UDP $from ⇄ $to, sizes $*" echo_sizes "$from" "$ip" "$@"
	check "$CARRY_WHAT: TCP $from → $to" transfer "$from" "$to" "$ip" 1048576
	check "$CARRY_WHAT: TCP $to → $from" transfer "$to" "$from" "$back" 1048576
}

# --- forged ICMP

# sizes_now NODE [FILTER]: what it believes of all its peers (of those that the jq filter lets through), a line
# for each route and each path that has a size
sizes_now() {
	status "$1" ".peers[] | ${2:-.} | .key as \$k | \"\(\$k) route \(.mtu)\",
		(.paths[]? | select(.mtu) | \"\(\$k) \(.kind),\(.endpoint) \(.mtu)\")"
}

# not_smaller BEFORE AFTER: of what both tell of, and something at least
not_smaller() {
	awk 'NR == FNR { was[$1, $2] = $3; next }
		($1, $2) in was { n++; if ($3 < was[$1, $2]) { print $2, "was", was[$1, $2], "is", $3; bad = 1 } }
		END { exit bad || !n }' <(echo "$1") <(echo "$2")
}

# check_forged WHAT NODE ADDRESS SIZES FILTER DEVICE FROM TO MTU [OPTION…]: while datagrams of those sizes go
# from the node to an inner address, it is told TELL times (30) that no more than MTU passes from one outer address
# to the other (see icmp_forge.py). What it believes of the peers of FILTER must stay. Not where the middle is
# `silent` about that pair: it would lose these messages, too.
check_forged() {
	local what=$1 node=$2 to=$3 sizes=$4 filter=$5 out=$LAB_DIR/forged pid before tell=${TELL:-30}
	shift 5
	before=$(sizes_now "$node" "$filter")
	: >"$out"
	lab_spawn inet "$out" python3 "$MTU_LIB/icmp_forge.py" --least 1000 "${@:5}" "${@:1:4}" "$tell"
	pid=$LAB_PID
	lab_wait 5 "grep -q listening '$out'"
	echo_sizes "$node" "$to" "$sizes" >/dev/null
	check_wait 10 "$what: $tell told" "! kill -0 $pid; grep -q '^$tell sent' '$out'" "cat '$out'"
	# whatever it would do, it would do now
	check "$what: datagrams go on as before" echo_sizes "$node" "$to" "$sizes"
	check "$what: no path and no route has become smaller" not_smaller "$before" "$(sizes_now "$node" "$filter")"
}

# mtu_three_pairs: a and b, c and d, e and f have joined and met, one pair for each way in which a middle
# treats what is too large; a connection goes on between the two of each. Sets PAIRS and NODES.
mtu_three_pairs() {
	local node pair x y mode
	PAIRS=("a b icmp" "c d silent" "e f drop")
	NODES=(a b c d e f)
	mtu_init
	for node in "${NODES[@]}"; do
		mtu_site "$node"
	done
	mtu_no_ipv6 "${NODES[@]}"
	rv_start
	for node in "${NODES[@]}"; do
		node_start "$node"
	done
	for pair in "${PAIRS[@]}"; do
		read -r x y mode <<<"$pair"
		check_wait 30 "$x and $y join and meet" "node_up $x && node_up $y && reach $x \$(node_ip $y) &&
			[ \"\$(path_of $x $y)\$(path_of $y $x)\" = directdirect ]" "tail -qn 2 $LAB_DIR/[$x$y].log" || finish
		echo_start "$y"
		flow_begin "$x" "$x" "$y" "$(node_ip "$y")" 400000
	done
}
