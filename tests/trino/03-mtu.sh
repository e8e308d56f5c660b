#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 1000
# alone: three Java machines fill two cores
#
# The paths between the nodes of a real Trino 476 shrink from 1500 to 1200 bytes while its rows cross
# them, and nobody says so: the query ends with the right figures, over the connections that it had.
# The next one runs on the small paths from its start.
#
#   c1 ── c1-r ──┐
#   w1 ── w1-r ──┤ the middle: large packets get lost, in both directions, without ICMP
#   w2 ── w2-r ──┘
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/trino.sh
. lib/mtu_check.sh
lab_init trino
warren_need
trino_fetch || lab_die "no Trino"

SITES=(c1 w1 w2)
PAIRS=("w1 w2" "w2 w1" "c1 w1" "w1 c1" "c1 w2" "w2 c1")
LARGE=1500 SMALL=1200
declare -A IP=()

# each FUNCTION…: for each pair, with the two names as its last arguments; false when one was
each() {
	local pair bad=0
	for pair in "${PAIRS[@]}"; do
		"$@" "${pair% *}" "${pair#* }" || bad=1
	done
	return "$bad"
}

# --- the nodes and their paths

mtu_init
for site in "${SITES[@]}"; do
	mtu_site "$site"
	mtu_host "$site" $LARGE
	mtu_no_ipv6 "$site"
done
rv_start
role=coordinator
for site in "${SITES[@]}"; do
	trino_node "$LAB_DIR/$site" $role
	role=worker
	node_start "$site" TRINO_MODE=true TRINO_COORDINATOR_ID=c1 -- "${TRINO_CMD[@]}"
done
check_wait 30 "three nodes join" 'node_up c1 && node_up w1 && node_up w2' "tail -qn 2 $LAB_DIR/[cw]?.log" || finish
for site in "${SITES[@]}"; do
	IP[$site]=$(node_ip "$site")
done

# found N FROM TO: the path in use is direct and its search has ended with N
found() {
	[ "$(path_of "$2" "$3")" = direct ] && [ "$(path_mtu "$2" "$3" direct)" = "$1" ] &&
		[ "$(route_mtu "$2" "${IP[$3]}")" = $(($1 - 60)) ]
}
check_wait 60 "every path is direct and takes $LARGE bytes" "each found $LARGE" 'each paths_of'
check_wait 240 "three active Trino nodes" '[ "$(trino_active w1)" = 3 ]' "tail -n 3 $LAB_DIR/w1.log" || finish

# --- what is watched

# Resets that come out of the tunnel. Not those of an end that has closed before: Trino's client gives up questions
# whose answer is on its way, and the kernel answers what comes for a closed socket so (RFC 9293, 3.6.1).
for site in "${SITES[@]}"; do
	lab_in "$site" nft -f - <<-'NFT'
		table inet watch {
			counter resets {}
			set closed {
				type ipv4_addr . inet_service . ipv4_addr . inet_service
				flags dynamic
				size 65535
			}
			chain input {
				type filter hook input priority 0
				iifname != "warren0" accept
				tcp flags & (fin | rst) == fin add @closed { ip saddr . tcp sport . ip daddr . tcp dport }
				tcp flags & rst == rst ip saddr . tcp sport . ip daddr . tcp dport != @closed counter name resets
			}
		}
	NFT
done

# ends: how connections ended, for who looks for the reason of a reset
for site in "${SITES[@]}"; do
	lab_capture "$site" warren0 "$LAB_DIR/$site.ends.pcap" 'tcp[tcpflags] & (tcp-rst | tcp-fin) != 0'
done
ends() {
	local site
	for site in "${SITES[@]}"; do
		tcpdump -nttr "$LAB_DIR/$site.ends.pcap" 2>/dev/null | sed "s/^/# $site: /" | tail -n 50
	done
}

resets() {
	local site
	for site in "${SITES[@]}"; do
		lab_in "$site" nft -j list counter inet watch resets | jq '.nftables[].counter | values | .packets'
	done | awk '{ n += $1 } END { print n + 0 }'
}

