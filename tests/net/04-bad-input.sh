#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# What bad input gets: one line that says what is wrong and what to do, an exit status that is not 0
# where it cannot go on, and nothing left behind.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init bad
warren_need

lab_public_host rv $RV_ADDR
lab_public_host a 203.0.113.21
lab_public_host b 203.0.113.22
lab_public_host victim 203.0.113.23
rv_start

# picture: what could be left in the victim's kernel and in its /run
picture() {
	lab_in victim ip -o link show | sed 's/^[0-9]*: //; s/@.*//; s/ .*//'
	lab_in victim ip -o addr show | awk '{ print $2, $4 }' | grep -v fe80::
	lab_in victim ip -4 route show table all
	lab_in victim ip -6 route show table all | grep -v 'fe80::\|ff00::'
	lab_in victim ip rule show
	(cd "$LAB_DIR/node/victim/run" && find . -mindepth 1 ! -path ./warren ! -path ./wireguard | sort)
	lab_pids_of victim
}

lab_pids_of() {
	ip netns pids "$LAB$1" | wc -l
}

left_behind() {
	diff "$LAB_DIR/before" <(picture)
}

# The lines that are for the reader; the ones of the way there (info) are not counted.
complaints() {
	grep -ciE 'error|warren: ' "$1"
}

# refused NAME PATTERN CMD…: on the victim; ends by itself, says so in one line, leaves nothing
refused() {
	local name=$1 pattern=$2 rc log=$LAB_DIR/refused.log left
	shift 2
	picture >"$LAB_DIR/before"
	lab_exec victim timeout 30 "$@" >"$log" 2>&1 </dev/null
	rc=$?
	if [ $rc = 0 ] || [ $rc = 124 ] || [ $rc -gt 127 ]; then
		not_ok "$name" "status $rc: $(tail -n 2 "$log")"
	elif ! grep -qiE "$pattern" "$log"; then
		not_ok "$name" "does not say /$pattern/: $(tail -n 2 "$log")"
	elif [ "$(complaints "$log")" -gt 1 ]; then
		not_ok "$name" "more than one line: $(tr '\n' '|' <"$log")"
	elif ! left=$(left_behind); then
		not_ok "$name" "left behind: $left"
	else
		ok "$name: $(grep -iE "$pattern" "$log" | head -n 1 | sed 's/^[^a-z]*//' | cut -c 1-150)"
	fi
}

# joining VARIABLE=VALUE…: a command line that joins
joining() {
	JOIN=(env WARREN_JOIN="$TOKEN" WORKER_ID=victim "$@" "$WARREN" up)
}

# --- tokens
refused "no token" 'WARREN_JOIN' env -u WARREN_JOIN "$WARREN" up
refused "not a token" 'token' env WARREN_JOIN=nonsense "$WARREN" up
refused "a truncated token" 'token|cut' env WARREN_JOIN="${TOKEN:0:-9}" "$WARREN" up
other=A
[ "${TOKEN:40:1}" != A ] || other=B
flipped=${TOKEN:0:40}$other${TOKEN:41}
refused "a mistyped token" 'token' env WARREN_JOIN="$flipped" "$WARREN" up
refused "an expired token" 'expired' env WARREN_JOIN="$(lib/token_edit.py "$TOKEN" expires 1700000000)" "$WARREN" up
refused "a token of a newer version" 'version|newer' env WARREN_JOIN="$(lib/token_edit.py "$TOKEN" version 2)" "$WARREN" up
refused "a token with an unknown critical field" 'update warren' \
	env WARREN_JOIN="$(lib/token_edit.py "$TOKEN" critical)" "$WARREN" up
refused "a token file that is not there" 'no-such-file' env WARREN_JOIN=@/no-such-file "$WARREN" up
refused "the secret stands in no message" 'token' env WARREN_JOIN="${TOKEN:0:-1}" "$WARREN" up
check "indeed it does not" sh -c "! grep -q '${TOKEN:20:20}' '$LAB_DIR/refused.log'"

# --- names and settings
refused "an impossible worker id" 'worker.?id' env WARREN_JOIN="$TOKEN" WORKER_ID='no good' "$WARREN" up
refused "shim port = Trino port" 'port' env WARREN_JOIN="$TOKEN" TRINO_MODE=true TRINO_LOCAL_PORT=8080 \
	TRINO_PROXY_PORT=8080 "$WARREN" up
refused "an impossible port" 'port' env WARREN_JOIN="$TOKEN" "$WARREN" up --port 70000
for at in 0.0.0.0:1 127.0.0.1:7777 224.0.0.1:7777 255.255.255.255:7777 '[ff02::1]:7777'; do
	refused "an endpoint that is nowhere, $at" 'endpoint .* no other node' env WARREN_JOIN="$TOKEN" "$WARREN" up --endpoint "$at"
