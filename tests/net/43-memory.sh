#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 250
#
# Memory of live processes: every secret that is known (and what else looks like a key) is in arenas, which are
# locked and in no core file, and nowhere else: no heap, no stack, no buffer that was not wiped, no environment.
#
#   rv ── a (a command, the shim, a key of its own) ── b (wg(8) gives it a peer with a PSK)
#   c (a configuration file with a PSK) ══ d (a bare interface)
# shellcheck disable=SC2016 # conditions are expanded later
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
lab_init mem
warren_need
SCAN=$WARREN_ROOT/tests/lib/memory_secrets.py
RSS_MOST=5120 # KiB of a gateway's own memory

# --- the search finds what is there

KEY=$("$WARREN" genkey)
# planted HOW: a process that has read it so, and nothing else; it is PLANTED
planted() {
	local keep='import sys, time
kept = sys.stdin.buffer.read()
time.sleep(60)'
	case $1 in
	raw) base64 -d ;;
	hex) base64 -d | od -An -v -tx1 | tr -d ' \n' ;;
	base64) tr '+/' '-_' ;;
	esac <<<"$KEY" >"$LAB_DIR/planted"
	python3 -c "$keep" <"$LAB_DIR/planted" &
	PLANTED=$!
	LAB_PIDS+=($!)
}
finds() { # PID WORDS
	"$SCAN" -- "$KEY" -- "$1" | grep -q "$1: the .* $2"
}
for how in raw hex base64; do
	planted $how
	check_wait 5 "the search finds a key that was planted: $how" "finds $PLANTED in"
done
K=$KEY sleep 60 &
LAB_PIDS+=($!)
check_wait 5 "and one in the environment" "finds $! 'in environ'"

# --- a network

lab_public_host rv $RV_ADDR
for i in 1 2 3 4 5; do
	lab_public_host "$(cut -d ' ' -f $i <<<'a b c d e')" 203.0.113.2$i
done
rv_start
FOR_A=$(lab_exec rv "${AS_NOBODY[@]}" "$WARREN" token --for a --state "$RV_STATE")
"$WARREN" genkey >"$LAB_DIR/a.private"
echo "$TOKEN" >"$LAB_DIR/token"
node_start a WARREN_JOIN="$FOR_A" TRINO_MODE=true WARREN_KEY=@"$LAB_DIR/a.private" -- sleep 1000
node_start b WARREN_JOIN=@"$LAB_DIR/token" WARREN_AEAD=libcrypto
check_wait 20 "two have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
for n in c d; do
	wg_pair "$LAB_DIR/$n.key"
done
PSK=$("$WARREN" genpsk) PSK_B=$("$WARREN" genpsk)
cat >"$LAB_DIR/c.conf" <<-CONF
	[Interface]
	PrivateKey = $(cat "$LAB_DIR/c.key")
	Address = 10.9.0.1/32
	[Peer]
	PublicKey = $(wg_pub d)
	PresharedKey = $PSK
	AllowedIPs = 10.9.0.2/32
	Endpoint = 203.0.113.24:5000
CONF
wg_bare d wg0 warren
wg_of d set wg0 private-key "$LAB_DIR/d.key" listen-port 5000 peer "$(wg_pub c)" preshared-key <(echo "$PSK") allowed-ips 10.9.0.1/32
lab_in d ip address add 10.9.0.2/32 dev wg0
lab_in d ip link set wg0 up
lab_in d ip route add 10.9.0.1/32 dev wg0
wg_of b set warren0 peer "$(wg_pub d)" preshared-key <(echo "$PSK_B") allowed-ips 10.98.0.0/24
lab_spawn c "$LAB_DIR/c.log" "$WARREN" up "$LAB_DIR/c.conf"
check_wait 20 "members talk, and so do peers of a file" 'reach a "$(node_ip b)" && reach c 10.9.0.2' "cat $LAB_DIR/c.log"
check_wait 20 "the members file is written" "[ -s '$LAB_DIR/node/a/lib/warren/$NETWORK/members' ]"

# --- what is where

SECRETS=("$RV_STATE" "$LAB_DIR/node/a/lib/warren/$NETWORK" "$LAB_DIR/node/b/lib/warren/$NETWORK" -- "$TOKEN" "$FOR_A"
	"$(cat "$LAB_DIR/a.private")" "$(cat "$LAB_DIR/c.key")" "$(cat "$LAB_DIR/d.key")" "$PSK" "$PSK_B" --)
