#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: tests/demo.sh [--keep]
#
# The whole product on one machine: a small internet of network namespaces, three sites behind
# NATs that all use the same private addresses, and an unmodified Trino cluster across them.
# Run it as root on Debian 12; it asks nothing, takes a few minutes, and leaves nothing behind.
# With --keep everything stays up afterwards, and the last lines say how to look around.
cd "$(dirname "$0")" || exit 1
. lib/lab.sh
. lib/warren.sh
. lib/trino.sh
. lib/packages.sh

case $*:$# in
:0) KEEP='' ;;
--keep:1) KEEP=1 ;;
*)
	sed -n '4s/^# //p' "$0" >&2
	exit 2
	;;
esac

SITES=(c1 w1 w2)
BLUE='' RED='' PLAIN=''
[ ! -t 1 ] || BLUE=$'\e[1;34m' RED=$'\e[1;31m' PLAIN=$'\e[0m'
BEGAN=$SECONDS

step() {
	printf '\n%s== %s%s   [%d s]\n' "$BLUE" "$*" "$PLAIN" $((SECONDS - BEGAN))
}

say() {
	printf '   %s\n' "$@"
}

indent() {
	sed 's/^/      /'
}

fail() {
	printf '%sFAILED: %s%s\n' "$RED" "$*" "$PLAIN"
	for log in "$LAB_DIR"/*.log; do
		[ -s "$log" ] || continue
		echo "--- the end of ${log##*/}"
		tail -n 6 "$log"
	done
	exit 1
}

# wait_for SECONDS WHAT CONDITION
wait_for() {
	lab_wait "$1" "$3" || fail "not within $1 seconds: $2"
}

goodbye() {
	local status=$?
	trap '' HUP INT TERM
	[ -z "$FETCHING" ] || kill -TERM -- "-$FETCHING" 2>/dev/null
	if [ -n "$LAB_KEEP" ]; then
		keep_notes
	else
		step "Taking everything down"
	fi
	(exit $status)
	lab_cleanup
}

mib() {
	awk -v b="$1" 'BEGIN { printf "%.1f MiB", b / 1048576 }'
}

# --- 0: what is needed

prepare() {
	step "Installing what is needed, building, fetching Trino (only what is not here yet)"
	need_packages || fail "apt-get could not install what is needed"
	setsid trino/fetch.sh >/dev/null 2>"$LAB_DIR/fetch.log" </dev/null &
	FETCHING=$!
	local log=$LAB_DIR/build.log
	if [ "$WARREN" = "$WARREN_ROOT/build/gateway/warren" ]; then
		{
			[ -f "$WARREN_ROOT/build/build.ninja" ] || meson setup "$WARREN_ROOT/build" "$WARREN_ROOT"
			ninja -C "$WARREN_ROOT/build" gateway/warren
		} </dev/null >"$log" 2>&1 || fail "the build: see above"
	fi
	warren_need
	say "warren: $("$WARREN" --version)"
	wait "$FETCHING" || fail "Trino could not be fetched: $(tail -n 3 "$LAB_DIR/fetch.log")"
	FETCHING=
	trino_fetch
	say "Trino 476 and its Java runtime lie in $TRINO_HOME"
}

# --- 1: the internet

build_internet() {
	step "1. A small internet"
	local n=21
	lab_public_host rv $RV_ADDR
	for site in "${SITES[@]}"; do
		lab_site "$site" portrestricted 203.0.113.$n
		lab_as_wire "$site-nat"
		n=$((n + 1))
	done
	lab_lan_host w1 w1-neighbour 192.168.1.20
	say "A public host, rv, at $RV_ADDR, and three sites behind NATs (nftables masquerade):"
	for site in "${SITES[@]}"; do
		printf '%-4s %s behind %s\n' "$site" "$(lab_exec "$site" ip -br -4 addr show eth0 | awk '{ print $3 }')" \
			"${LAB_PUBLIC[$site]}"
	done | indent
	say "The three sites have the same private address: nobody could route between them."
	if lab_in rv ping -c 1 -W 1 192.168.1.10 >/dev/null 2>&1; then fail "rv reaches a private address"; fi
}

# --- 2: joining

# The direct ways are shut at first, only so that the eye can see the first stage, which otherwise
# lasts some milliseconds.
all_pairs() {
	"$1" c1 w1
	"$1" c1 w2
	"$1" w1 w2
}

all_paths() {
	local a b
	for a in "${SITES[@]}"; do
		for b in "${SITES[@]}"; do
			[ "$a" = "$b" ] || [ "$(path_of "$a" "$b")" = "$1" ] || return 1
		done
	done
}

show_links() {
	local a
	for a in "${SITES[@]}"; do
		status "$a" '.worker_id as $me | .peers[] |
			"\($me) to \(.id): \(.path), round trip \(.rtt_ms * 100 | round / 100) ms, towards \(.endpoint // "the relay")"'
	done | indent
}