done
refused "an unknown option" 'no-such' "$WARREN" up --no-such-option
# one word that may be the name of an interface makes one (wg-quick), unless it looks like a slip
refused "an unknown command" 'no command no-such-command' "$WARREN" no-such-command --now
refused "a word that is too long for an interface" 'no command no-such' "$WARREN" no-such-command-
refused "a mistyped command" 'no command staus' "$WARREN" staus
refused "an impossible interface name" 'interface' env WARREN_JOIN="$TOKEN" "$WARREN" up --interface way-too-long-a-name
refused "run without a command" 'command' env WARREN_JOIN="$TOKEN" "$WARREN" run
refused "a command that is not there" 'no-such-program' env WARREN_JOIN="$TOKEN" WORKER_ID=v1 "$WARREN" run -- /no-such-program
refused "an unknown user for the command" 'no-such-user' env WARREN_JOIN="$TOKEN" WORKER_ID=v2 \
	"$WARREN" run --user no-such-user -- true

# --- WireGuard files
KEY=$("$WARREN" genkey)
conf() {
	printf '%s\n' "$@" >"$LAB_DIR/bad.conf"
	chmod 644 "$LAB_DIR/bad.conf"
}
refused "a configuration that is not there" 'no-such.conf' "$WARREN" up /no-such.conf
conf '[Interface]' 'PrivateKey = short'
refused "a bad key names its line" '2|PrivateKey' "$WARREN" up "$LAB_DIR/bad.conf"
conf '[Interface]' "PrivateKey = $KEY" 'Address = 10.9.0.300/24'
refused "a bad address" '3|Address' "$WARREN" up "$LAB_DIR/bad.conf"
conf '[Interface]' "PrivateKey = $KEY" '[Peer]' "PublicKey = $("$WARREN" pubkey <<<"$("$WARREN" genkey)")" 'Endpoint = nowhere'
refused "a bad endpoint" '5|Endpoint' "$WARREN" up "$LAB_DIR/bad.conf"
conf '[Interface]' "PrivateKey = $KEY" '[Piers]'
refused "an unknown section" '3|Piers' "$WARREN" up "$LAB_DIR/bad.conf"
refused "a key that is none" 'key' sh -c "echo nonsense | $WARREN pubkey"

# --- the machine
joining
refused "no /dev/net/tun" '/dev/net/tun' unshare -m sh -c 'mount -n -t tmpfs none /dev/net && exec "$@"' sh "${JOIN[@]}"
refused "no NET_ADMIN" 'NET_ADMIN' setpriv --inh-caps=-net_admin --bounding-set=-net_admin "${JOIN[@]}"
joining WARREN_PIN_MEMBERS=true
refused "pinned keys in a state that is read-only" 'pin-members.*--state' \
	unshare -m sh -c 'mount -n -t tmpfs -o ro none /var/lib && exec "$@"' sh "${JOIN[@]}"
refused "pinned keys on a disk that is full" 'pin-members.*--state' unshare -m sh -c \
	'mount -n -t tmpfs -o size=4k none /var/lib && head -c 4096 /dev/zero >/var/lib/full; exec "$@"' sh "${JOIN[@]}"
joining
refused "an ordinary user" 'NET_ADMIN|state|run' "${AS_NOBODY[@]}" "${JOIN[@]}"
lab_in victim ip addr add 10.77.5.1/24 dev eth0
refused "an address range that overlaps the host's" 'prefix' "${JOIN[@]}"
lab_in victim ip addr del 10.77.5.1/24 dev eth0
lab_in victim ip route add 10.77.128.0/17 via 203.0.113.1
refused "a route inside the range" 'prefix' "${JOIN[@]}"
lab_in victim ip route del 10.77.128.0/17
lab_in victim ip tuntap add mode tun name warren0
refused "an interface of that name" 'warren0' "${JOIN[@]}"
lab_in victim ip tuntap del mode tun name warren0

# --- others
node_start a
check_wait 20 "a has joined" 'node_up a' "tail -n 3 $LAB_DIR/a.log"
began=${EPOCHREALTIME/./}
refused "a taken worker id" '"?a"?' env WARREN_JOIN="$TOKEN" WORKER_ID=a "$WARREN" up
took=$(((${EPOCHREALTIME/./} - began) / 1000))
check "told at once, and not when the launcher has waited 5 s: after $took ms" test $took -lt 4000
check "its holder goes on" node_up a
second() {
	lab_exec a timeout 20 env WARREN_JOIN="$TOKEN" WORKER_ID=other "$WARREN" up --state "$LAB_DIR/other-state" "$@" \
		>"$LAB_DIR/second.log" 2>&1
	local rc=$?
	tail -n 2 "$LAB_DIR/second.log"
	[ "$rc" != 0 ] && [ "$rc" -lt 124 ] && node_up a
}
check "a second gateway on the same interface name" second
check "and it says so" grep -q warren0 "$LAB_DIR/second.log"
port=$(lab_in a ss -Huln | sed -n 's/.*:\([0-9]*\) .*/\1/p' | head -n 1)
check "a second gateway on the same port" second --interface warren1 --port "$port"
check "and it says so, too" grep -q "$port" "$LAB_DIR/second.log"
check "the first is whole" grep -q warren0 <(lab_in a ip -o link show)