PROCESSES=("rv warren" "rv warren-rendezvo" "rv warren-store" "rv warren-keeper" "a warren" "a warren-gateway" "a warren-shim" "a warren-helper"
	"a warren-keeper" "b warren" "b warren-gateway" "b warren-helper" "b warren-keeper" "c warren" "c warren-gateway"
	"c warren-helper" "d warren")
search() {
	local p pids=()
	for p in b c d; do
		wg_of "$p" show all dump >/dev/null
	done
	for p in "${PROCESSES[@]}"; do
		# shellcheck disable=SC2086 # two words
		pids+=("$(process_of $p)")
	done
	# a key may be on its way just now; what lasts is found each time
	for _ in 1 2 3; do
		"$SCAN" "${SECRETS[@]}" "${pids[@]}" >"$LAB_DIR/found" && break
		sleep 0.5
	done
	[ "$(wc -w <<<"${pids[*]}")" = ${#PROCESSES[@]} ] || { echo "not all processes are there: ${pids[*]}"; return 1; }
	tail -n 1 "$LAB_DIR/found"
}
of() { # NODE PROCESS: its lines
	grep "^$2 $(process_of "$1" "$2"): " "$LAB_DIR/found"
}
clean() {
	! of "$1" "$2" | grep -v ': holds '
}
all_clean() {
	local p
	check "$1: all of them were looked at" search
	for p in "${PROCESSES[@]}"; do
		# shellcheck disable=SC2086
		check "$1: $p keeps none outside of arenas" clean $p
	done
}
all_clean "running"

holds() { # NODE PROCESS SECRET…
	local node=$1 process=$2 s
	shift 2
	for s in "$@"; do
		of "$node" "$process" | grep -q "holds $s" || { echo "no $s"; return 1; }
	done
}
check "the rendezvous' arenas hold its secrets" holds rv warren-rendezvo "the rendezvous' private key" "the registrar's secret" \
	"the key of lease MACs" "the PSK of a" "the PSK of b" "a relay key"
check "a launcher's hold what it was given" holds a warren "the admission secret" "the private key in"
check "a gateway's hold the member's keys" holds a warren-gateway "the admission secret" "the private key in" "the PSK of a$" \
	"the PSK of [ab] and [ab]" "a link's key" "a relay key"
check "and a peer's, that wg(8) named" holds b warren-gateway "the key ${PSK_B:0:4}"
check "those of a file's peers" holds c warren-gateway "the key $(head -c 4 "$LAB_DIR/c.key")" "the key ${PSK:0:4}"
check "those of a bare interface" holds d warren "the key $(head -c 4 "$LAB_DIR/d.key")" "the key ${PSK:0:4}"
for p in "rv warren" "rv warren-store" "rv warren-keeper" "a warren-shim" "a warren-helper" "a warren-keeper" "c warren-helper"; do
	# shellcheck disable=SC2086
	check "$p has none at all" test -z "$(of $p)"
done

own_memory() {
	awk -v most="$RSS_MOST" '/^RssAnon/ { print $2 " KiB"; exit $2 > most }' "/proc/$(process_of "$1" warren-gateway)/status"
}
check "a gateway's own memory stays small" own_memory a

# --- a gateway that was started again, and a new rendezvous

kill -KILL "$(process_of a warren-gateway)"
kill -KILL "$(process_of c warren-gateway)"
lab_stop "$RV_PID" KILL
rv_start
check_wait 60 "both are back, and a is known again" '[ "$(rv_status ".members[] | select(.id == \"a\") | .online")" = true ] &&
	reach a "$(node_ip b)" && reach c 10.9.0.2'
all_clean "after deaths"

# --- where memory may not be locked

AS_LITTLE=(prlimit --memlock=0:0 setpriv --bounding-set="-ipc_lock,-sys_resource" --inh-caps="-ipc_lock,-sys_resource")
lab_spawn e "$LAB_DIR/e.log" env WARREN_JOIN="$TOKEN" WORKER_ID=e "${AS_LITTLE[@]}" "$WARREN" up
check_wait 20 "a node joins all the same" 'node_up e' "tail -n 3 $LAB_DIR/e.log"
check_wait 10 "and says so" "grep -q 'keys cannot be locked in memory' '$LAB_DIR/e.log'"
# what it is told of until its next look at itself makes no second line
reach e "$(node_ip b)" >/dev/null
check "once" test "$(grep -c 'keys cannot be locked in memory' "$LAB_DIR/e.log")" = 1
check "warren check says the same" eval 'lab_exec b "${AS_LITTLE[@]}" "$WARREN" check | grep -q "keys cannot be locked"'
check "and of this host that they can" eval 'lab_exec b "$WARREN" check | grep -q "keys are locked"'
finish
