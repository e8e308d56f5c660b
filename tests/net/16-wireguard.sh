#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# What a WireGuard interface does for its peers, with warren and wireguard-go, and warren and warren,
# on bare interfaces that wg(8) drives: counters, roaming, replays, cryptokey routing, keys that
# change, ports that change, initiations from both sides at once, long silence.
#
#            ┌────────────── 203.0.113.0/24, 2001:db8::/64 ──────────────┐
#        ga .21     gb .22      gc .23      wa .41     wb .42    wc .43      z .99
#        warren  wireguard-go   warren      warren     warren    warren      replays what it saw
#          └───────── wg0 ─────────┘          └───────── wg0 ──────┘
#          10.7.0.1    .2          .3         10.7.0.1    .2       .3        fd07::1, ::2, ::3
#
# The two families of three run side by side. A clock that steps back is not tried: namespaces share
# the clock, and the sessions' simulation in tests/unit/crypto does.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
lab_init wireguard
warren_need
wg_go_find || lab_die "no wireguard-go"

declare -A OUTER=()  # node.4, node.6 → its outside addresses
declare -A INNER=()  # node → the last number of its inner ones
declare -A GO_PID=() # node → its wireguard-go

# family PREFIX BASE PROGRAM: the hosts a, b and c; b's interface is the PROGRAM's.
family() {
	local n i=0 node
	for n in a b c; do
		i=$((i + 1)) node=$1$n
		INNER[$node]=$i OUTER[$node.4]=203.0.113.$(($2 + i)) OUTER[$node.6]=2001:db8::$(($2 + i))
		lab_public_host "$node" "${OUTER[$node.4]}" "${OUTER[$node.6]}"
		wg_pair "$LAB_DIR/$node.key"
		printf '[Interface]\nPrivateKey = %s\nListenPort = 51820\n' "$(cat "$LAB_DIR/$node.key")" >"$LAB_DIR/$node.conf"
		start "$node" "$([ $n = b ] && echo "$3" || echo warren)" "$LAB_DIR/$node.conf"
	done
}

# start NODE PROGRAM FILE: its interface, as FILE says
start() {
	local i=${INNER[$1]}
	wg_bare "$1" wg0 "$2"
	[ "$2" = warren ] || GO_PID[$1]=$LAB_PID
	wg_of "$1" setconf wg0 "$3"
	lab_in "$1" ip addr add "10.7.0.$i/24" dev wg0
	lab_in "$1" ip addr add "fd07::$i/64" dev wg0 nodad
	lab_in "$1" ip link set wg0 up
}

# at NODE FAMILY: its endpoint
at() {
	if [ "$2" = 4 ]; then echo "${OUTER[$1.4]}:51820"; else echo "[${OUTER[$1.6]}]:51820"; fi
}

own_ips() {
	echo "10.7.0.${INNER[$1]}/32,fd07::${INNER[$1]}/128"
}

# knows NODE PEER [MORE…]: a peer with its own inner addresses
knows() {
	local node=$1 peer=$2
	shift 2
	wg_of "$node" set wg0 peer "$(wg_pub "$peer")" allowed-ips "$(own_ips "$peer")" "$@"
}

forget() {
	wg_of "$1" set wg0 peer "$(wg_pub "$2")" remove
}

# pings FROM TO: one ping to its inner address
pings() {
	reach "$1" "10.7.0.${INNER[$2]}"
}

silent() {
	! pings "$1" "$2"
}

# --- counters ---

rx_of() { wg_field "$1" wg0 transfer "$2" | cut -d ' ' -f 1; }
tx_of() { wg_field "$1" wg0 transfer "$2" | cut -d ' ' -f 2; }

# udp FROM TO: 1 MB over iperf3, of which most arrives
udp() {
	local port=$((40000 + RANDOM % 9000)) pid lost
	lab_spawn "$2" "$LAB_DIR/$2.iperf" iperf3 -s -1 -p "$port"
	pid=$LAB_PID
	lab_wait 5 "lab_in $2 ss -Hltn | grep -q ':$port '" || return 1
	lost=$(lab_exec "$1" timeout 20 iperf3 -u -b 10M -n 1M -l 1200 -J -c "10.7.0.${INNER[$2]}" -p "$port" |
		jq '.end.sum.lost_percent')
	lab_stop "$pid"
	echo "lost: $lost %"
	jq -en "${lost:-100} < 20" >/dev/null
}

# skew A B: the bytes that one has sent and the other not received; both ways
skew() {
	echo "$(($(tx_of "$1" "$2") - $(rx_of "$2" "$1"))) $(($(tx_of "$2" "$1") - $(rx_of "$1" "$2")))"
}