join_all() {
	step "2. Every site joins with nothing but a token and its name"
	NETWORK=demo
	rv_start
	say "rv runs 'warren rendezvous' as the user $(ps -o user= -p "$RV_PID"), without any privilege."
	say "Its token, which is all that a site needs: ${TOKEN:0:24}…"
	for site in "${SITES[@]}"; do
		lab_capture "$site-nat" eth0 "$LAB_DIR/$site.joining.pcap" udp
		CAPTURES+=("$LAB_PID")
	done
	all_pairs lab_block_direct
	local role=coordinator
	for site in "${SITES[@]}"; do
		trino_node "$LAB_DIR/$site" $role
		role=worker
		node_start "$site" TRINO_MODE=true TRINO_COORDINATOR_ID=c1 TRINO_LOCAL_PORT=8081 \
			TRINO_PROXY_PORT=8080 -- "${TRINO_CMD[@]}"
	done
	say "Each site has started: WARREN_JOIN=… WORKER_ID=w1 TRINO_MODE=true TRINO_COORDINATOR_ID=c1 \\" \
		"                       warren run -- server/bin/launcher run"
	for site in "${SITES[@]}"; do
		wait_for 30 "$site has its address" "node_up $site"
		IP[$site]=$(node_ip "$site")
	done
	say "" "The leases, as the rendezvous has them:"
	rv_status '.members[] | "\(.id)  \(.ip)  seen at \(.endpoint)"' | indent
	show_paths
	show_one_site
}

show_paths() {
	wait_for 30 "every link works over the relay" 'all_paths relay'
	for site in w1 w2; do
		wait_for 20 "c1 reaches $site over the relay" "reach c1 ${IP[$site]}"
	done
	wait_for 20 "w1 reaches w2 over the relay" "reach w1 ${IP[w2]}"
	say "" "First every packet goes over the relay, from the first one on" \
		"(the direct ways are held shut for this moment, so that it can be seen):"
	show_links
	all_pairs lab_unblock_direct
	wait_for 60 "every link has become direct" 'all_paths direct'
	say "" "Now the NATs are open: each link has moved to the direct way by itself."
	wait_for 20 "each direct link has a round-trip time" \
		'! status w1 ".peers[].rtt_ms" | grep -q null'
	show_links
}

show_one_site() {
	say "" "One site from inside. warren status on w1:"
	lab_exec w1 "$WARREN" status | indent
	say "ip addr show dev warren0, ip route:"
	{ lab_exec w1 ip addr show dev warren0 && lab_exec w1 ip route; } | indent
}

# --- 3: Trino

start_cluster() {
	step "3. Trino 476, unmodified, on every site"
	say "The same configuration files on every node; the environment does the rest:"
	{ cat "$LAB_DIR/w1/etc/node.properties" && head -n 2 "$LAB_DIR/w1/etc/config.properties"; } | indent
	say "Waiting for three active nodes, asked at w1's own localhost:8080 …"
	wait_for 300 "three active Trino nodes" '[ "$(trino_active w1)" = 3 ]'
	trino_sql w1 "$TRINO_NODES" | tee "$LAB_DIR/nodes" | indent
	for site in "${SITES[@]}"; do
		grep -q "^$site,http://${IP[$site]}:8081," "$LAB_DIR/nodes" ||
			fail "$site is not in the list with its virtual address ${IP[$site]}"
	done
	say "Every address in the list is a virtual one."
	for pid in "${CAPTURES[@]}"; do lab_stop "$pid"; done
}

# --- 4: the query

# carried DIRECTION: bytes between the workers by path, both ways
carried() {
	local a b
	a=$(status w1 ".peers[] | select(.id == \"w2\") | .tx_$1_bytes")
	b=$(status w2 ".peers[] | select(.id == \"w1\") | .tx_$1_bytes")
	echo $((a + b))
}

run_query() {
	local answer began=${EPOCHREALTIME/./}
	local direct relayed relay_before
	direct=$(carried direct) relayed=$(carried relay) relay_before=$(rv_status .relay.bytes)
	answer=$(trino_sql w1 "$TRINO_QUERY") || fail "the query: $answer"
	BY_DIRECT=$(($(carried direct) - direct))
	BY_RELAY=$(($(carried relay) - relayed))
	RELAY_GREW=$(($(rv_status .relay.bytes) - relay_before))
	say "answer    $answer"
	say "expected  $TRINO_ANSWER   ($(((${EPOCHREALTIME/./} - began) / 1000)) ms)"
	[ "$answer" = "$TRINO_ANSWER" ] || fail "another answer"
	say "between the two workers: $(mib $BY_DIRECT) directly, $(mib $BY_RELAY) by the relay;" \
		"the relay's own counter grew by $(mib $RELAY_GREW)"
}

show_link_bytes() {
	local a
	for a in "${SITES[@]}"; do
		status "$a" '.worker_id as $me | .peers[] |
			"\($me) to \(.id): \(.tx_direct_bytes) bytes directly, \(.tx_relay_bytes) by the relay"'
	done | indent
}

