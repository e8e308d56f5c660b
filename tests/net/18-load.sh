#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# alone: it compares rates
#
# Ten thousand initiations a second that lead to nothing, of four kinds: a session that is there carries as
# much as beside the same flood of a closed port, strangers with a right key get in, memory stays as it was.
# And a thousand peers.
#
#   b ── a transfer ──> a <── the flood ── f        c: an honest peer, another one in each flood
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
. lib/bench_measure.sh
lab_init load
warren_need

RATE=10000 CLOSED=9 PORT=51820 A=203.0.113.21
SECS=3        # of each transfer
MBIT=${MBIT:-200} # what any machine carries: the tests compare, they ask for no speed
FLOOD_MOST=40 # seconds; a flood is ended before
KINDS=(mac1 unknown replay cookies)

lab_public_host a $A
lab_public_host b 203.0.113.22
lab_public_host c 203.0.113.23
lab_public_host f 203.0.113.24
for k in a b stranger "${KINDS[@]}"; do wg_pair "$LAB_DIR/$k.key"; done

pub() {
	cat "$LAB_DIR/$1.key.pub"
}

# bare NODE INTERFACE ADDRESS WG-OPTION…
bare() {
	local node=$1 dev=$2 addr=$3
	shift 3
	lab_spawn "$node" "$LAB_DIR/$node.log" "$WARREN" -f "$dev"
	PIDS[$node]=$LAB_PID
	lab_wait 10 "[ -S '$LAB_DIR/node/$node/run/wireguard/$dev.sock' ]" ||
		lab_die "no interface on $node: $(cat "$LAB_DIR/$node.log")"
	lab_exec "$node" wg set "$dev" "$@"
	lab_in "$node" ip addr add "$addr/24" dev "$dev"
	lab_in "$node" ip link set "$dev" up
}

# initiation_of NODE: a capture of its next initiation to a, in LAB_DIR/NODE.pcap
initiation_of() {
	lab_capture "$1" eth0 "$LAB_DIR/$1.pcap" udp dst port $PORT and 'udp[8:4] = 0x01000000'
}

# holds NAME: the capture has more than the head of its file
holds() {
	[ "$(stat -c %s "$LAB_DIR/$1.pcap")" -gt 24 ]
}

drops() {
	lab_exec a "$WARREN" status --interface wg0 --json | jq -r ".drops.$1 // 0"
}

shake() {
	lab_exec c wg show wg0 latest-handshakes | awk '{ n = $2 } END { exit !n }'
}

# be WHO: c has another key from now on, and has never heard of a
be() {
	lab_exec c wg set wg0 private-key "$LAB_DIR/$1.key" peer "$(pub a)" remove
	lab_exec c wg set wg0 peer "$(pub a)" allowed-ips 10.7.0.1/32 endpoint "$A:$PORT"
	lab_in c ip addr flush dev wg0
	lab_in c ip addr add "$2/24" dev wg0
}

bare a wg0 10.7.0.1 private-key "$LAB_DIR/a.key" listen-port $PORT peer "$(pub b)" allowed-ips 10.7.0.2/32
for i in "${!KINDS[@]}"; do
	lab_exec a wg set wg0 peer "$(pub "${KINDS[i]}")" allowed-ips "10.7.0.1$i/32"
done
bare b wg0 10.7.0.2 private-key "$LAB_DIR/b.key" peer "$(pub a)" allowed-ips 10.7.0.1/32 endpoint "$A:$PORT"
bare c wg0 10.7.0.99 private-key "$LAB_DIR/stranger.key" peer "$(pub a)" allowed-ips 10.7.0.1/32 endpoint "$A:$PORT"
initiation_of b
initiation_of c
check_wait 10 "a session" 'reach b 10.7.0.1'
check_wait 10 "a stranger gets none" '! reach c 10.7.0.1 && [ "$(drops wg_unknown_key)" -gt 0 ]'
check_wait 5 "both initiations are captured" 'holds b && holds c'
serve a

# flood_start KIND PORT: its process is FLOOD
flood_start() {
	local from=c
	[ "$1" != replay ] || from=b
	lab_spawn f "$LAB_DIR/flood" python3 "$PWD/lib/wg_flood.py" "$1" $A "$2" $RATE $FLOOD_MOST "$(pub a)" "$LAB_DIR/$from.pcap"
	FLOOD=$LAB_PID
	lab_wait 10 "grep -q ready '$LAB_DIR/flood'" || lab_die "no flood: $(cat "$LAB_DIR/flood")"
	sleep 0.3
}

# flood_end: how many messages in SENT, how many a second in SPEED; true when it was there until now
flood_end() {
	local alive=1
	kill -0 "$FLOOD" 2>/dev/null && alive=0
	lab_stop "$FLOOD"
	read -r SENT SPEED < <(awk '/^sent/ { print $2, int($2 / $4) }' "$LAB_DIR/flood")
	rm -f "$LAB_DIR/flood"
	return $alive
}

# carried: Mbit/s that arrive of the rate asked for; 0 and a word when the transfer breaks
carried() {
	lab_in b timeout $((SECS + 20)) iperf3 -c 10.7.0.1 -t $SECS -b "${MBIT}M" -J >"$LAB_DIR/iperf.json" 2>&1
	jq -r '.error // empty' "$LAB_DIR/iperf.json" >&2
	jq -r '.end.sum_received.bits_per_second // 0 | . / 1e5 | floor / 10' "$LAB_DIR/iperf.json"
}