# settled A B: the caller's `skew` is still what it was
settled() {
	local was=$skew
	skew=$(skew "$1" "$2")
	[ "$was" = "$skew" ]
}

# quiet A B: the caller's `before`, what A has sent to B, has been that for a second; looked at at `began`
quiet() {
	local was=$before
	began=${EPOCHREALTIME/./}
	before=$(tx_of "$1" "$2")
	sleep 1
	[ "$was" = "$before" ] && [ "$(tx_of "$1" "$2")" = "$before" ]
}

# twenty A B: 20 pings of 1028 bytes, padded to 1040, and 32 of header and tag; and perhaps a keepalive. Two
# warrens ask four times a second, in 64 bytes, whether large packets arrive.
twenty() {
	local before='' began=0 more most=32 ms
	lab_wait 20 "quiet $1 $2"
	lab_exec "$1" ping -q -c 20 -i 0.02 -s 1000 10.7.0.2 >/dev/null || return 1
	more=$(($(tx_of "$1" "$2") - before - 21440)) ms=$(((${EPOCHREALTIME/./} - began) / 1000))
	[ -n "${GO_PID[$1]:-}${GO_PID[$2]:-}" ] || most=$((32 + 64 * (2 + ms / 250)))
	echo "21440 and $more in $ms ms"
	[ "$more" -ge 0 ] && [ "$more" -le "$most" ] && [ $((more % 32)) = 0 ]
}