query_both_ways() {
	step "4. A join over 6 million rows, asked at w1's localhost:8080"
	run_query
	[ $BY_DIRECT -gt 50000000 ] || fail "the workers did not exchange the rows directly"
	[ $RELAY_GREW -lt 1000000 ] || fail "the relay carried what should have gone directly"
	say "So the rows went from worker to worker, and the relay stood still." "" \
		"Now the direct way between the two workers is cut, in the middle of the internet."
	lab_block_direct w1 w2
	wait_for 60 "w1 and w2 are back on the relay" \
		'[ "$(path_of w1 w2)$(path_of w2 w1)" = relayrelay ] && reach w1 "${IP[w2]}"'
	run_query
	[ $BY_RELAY -gt 50000000 ] || fail "the workers did not exchange the rows over the relay"
	[ $RELAY_GREW -ge $((BY_RELAY * 95 / 100)) ] || fail "the relay does not count what it carries"
	say "The same answer, and the relay's counter grew by those bytes."
	lab_unblock_direct w1 w2
	wait_for 60 "w1 and w2 are direct again" '[ "$(path_of w1 w2)$(path_of w2 w1)" = directdirect ]'
	say "The way is open again, and so is the direct link." "" "What each link has carried so far:"
	show_link_bytes
}

# The two halves meet only in the result, so the marker never stands in the query's own text.
marker_stays_inside() {
	local a b pids=() args=()
	a=$(printf 'WARREN-MARKER-%02d' $((RANDOM % 100)))
	b=$(printf '%016d' $RANDOM$RANDOM)
	MARKER=$a$b
	say "" "A marker, $MARKER (${#MARKER} bytes), travels as a varchar in a result to w1."
	for site in "${SITES[@]}"; do
		lab_capture "$site-nat" eth0 "$LAB_DIR/$site.marker.pcap"
		pids+=("$LAB_PID")
	done
	lab_capture w1 warren0 "$LAB_DIR/w1.tun.pcap" tcp
	pids+=("$LAB_PID")
	[ "$(trino_sql w1 "SELECT concat('$a', '$b')" --disable-compression)" = "$MARKER" ] ||
		fail "the marker did not come back"
	lab_wait 5 "lib/pcap_check.py --inside '$LAB_DIR/w1.tun.pcap' --marker '$MARKER'"
	for pid in "${pids[@]}"; do lab_stop "$pid"; done
	for site in "${SITES[@]}"; do
		args+=(--outside "$LAB_DIR/$site.joining.pcap" --outside "$LAB_DIR/$site.marker.pcap")
	done
	lib/pcap_check.py "${args[@]}" --inside "$LAB_DIR/w1.tun.pcap" --marker "$MARKER" \
		--need initiation,response,data,ping,pong,relay:data | indent
	[ "${PIPESTATUS[0]}" = 0 ] || fail "the captures: see above"
	say "It was seen on w1's TUN and nowhere outside the NATs; every datagram out there, while joining" \
		"and now, is one of the messages in docs/protocol.md."
}

neighbour_is_outside() {
	lab_exec w2 nc -z -w 3 "${IP[w1]}" 8081 || fail "w2 does not reach w1's Trino at its virtual address"
	if lab_exec w1-neighbour nc -z -w 3 192.168.1.10 8081; then fail "w1's LAN reaches its Trino"; fi
	lab_exec w1-neighbour ping -c 1 -W 2 -q 192.168.1.10 >/dev/null || fail "w1's neighbour does not reach w1 at all"
	say "" "w1's port 8081 is open to w2 through the tunnel, and closed to the host beside it on its own LAN."
}

# --- 5: the end

keep_notes() {
	cat >"$LAB_DIR/on" <<-SH
		#!/bin/bash
		# usage: on NODE COMMAND…
		cd "$PWD" && . lib/lab.sh && LAB=$LAB LAB_DIR=$LAB_DIR PATH=$LAB_DIR/bin:$PATH && lab_exec "\$@"
	SH
	cat >"$LAB_DIR/down" <<-SH
		#!/bin/bash
		cd "$PWD" && . lib/lab.sh && LAB=$LAB LAB_DIR=$LAB_DIR && lab_cleanup
	SH
	chmod +x "$LAB_DIR/on" "$LAB_DIR/down"
	step "Everything stays up. To look around:"
	say "$LAB_DIR/on w1 warren status            (nodes: rv c1 w1 w2 w1-neighbour)" \
		"$LAB_DIR/on w1 ping ${IP[w2]:-10.77.0.2}" \
		"$LAB_DIR/on w1 $TRINO_HOME/java/bin/java -jar $TRINO_HOME/trino --server http://localhost:8080" \
		"logs: $LAB_DIR/*.log" \
		"$LAB_DIR/down                          (takes everything down)"
}

declare -A IP=()
CAPTURES=()
FETCHING=
lab_init demo
trap goodbye EXIT
prepare
build_internet
join_all
start_cluster
query_both_ways
marker_stays_inside
neighbour_is_outside
step "All of it worked."
LAB_KEEP=$KEEP