# lost: how many packets the middle has thrown away for their size
lost() {
	lab_in inet nft -j list chain inet mtu forward |
		jq '[.nftables[].rule.expr // [] | .[].counter.packets? // 0] | add // 0'
}

# carried PATH: bytes between the workers, both ways, by path (direct or relay)
carried() {
	echo $(($(peer_status w1 w2 ".tx_$1_bytes") + $(peer_status w2 w1 ".tx_$1_bytes")))
}

query_state() {
	trino_query_info c1 "$1" .state
}

# query_start NAME: the checked query, in the background; its answer goes to NAME.csv
query_start() {
	QUERY_BEGAN=${EPOCHREALTIME/./} DIRECT=$(carried direct) RELAYED=$(carried relay)
	trino_sql w1 "$TRINO_QUERY" --source "$1" >"$LAB_DIR/$1.csv" 2>"$LAB_DIR/$1.err" &
	QUERY_PID=$!
}

# query_check NAME WHAT: it ends, and well
query_check() {
	wait "$QUERY_PID"
	echo "# $2: $(((${EPOCHREALTIME/./} - QUERY_BEGAN) / 1000)) ms; between the workers" \
		"$((($(carried direct) - DIRECT) >> 20)) MiB directly, $((($(carried relay) - RELAYED) >> 20)) MiB by the relay"
	check "$2: the right figures ($TRINO_ANSWER)" same "$(cat "$LAB_DIR/$1.csv")" "$TRINO_ANSWER" "$LAB_DIR/$1.err"
	check "$2: its state" same "$(query_state "$1")" FINISHED
	check "$2: the rows crossed directly" test $(($(carried direct) - DIRECT)) -gt 50000000
	check "$2: and not over the relay" test $(($(carried relay) - RELAYED)) -lt 1000000
}

same() {
	[ "$1" = "$2" ] && return
	echo "$1, not $2"
	[ -z "${3:-}" ] || tail -n 2 "$3"
	return 1
}

# --- a query, and the paths shrink under it

query_start shrinking
check_wait 120 "rows cross while the query runs" \
	'[ "$(query_state shrinking)" = RUNNING ] && [ $(($(carried direct) - DIRECT)) -gt 10000000 ]' 'query_state shrinking'
for pair in "w1 w2" "c1 w1" "c1 w2"; do
	mtu_both "${pair% *}" "${pair#* }" $SMALL drop
done
at=$(carried direct) since=${EPOCHREALTIME/./}
check "the paths shrink to $SMALL, and it still runs" same "$(query_state shrinking)" RUNNING
# bytes that were under way, and what is sent into the hole, count for little
check_wait 20 "rows cross again" '[ $(($(carried direct) - at)) -gt 5000000 ]' 'paths_of w1 w2; paths_of w2 w1'
echo "# after $(((${EPOCHREALTIME/./} - since) / 1000)) ms"
query_check shrinking "shrinking"
check "shrinking: packets were lost for their size" test "$(lost)" -gt 0
check "shrinking: most rows crossed on the small paths" test $(($(carried direct) - at)) -gt 50000000
check_wait 30 "the workers' paths take $SMALL bytes, exactly" 'found $SMALL w1 w2 && found $SMALL w2 w1' \
	'paths_of w1 w2; paths_of w2 w1'

# --- and one more

before=$(lost)
query_start small
query_check small "on small paths"
check "on small paths: next to nothing was lost: $(($(lost) - before)) packets" test $(($(lost) - before)) -lt 100
check_wait 30 "each path takes $SMALL bytes, exactly" "each found $SMALL" 'each paths_of'
lab_exec w1 "$WARREN" status >"$LAB_DIR/status"
sed 's/^/# /' "$LAB_DIR/status"
check "warren status says so to people" test "$(grep -cE ' direct .* ms +'$SMALL' +'$((SMALL - 60))' ' "$LAB_DIR/status")" = 2
check "no connection inside was reset" same "$(resets)" 0 || ends
lab_exec c1 nc -z -w 3 "${IP[w1]}" 9 # closed
check "(one would have been counted)" same "$(resets)" 1
finish
