# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# `tests/bench.sh trino`: what the network costs a real Trino. To be sourced after bench_measure.sh.
#
# Three nodes, c1, w1 and w2, on one segment of MTU 1500, joined by three ways at once: the segment
# itself, a mesh of wireguard-go and warren. There is one cluster, and its nodes know each other by
# warren's virtual addresses. What changes from run to run is only which way leads to these:
#
#     ip rule 10: table 100   bare            10.77.0.3 via 203.0.113.23 dev eth0
#                 table 101   wireguard-go    10.77.0.3 dev wgbench0
#                 no rule     warren          10.77.0.3 dev warren0, as warren has set it
#
# So each way has the same Java machines, equally warm, in turns. A change closes the connections of
# the way before: they would keep its segment size.

BENCH_TRINO_NAMES=bare,wireguard-go,warren
TRINO_SITES=(c1 w1 w2)
TRINO_WARM=12        # queries before the first that counts
TRINO_QUERY_MAX=90   # seconds for one of them
TRINO_START_MAX=300  # seconds until three nodes are active
declare -A TRINO_DEV=([bare]=eth0 [wireguard-go]=wgbench0 [warren]=warren0)
declare -A TRINO_TABLE=([bare]=100 [wireguard-go]=101)
declare -A TRINO_IP=()

# for_pairs FUNCTION: for each site and each other site
for_pairs() {
	local a b
	for a in "${TRINO_SITES[@]}"; do
		for b in "${TRINO_SITES[@]}"; do
			[ "$a" = "$b" ] || "$@" "$a" "$b" || return
		done
	done
}

# --- the ways

# The guard drops what comes for a virtual address by another interface than warren's, which is what
# two of the three ways do here. Where a living process has the table of its name, warren goes on
# without one, and says so.
trino_no_guard() {
	lab_spawn "$1" "$LAB_DIR/$1.nft.log" sh -c \
		'{ echo "add table inet warren-warren0 { flags owner; }"; exec sleep infinity; } | nft -i'
	lab_wait 5 "lab_in $1 nft list tables | grep -q warren-warren0" || lab_die "no table: $(cat "$LAB_DIR/$1.nft.log")"
}