counters() {
	local a=$1 b=$2 outside skew='' tx rx
	for outside in 4 6; do
		speaks "$a" "$b" $outside
		check "IPv$outside outside: 20 of 1072 bytes are counted" twenty "$a" "$b"
		lab_wait 5 "settled $a $b"
		check_wait 5 "IPv$outside outside: both sides count the same" "[ '$skew' = \"\$(skew $a $b)\" ]" \
			"echo '$skew'; skew $a $b"
		check "IPv$outside outside: TCP" transfer "$a" "$b" 10.7.0.2 4194304
		check "IPv$outside outside: TCP back, IPv6 inside" transfer "$b" "$a" fd07::1 4194304
		check "IPv$outside outside: UDP" udp "$a" "$b"
		check "IPv$outside outside: UDP back" udp "$b" "$a"
	done
	for n in "$a $b" "$b $a"; do
		# shellcheck disable=SC2086 # two words
		tx=$(tx_of $n) rx=$(rx_of $n)
		check "$n: more than 5 MB each way: $rx, $tx" test "$tx" -gt 5000000 -a "$rx" -gt 5000000
		# shellcheck disable=SC2086
		check "$n: the handshake is of late" test $(($(date +%s) - $(wg_field ${n% *} wg0 latest-handshakes ${n#* }))) -lt 60
	done
}

# --- roaming ---

# same_session NODE STAMP: nearly that of before: what is shown is a monotonic time on a clock that is trimmed
same_session() {
	local now
	now=$(wg_stamp "$1" wg0)
	echo "then $2, now $now"
	[ $((now - $2)) -lt 20 ]
}

new_session() {
	! same_session "$@"
}

# moves NODE PEER ADDRESS: NODE has that address alone of its family, and PEER finds it there.
moves() {
	local node=$1 peer=$2 address=$3 stamp
	stamp=$(wg_stamp "$peer" wg0)
	if [ "${address/:/}" = "$address" ]; then
		OUTER[$node.4]=$address
		lab_in "$node" ip -4 addr flush dev eth0
		lab_in "$node" ip addr add "$address/24" dev eth0
	else
		OUTER[$node.6]=$address
		lab_in "$node" ip -6 addr flush dev eth0 scope global
		lab_in "$node" ip addr add "$address/64" dev eth0 nodad
	fi
	check_wait 10 "$node moves to $address: heard" "pings $node $peer"
	check "$peer answers there" grep -qF "$address" <(wg_field "$peer" wg0 endpoints "$node")
	check "and reaches it" pings "$peer" "$node"
	check "in the same session" same_session "$peer" "$stamp"
}

# anew A B [FAMILY]: a new session that A begins
anew() {
	forget "$1" "$2"
	knows "$1" "$2" endpoint "$(at "$2" "${3:-4}")"
	pings "$1" "$2"
}

# speaks A B FAMILY: the two talk over those addresses. Stock wireguard-go has to begin anew for that: in an
# IPv6 address that it sends to after an IPv4 one, 12 bytes may be another's (conn/bind_std.go, Send()).
speaks() {
	local a=$1 b=$2
	[ -z "${GO_PID[$a]:-}" ] || { a=$2 b=$1; }
	if [ -n "${GO_PID[$b]:-}" ]; then
		wg_of "$b" showconf wg0 | sed /^Endpoint/d >"$LAB_DIR/$b.conf"
		kill "${GO_PID[$b]}"
		lab_wait 10 "! lab_in $b ip link show wg0 && [ ! -e '$LAB_DIR/node/$b/run/wireguard/wg0.sock' ]"
		start "$b" go "$LAB_DIR/$b.conf"
		anew "$a" "$b" "$3" >/dev/null || true
	fi
	check_wait 10 "$1 and $2 speak over IPv$3" "speaks_now $1 $2 $3"
	check "$2 knows that" seen_at "$2" "$1" "$(at "$1" "$3")"
}

# speaks_now A B FAMILY: a word of a warren's that was on its way to the old address leads back there
speaks_now() {
	[ -n "${GO_PID[$1]:-}${GO_PID[$2]:-}" ] || wg_of "$1" set wg0 peer "$(wg_pub "$2")" endpoint "$(at "$2" "$3")"
	pings "$1" "$2" && seen_at "$2" "$1" "$(at "$1" "$3")"
}

# seen_at NODE PEER ENDPOINT
seen_at() {
	local have
	have=$(wg_field "$1" wg0 endpoints "$2")
	echo "$have"
	[ "$have" = "$3" ]
}

roams() {
	local node=$1 peer=$2 v4=${OUTER[$1.4]} v6=${OUTER[$1.6]}
	# one session for all of it: its keys last for two minutes
	[ -n "${GO_PID[$node]:-}${GO_PID[$peer]:-}" ] || anew "$node" "$peer" >/dev/null
	speaks "$node" "$peer" 4
	moves "$node" "$peer" "${v4%.*}.1${v4##*.}"
	speaks "$node" "$peer" 6
	moves "$node" "$peer" "${v6%:*}:1${v6##*:}"
	moves "$node" "$peer" "$v6"
	speaks "$node" "$peer" 4
	moves "$node" "$peer" "$v4"
}

replays() {
	local a=$1 b=$2 was_a was_b capture rx
	lab_capture "$b" eth0 "$LAB_DIR/$a.pcap" udp port 51820
	capture=$LAB_PID
	check "a handshake and a ping, seen on the way" anew "$a" "$b"
	lab_wait 5 "[ \$(tcpdump -r '$LAB_DIR/$a.pcap' 2>/dev/null | wc -l) -ge 4 ]"
	lab_stop "$capture"
	was_a=$(wg_field "$a" wg0 endpoints "$b") was_b=$(wg_field "$b" wg0 endpoints "$a") rx=$(wg_packets "$b" wg0)
	check "replayed to $b from elsewhere" wg_replay z "$LAB_DIR/$a.pcap" "${OUTER[$a.4]}" "${OUTER[$b.4]}" 51820
	check "replayed to $a from elsewhere" wg_replay z "$LAB_DIR/$a.pcap" "${OUTER[$b.4]}" "${OUTER[$a.4]}" 51820
	check_wait 5 "$a has dropped the data as a replay" "[ \$(wg_drops $a wg0 wg_replay) -gt 0 ]" \
		"lab_exec $a env WARREN_INTERFACE=wg0 $WARREN status --json"
	check "moves nothing at $a" test "$(wg_field "$a" wg0 endpoints "$b")" = "$was_a"
	check "moves nothing at $b" test "$(wg_field "$b" wg0 endpoints "$a")" = "$was_b"
	check "and nothing of it comes out" test "$(wg_packets "$b" wg0)" = "$rx"
	check "$a and $b go on" pings "$a" "$b"
	check "both ways" pings "$b" "$a"
}

# --- cryptokey routing ---

# through FROM ADDRESS NODE: the ping is answered, and came out at NODE
through() {
	local before
	before=$(wg_packets "$3" wg0)
	reach "$1" "$2" && [ "$(wg_packets "$3" wg0)" -gt "$before" ]
}

# refused FROM SOURCE TO: pings from an address that is not FROM's to send come out nowhere
refused() {
	local before
	before=$(wg_packets "$3" wg0)
	! lab_exec "$1" ping -q -c 3 -i 0.1 -W 0.5 -I "$2" "10.7.0.${INNER[$3]}" >/dev/null
	[ "$(wg_packets "$3" wg0)" = "$before" ]
}

allowed() {
	wg_of "$1" set wg0 peer "$(wg_pub "$2")" allowed-ips "$(own_ips "$2")${3:+,$3}"
}

cryptokey_routing() {
	local a=$1 b=$2 c=$3 n before
	knows "$a" "$c" endpoint "$(at "$c" 4)"
	knows "$c" "$a" endpoint "$(at "$a" 4)"
	for n in $b $c; do
		for ip in 10.8.1.1 10.8.2.1 10.99.0.1 10.66.0.1 fd08::1; do lab_in "$n" ip addr add $ip dev lo; done
	done
	for ip in 10.8.0.0/16 10.98.0.0/16 10.99.0.0/16 fd08::/64; do lab_in "$a" ip route add $ip dev wg0; done
	allowed "$a" "$b" 10.8.0.0/16,fd08::/64
	allowed "$a" "$c" 10.8.1.0/24
	check "the more specific prefix wins" through "$a" 10.8.1.1 "$c"
	check "the rest is the other's" through "$a" 10.8.2.1 "$b"
	before=$(wg_drops "$a" wg0 inner_spoofed_source)
	check "a source of another peer's prefix is dropped" refused "$b" 10.8.1.1 "$a"
	check "one of nobody's is dropped" refused "$b" 10.66.0.1 "$a"
	check "and six are counted" test $(($(wg_drops "$a" wg0 inner_spoofed_source) - before)) = 6
	check "from its own it passes" lab_exec "$b" ping -q -c 1 -W 1 -I 10.8.2.1 10.7.0.1
	lab_in "$a" ip addr add 10.66.0.2 dev lo
	check "$b drops a source of nobody's, too" refused "$a" 10.66.0.2 "$b"
	before=$(wg_drops "$a" wg0 no_route)
	check "what is nobody's goes nowhere" bash -c "! ip netns exec $LAB$a ping -q -c 2 -i 0.1 -W 0.5 10.98.0.1"
	check "and is counted" test $(($(wg_drops "$a" wg0 no_route) - before)) -ge 2
	allowed "$a" "$b" 10.8.0.0/16,10.8.1.0/24,fd08::/64
	check "a prefix that moves is not the old peer's" test "$(wg_field "$a" wg0 allowed-ips "$c")" = "10.7.0.3/32 fd07::3/128"
	check "but the new one's" through "$a" 10.8.1.1 "$b"
	allowed "$a" "$c" 0.0.0.0/0,::/0
	check "0.0.0.0/0 takes the rest" through "$a" 10.99.0.1 "$c"
	check "and nothing that is another's" through "$a" 10.8.2.1 "$b"
	check "IPv6 neither" through "$a" fd08::1 "$b"
	allowed "$a" "$b"
	check "until that goes" through "$a" 10.8.2.1 "$c"
	check "IPv6 too" through "$a" fd08::1 "$c"
	forget "$a" "$c"
	forget "$c" "$a"
}

# --- keys ---

# new_key NODE: another key pair
new_key() {
	wg_pair "$LAB_DIR/$1.key"
	wg_of "$1" set wg0 private-key "$LAB_DIR/$1.key"
}

# changes_key NODE PEER: the old session is dead at once, and the new key is heard as soon as PEER knows it
changes_key() {
	local node=$1 peer=$2 stamp old
	stamp=$(wg_stamp "$peer" wg0) old=$(wg_pub "$node")
	check "another private key of $node" new_key "$node"
	check "is in place" test "$(wg_of "$node" show wg0 public-key)" = "$(wg_pub "$node")"
	check "$peer does not know it: nothing from $node" silent "$node" "$peer"
	check "and $node has forgotten the session" silent "$peer" "$node"
	wg_of "$peer" set wg0 peer "$old" remove
	knows "$peer" "$node" endpoint "$(at "$node" 4)"
	check_wait 10 "$peer knows it: they talk" "pings $peer $node"
	check "both ways" pings "$node" "$peer"
	check "in a new session" new_session "$peer" "$stamp"
}

preshared_keys() {
	local a=$1 b=$2 i
	for i in 1 2; do (umask 077 && wg genpsk >"$LAB_DIR/$a.psk$i"); done
	wg_of "$a" set wg0 peer "$(wg_pub "$b")" preshared-key "$LAB_DIR/$a.psk1"
	wg_of "$b" set wg0 peer "$(wg_pub "$a")" preshared-key "$LAB_DIR/$a.psk1"
	check "a preshared key does not end the session" pings "$a" "$b"
	forget "$a" "$b"
	knows "$a" "$b" endpoint "$(at "$b" 4)" preshared-key "$LAB_DIR/$a.psk1"
	check_wait 10 "the next handshake has it on both sides" "pings $a $b"
	forget "$a" "$b"
	knows "$a" "$b" endpoint "$(at "$b" 4)"
	check "without it on one there is no session" silent "$a" "$b"
	forget "$a" "$b"
	knows "$a" "$b" endpoint "$(at "$b" 4)" preshared-key "$LAB_DIR/$a.psk2"
	check "nor with another" silent "$a" "$b"
	wg_of "$b" set wg0 peer "$(wg_pub "$a")" preshared-key "$LAB_DIR/$a.psk2"
	check_wait 10 "until the other has it as well" "pings $a $b"
	for i in "$a $b" "$b $a"; do
		# shellcheck disable=SC2086 # two words
		wg_of ${i% *} set wg0 peer "$(wg_pub ${i#* })" preshared-key /dev/null
	done
}

removal() {
	local a=$1 b=$2
	forget "$b" "$a"
	check "a peer that was removed is not heard" silent "$a" "$b"
	knows "$b" "$a" endpoint "$(at "$a" 4)"
	check_wait 10 "one that was added again begins anew" "pings $b $a"
	check "and is answered" pings "$a" "$b"
}

# --- ports, and both at once ---

changes_port() {
	local node=$1 peer=$2
	check "another port of $node" wg_of "$node" set wg0 listen-port 40000
	check "heard from there" pings "$node" "$peer"
	check "$peer sees it" test "$(wg_field "$peer" wg0 endpoints "$node")" = "${OUTER[$node.4]}:40000"
	check "$peer reaches it" pings "$peer" "$node"
	wg_of "$node" set wg0 listen-port 51820
	check "and back again" pings "$node" "$peer"
}

both_at_once() {
	local a=$1 b=$2 i pid
	for i in 1 2 3 4 5; do
		forget "$a" "$b"
		forget "$b" "$a"
		knows "$a" "$b" endpoint "$(at "$b" 4)"
		knows "$b" "$a" endpoint "$(at "$a" 4)"
		lab_exec "$a" ping -q -c 1 -W 8 10.7.0.2 >/dev/null &
		pid=$!
		lab_exec "$b" ping -q -c 1 -W 8 10.7.0.1 || return 1
		wait "$pid" || return 1
	done
}

scenarios() {
	local a=$1a b=$1b c=$1c
	knows "$b" "$a"
	knows "$a" "$b"
	counters "$a" "$b"
	roams "$a" "$b"
	roams "$b" "$a"
	replays "$a" "$b"
	cryptokey_routing "$a" "$b" "$c"
	changes_key "$a" "$b"
	changes_key "$b" "$a"
	preshared_keys "$a" "$b"
	removal "$a" "$b"
	removal "$b" "$a"
	changes_port "$a" "$b"
	changes_port "$b" "$a"
	check "both begin at once, five times" both_at_once "$a" "$b"
}

# A session that is too old for a packet to be sent with: the packet waits for the next one.
silence() {
	local stamp
	knows sb sa
	knows sa sb endpoint "$(at sb 4)"
	check_wait 10 "first packet" "pings sa sb"
	stamp=$(wg_stamp sa wg0)
	lab_wait 30 "[ \$((\$(date +%s) - $((stamp / 1000)))) -ge 12 ]"
	check "after 12 s, when all sessions of this build are dead: the first packet passes" pings sa sb
	check "by a new handshake" new_session sa "$stamp"
}

# --- all of it, side by side ---

lab_public_host z 203.0.113.99 2001:db8::99
family g 20 go
family w 40 warren
WARREN=${WARREN_REKEY:-} && [ -n "$WARREN" ] && family s 60 warren
WARREN=$LAB_DIR/bin/warren
running=()
for f in g w; do
	scenarios $f >"$LAB_DIR/result.$f" 2>&1 &
	running+=($!)
done
if [ -n "${WARREN_REKEY:-}" ]; then silence; else skip "long silence" "no WARREN_REKEY"; fi >"$LAB_DIR/result.s" 2>&1
wait "${running[@]}"
sed 's/^\(ok\|not ok\) - /&warren and wireguard-go: /' "$LAB_DIR/result.g"
sed 's/^\(ok\|not ok\) - /&warren and warren: /' "$LAB_DIR/result.w"
sed 's/^\(ok\|not ok\) - /&long silence: /' "$LAB_DIR/result.s"
! grep -q '^not ok' "$LAB_DIR"/result.* || CHECK_FAILED=1
finish