# enter KIND ADDRESS: an honest peer, in the midst of the flood
enter() {
	lab_capture c eth0 "$LAB_DIR/cookies.pcap" udp src port $PORT and 'udp[8:4] = 0x03000000'
	local cookies=$LAB_PID
	be "$1" "$2"
	check_wait 15 "$1: an honest peer gets in" 'reach c 10.7.0.1 && shake' "lab_exec c wg show"
	[ "$1" = mac1 ] || check_wait 3 "$1: it was asked for a cookie" "holds cookies"
	lab_stop "$cookies"
}

# enough RATE CONTROL
enough() {
	awk "BEGIN { exit !($2 > 0 && $1 >= 0.9 * $2) }"
}

# transfers KIND INDEX: what is carried beside a flood of a closed port, in CONTROL; in the flood, in GOT
transfers() {
	flood_start unknown $CLOSED
	CONTROL=$(carried)
	flood_end || BROKEN=yes
	flood_start "$1" $PORT
	carried >"$LAB_DIR/carried" &
	local transfer=$!
	[ -n "$ENTERED" ] || enter "$1" "10.7.0.1$2"
	ENTERED=yes
	wait $transfer
	flood_end || BROKEN=yes
	TOTAL=$((TOTAL + SENT)) GOT=$(cat "$LAB_DIR/carried")
}

# keeps KIND INDEX: in the flood 90 % of what there is without; the machine's hiccups get two more chances
keeps() {
	local try
	BROKEN='' ENTERED='' TOTAL=0
	for try in 1 2 3; do
		transfers "$@"
		enough "$GOT" "$CONTROL" && return
		echo "$1: $GOT of $CONTROL Mbit/s in the flood, try $try"
	done
	return 1
}

# grew DROP: by how much, since the flood's beginning
grew() {
	echo $(($(drops "$1") - ${BEFORE[$1]}))
}

# most WORDS DROP: of all that was sent; the rest may have been lost before the gateway
most() {
	check "$kind: $1: $(grew "$2") of $TOTAL" test "$(grew "$2")" -ge $((TOTAL / 2))
}

# some DROP
some() {
	check "$kind: some were looked at: $(grew "$1")" test "$(grew "$1")" -gt 0
}

# memory NAME FIELD: kB of its processes
memory() {
	local pid sum=0
	# shellcheck disable=SC2086 # a list
	for pid in $(tree ${PIDS[$1]}); do
		sum=$((sum + $(awk -v f="$2:" '$1 == f { print $2 }' "/proc/$pid/status" 2>/dev/null || echo 0)))
	done
	echo $sum
}

carried >/dev/null # what a first transfer allocates is no growth
MEMORY=$(memory a RssAnon)
WHERE=$(lab_exec a wg show wg0 endpoints | grep -F "$(pub b)")
declare -A BEFORE=()
for i in "${!KINDS[@]}"; do
	kind=${KINDS[i]}
	for d in wg_bad_mac1 wg_cookie_sent wg_unknown_key wg_stale_timestamp wg_handshake_rate; do BEFORE[$d]=$(drops $d); done
	if keeps "$kind" "$i"; then
		ok "$kind: the session keeps its rate: $GOT of $CONTROL Mbit/s"
	else
		not_ok "$kind: the session keeps its rate" "$GOT of $CONTROL Mbit/s"
	fi
	# a machine that is busy elsewhere makes no whole flood, but half of one is five times what makes a load
	check "$kind: the flood was one: $SPEED a second" test -z "$BROKEN" -a "$SPEED" -ge $((RATE / 2))
	case $kind in
	mac1) most "dropped as such" wg_bad_mac1 ;;
	unknown) some wg_unknown_key ;;
	replay) some wg_stale_timestamp ;;
	cookies) most "too many for one address" wg_handshake_rate ;;
	esac
	case $kind in unknown | replay) most "asked for a cookie" wg_cookie_sent ;; esac
done
check "nobody moved the session's endpoint" test "$WHERE" = "$(lab_exec a wg show wg0 endpoints | grep -F "$(pub b)")"
GREW=$(($(memory a RssAnon) - MEMORY))
check "memory: $MEMORY kB, and $GREW kB more after the floods" test $GREW -le 1024

# --- a thousand peers ---

for i in $(seq 0 999); do
	printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.%d.%d/32, 10.%d.%d.0/24, fd08:%x::/48\n' \
		"$(head -c 32 /dev/urandom | base64)" $((i / 250)) $((i % 250)) $((16 + i / 250)) $((i % 250)) "$i"
done >"$LAB_DIR/many.conf"
check "a thousand peers, three allowed IPs each" lab_exec a wg addconf wg0 "$LAB_DIR/many.conf"
check "all are there" test "$(lab_exec a wg show wg0 allowed-ips | grep -c fd08)" = 1000
MEMORY=$(memory a RssAnon)
check "in less than 50 MB: $MEMORY kB" test "$MEMORY" -lt 50000
check "the session goes on" reach b 10.7.0.1
finish