# --- the rendezvous' own
refused "a rendezvous on a wildcard without --public" 'public' "$WARREN" rendezvous --state "$LAB_DIR/rv2"
refused "a rendezvous whose state cannot be written" 'state|proc' "$WARREN" rendezvous --public 203.0.113.23:7777 --state /proc/nowhere
lab_spawn victim /dev/null socat -u UDP-RECV:7777 OPEN:/dev/null
lab_wait 5 'lab_in victim ss -Huln | grep -q :7777'
busy=$LAB_PID
refused "a rendezvous whose port is in use" '7777' "$WARREN" rendezvous --public 203.0.113.23:7777 --state "$LAB_DIR/rv3"
lab_stop "$busy"
refused "a state that another rendezvous uses" 'state|in use|another' "$WARREN" rendezvous --listen 203.0.113.23:7778 \
	--network "$NETWORK" --state "$RV_STATE"
refused "a token of a rendezvous that was never there" 'rendezvous|state' "$WARREN" token --state "$LAB_DIR/nowhere"
refused "status without a gateway" 'gateway|running|warren' "$WARREN" status
refused "ping without a gateway" 'gateway|running|warren' "$WARREN" ping a

# --- a foreign token, and a rendezvous that is not there: keep trying, say so
waits_and_says() {
	local name=$1 token=$2
	picture >"$LAB_DIR/before"
	: >"$LAB_DIR/waits.log"
	lab_spawn victim "$LAB_DIR/waits.log" env WARREN_JOIN="$token" WORKER_ID=late "$WARREN" up --state "$LAB_DIR/late"
	WAITER=$LAB_PID
	check_wait 30 "$name: it says so" "grep -qiE 'rendezvous.*(answer|reach|try)' '$LAB_DIR/waits.log'" "tail -n 3 '$LAB_DIR/waits.log'"
	check "$name: it keeps trying" kill -0 "$WAITER"
	check "$name: few words ($(wc -l <"$LAB_DIR/waits.log") lines)" test "$(wc -l <"$LAB_DIR/waits.log")" -le 12
}
waits_and_says "a foreign token" "$(lib/token_edit.py "$TOKEN" admission)"
lab_stop "$WAITER"
check "a foreign token: nothing left behind" left_behind
lab_stop "$RV_PID"
waits_and_says "no rendezvous" "$TOKEN"
rv_start
check_wait 60 "no rendezvous: it comes up by itself when there is one" 'node_up victim' "tail -n 3 '$LAB_DIR/waits.log'"
lab_stop "$WAITER"
check "no rendezvous: a clean end leaves nothing" left_behind

# --- noise from outside: each byte that no member sent is a named, counted drop, and is not answered
noise() {
	lab_exec b python3 - "$1" "$2" <<-'PY'
		import os, random, socket, sys
		random.seed(7)
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.settimeout(0.3)
		heads = [b"", b"\1\0\0\0", b"\2\0\0\0", b"\3\0\0\0", b"\4\0\0\0", b"\x80\1\0\0", b"\x81\1\0\0", b"\x90\1\0\0",
		         b"\xa0\1\1\0", b"\0\1\0\0\x21\x12\xa4\x42"]
		sizes = [1, 3, 4, 20, 31, 32, 64, 92, 148, 76, 256, 1400]
		for _ in range(300):
		    body = random.choice(heads)
		    body = (body + random.randbytes(1400))[:random.choice(sizes)]
		    s.sendto(body, (sys.argv[1], int(sys.argv[2])))
		    s.sendto(b"", (sys.argv[1], int(sys.argv[2])))
		try:
		    print(s.recvfrom(2048))
		    sys.exit(1)
		except socket.timeout:
		    pass
	PY
}
drops() {
	status a '[.drops[]] | add'
}
before=$(drops)
check "noise to a gateway is not answered" noise 203.0.113.21 "$port"
after=$(drops)
check "and every one of it is a counted drop: $((after - before)) of 300, $(status a '.drops | keys | join(" ")')" \
	test $((after - before)) -ge 300
check "noise to the rendezvous is not answered" noise $RV_ADDR $RV_PORT
check "both go on" node_up a
finish