trino_direct() {
	[ "$(path_of "$1" "$2")" = direct ] && [ "$(status "$1" ".peers[] | select(.id == \"$2\") |
		.paths[] | select(.in_use and .mtu_state == \"complete\") | .mtu")" = 1500 ]
}

trino_warren() {
	local site
	rv_start
	for site in "${TRINO_SITES[@]}"; do
		trino_no_guard "$site"
		node_start "$site" TRINO_MODE=true TRINO_COORDINATOR_ID=c1
		PIDS["warren"]+=" $LAB_PID"
	done
	lab_wait 30 'node_up c1 && node_up w1 && node_up w2' || lab_die "warren: $(tail -qn 2 "$LAB_DIR"/[cw]?.log)"
	lab_wait 60 'for_pairs trino_direct' || lab_die "no direct paths: $(status c1 .peers)"
	for site in "${TRINO_SITES[@]}"; do
		TRINO_IP[$site]=$(node_ip "$site")
	done
	IS["warren"]="warren $(status c1 .release): $(status c1 .aead)"
}

trino_wg_peer() {
	lab_exec "$1" wg set wgbench0 peer "$(wg_pub "$2")" endpoint "${LAB_PUBLIC[$2]}:51999" \
		allowed-ips "${TRINO_IP[$2]}/32"
}

trino_wireguard_go() {
	local site
	wg_go_find || lab_die "no wireguard-go"
	for site in "${TRINO_SITES[@]}"; do
		wg_pair "$LAB_DIR/$site.key"
		wg_go_start "$site" wgbench0
		PIDS["wireguard-go"]+=" $LAB_PID"
		lab_exec "$site" wg set wgbench0 listen-port 51999 private-key "$LAB_DIR/$site.key"
		ip -n "$LAB$site" link set wgbench0 mtu 1420 up
	done
	for_pairs trino_wg_peer
	IS["wireguard-go"]=$WG_GO_IS
}

trino_routes() {
	local at="${TRINO_IP[$2]}/32" src="src ${TRINO_IP[$1]}"
	# shellcheck disable=SC2086 # two words
	ip -n "$LAB$1" route add "$at" via "${LAB_PUBLIC[$2]}" dev eth0 $src table "${TRINO_TABLE[bare]}"
	# shellcheck disable=SC2086
	ip -n "$LAB$1" route add "$at" dev wgbench0 $src table "${TRINO_TABLE[wireguard-go]}" 2>/dev/null || ! wanted wireguard-go
}

# way NAME: from now on it leads from each virtual address to the others
way() {
	local site table=${TRINO_TABLE[$1]:-}
	for site in "${TRINO_SITES[@]}"; do
		ip -n "$LAB$site" rule del pref 10 2>/dev/null
		[ -z "$table" ] || ip -n "$LAB$site" rule add pref 10 lookup "$table"
		lab_in "$site" ss -K state established dst 10.77.0.0/16 >/dev/null 2>&1
	done
	lab_wait 10 'for_pairs way_open' || lab_die "no way over $1"
}

way_open() {
	lab_in "$1" ping -q -c 1 -W 1 "${TRINO_IP[$2]}"
}

# --- the cluster

trino_cluster() {
	local site role=coordinator
	for site in "${TRINO_SITES[@]}"; do
		trino_node "$LAB_DIR/$site" $role
		role=worker
		lab_spawn "$site" "$LAB_DIR/$site.trino.log" env WORKER_ID="$site" WARREN_IP="${TRINO_IP[$site]}" \
			"${TRINO_CMD[@]}"
		PIDS["java"]+=" $LAB_PID"
	done
	lab_wait $TRINO_START_MAX '[ "$(trino_workers)" = 2 ]' ||
		lab_die "no cluster: $(tail -qn 2 "$LAB_DIR"/*.trino.log)"
}

# trino_ask SECONDS SQL: "TIME ANSWER", asked at w1's localhost:8080
trino_ask() {
	lab_exec w1 "$TRINO_TESTS/lib/trino_query.py" "$1" http://localhost:8080 "$2"
}

trino_workers() {
	trino_ask 15 "SELECT count(*) FROM system.runtime.nodes WHERE state = 'active' AND NOT coordinator" | cut -d' ' -f2
}

sent_by() {
	lab_in w1 cat "/sys/class/net/$1/statistics/tx_bytes"
}

# trino_run NAME: the query once; sets TOOK, and CPU of NAME's processes, JAVA and BUSY of the machine
# in CPU-seconds. The answer must be right and the
# rows must have gone that way.
trino_run() {
	local cpu java busy sent dev=${TRINO_DEV[$1]} hz answer
	hz=$(getconf CLK_TCK)
	cpu=$(cpu_ticks "$1") java=$(cpu_ticks java) busy=$(busy_ticks) sent=$(sent_by "$dev")
	read -r TOOK answer < <(trino_ask $TRINO_QUERY_MAX "$TRINO_QUERY" 2>"$LAB_DIR/query.err")
	CPU=$(awk "BEGIN { print ($(cpu_ticks "$1") - $cpu) / $hz }")
	JAVA=$(awk "BEGIN { print ($(cpu_ticks java) - $java) / $hz }")
	BUSY=$(awk "BEGIN { print ($(busy_ticks) - $busy) / $hz }")
	[ "$answer" = "$TRINO_ANSWER" ] || lab_die "the query over $1: $answer $(cat "$LAB_DIR/query.err"), not $TRINO_ANSWER"
	sent=$((($(sent_by "$dev") - sent) >> 20))
	[ $sent -ge 40 ] || lab_die "the rows did not go over $1: $sent MiB"
	echo "$1: $TOOK s, $CPU CPU-s of its processes, $JAVA of Trino's, $BUSY of the machine; w1 sent $sent MiB by $dev" >&2
}

# --- the modes' parts

trino_start() {
	local n=21 site
	trino_fetch || lab_die "no Trino"
	lab_public_host rv "$RV_ADDR"
	for site in "${TRINO_SITES[@]}"; do
		lab_public_host "$site" 203.0.113.$n
		n=$((n + 1))
	done
	trino_warren
	! wanted wireguard-go || trino_wireguard_go
	for_pairs trino_routes
	way "${ONLY%%,*}"
	trino_cluster
	memory_watch
	trino_warm
}

# trino_warm: over each way in turns, as later. What is compiled already is not compiled again.
trino_warm() {
	local names n
	IFS=, read -ra names <<<"$ONLY"
	for ((n = 0; n < TRINO_WARM; n++)); do
		way "${names[n % ${#names[@]}]}"
		trino_run "${names[n % ${#names[@]}]}"
	done
}

# Each round begins with another way: what a run gains from those before it falls to all.
trino_round() {
	local name names i
	IFS=, read -ra names <<<"$ONLY"
	for ((i = 0; i < ${#names[@]}; i++)); do
		name=${names[(i + round) % ${#names[@]}]}
		way "$name"
		trino_run "$name"
		note "$name" query "$TOOK"
		note "$name" querycpu "$CPU"
		note "$name" queryjava "$JAVA"
		note "$name" querybusy "$BUSY"
	done
}

trino_end() {
	memory_note
}

trino_tables() {
	python3 lib/bench_table.py "$OUT" --names "$ONLY" wireguard-go/bare warren/bare warren/wireguard-go
}
