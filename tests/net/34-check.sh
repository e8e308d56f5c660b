#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 150
#
# `warren check`: each thing that a gateway needs is broken in turn; its line, the status and the JSON say
# so, all other lines stay as they are, and nothing is left behind. Where all is well, a gateway comes up.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init check
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
rv_start
NODE=a
echo "$TOKEN" >"$LAB_DIR/token"

# picture: all that a check could leave in the kernel, in /run and in /var/lib
picture() {
	lab_in $NODE ip -o link show | sed 's/^[0-9]*: //; s/@.*//; s/ .*//'
	lab_in $NODE ip -o addr show | awk '{ print $2, $4 }' | grep -v fe80::
	lab_in $NODE ip -4 route show table all
	lab_in $NODE ip -6 route show table all | grep -v 'fe80::\|ff00::'
	lab_in $NODE ip rule show
	lab_in $NODE nft list tables
	(cd "$LAB_DIR/node/$NODE" && find . -mindepth 1 | sort)
	ip netns pids "$LAB$NODE" | wc -l
}

# run CMD…: on a; what it said is in report.json, its status in RC
run() {
	lab_exec $NODE timeout 30 "$@" >"$LAB_DIR/report.json" 2>"$LAB_DIR/report.err" </dev/null
	RC=$?
}

CHECK=(env WARREN_JOIN=@"$LAB_DIR/token" WORKER_ID=a TRINO_MODE=true "$WARREN" check --json)

line() {
	jq -r ".checks[] | select(.name == \"$1\") | .$2 // \"\"" "$LAB_DIR/report.json" | tr '\n' ' '
}

# What is not ok, by name
not_well() {
	jq -r '[.checks[] | select(.result != "ok") | .name] | unique | join(" ")' "$LAB_DIR/report.json"
}

# says NAME LINE RESULT STATUS PATTERN DO [OTHERS] -- CMD…: the line LINE alone (and OTHERS) is not ok
says() {
	local name=$1 line=$2 result=$3 status=$4 pattern=$5 todo=$6 others='' left want
	shift 6
	if [ "$1" != -- ]; then
		others=$1
		shift
	fi
	shift
	picture >"$LAB_DIR/before"
	run "$@"
	[ "$result" = ok ] && want=$others || want="$line $others"
	want=$(tr ' ' '\n' <<<"$want" | grep . | sort | tr '\n' ' ')
	if [ "$RC" != "$status" ]; then
		not_ok "$name" "status $RC: $(cat "$LAB_DIR/report.json" "$LAB_DIR/report.err")"
	elif [ "$(not_well | sed 's/.$/& /')" != "$want" ]; then
		not_ok "$name" "not ok are: $(not_well)"
	elif [[ " $(line "$line" result)" != *" $result"* ]] || ! line "$line" found | grep -qE -e "$pattern" ||
		! line "$line" "do" | grep -qE -e "$todo"; then
		not_ok "$name" "$(jq -c ".checks[] | select(.name == \"$line\")" "$LAB_DIR/report.json")"
	elif [ "$(jq .ok "$LAB_DIR/report.json")" != "$([ "$status" = 0 ] && echo true || echo false)" ]; then
		not_ok "$name" "ok is $(jq .ok "$LAB_DIR/report.json")"
	elif [ -s "$LAB_DIR/report.err" ]; then
		not_ok "$name" "stderr: $(cat "$LAB_DIR/report.err")"
	elif ! left=$(diff "$LAB_DIR/before" <(picture)); then
		not_ok "$name" "left behind: $left"
	else
		ok "$name: $(line "$line" found | cut -c 1-100)"
	fi
}

# --- all is well
picture >"$LAB_DIR/before"
run "${CHECK[@]}"
check "nothing is wrong ($(jq '.checks | length' "$LAB_DIR/report.json") lines)" test "$RC $(not_well)" = "0 "
check "nothing is left" diff "$LAB_DIR/before" <(picture)
check "the rendezvous answers" grep -qE '^203.0.113.10:7777 answers in [0-9.]+ ms' <(line rendezvous found)
rv_knows_nobody() {
	[ "$(rv_status '.members | length')" = 0 ]
}
check "and nobody has joined" rv_knows_nobody
check "lines for people: ok first" grep -qE '^ok       tun: /dev/net/tun opens$' \
	<(lab_exec a env WARREN_JOIN=@"$LAB_DIR/token" "$WARREN" check)
says "without a token" worker-id ok 0 '' '' -- env WORKER_ID=a "$WARREN" check --json
check "there is nothing to say of a rendezvous" test -z "$(line rendezvous found)$(line prefix found)"

# --- the device and the rights
says "no /dev/net/tun" tun failed 1 'No such file' '--device /dev/net/tun' -- \
	unshare -m sh -c 'mount -n -t tmpfs none /dev/net && exec "$@"' sh "${CHECK[@]}"
says "/dev/net/tun without its driver" tun failed 1 'cannot be opened' 'tun' -- \
	unshare -m sh -c 'mount -n -t tmpfs none /dev/net && mknod /dev/net/tun c 10 254 && exec "$@"' sh "${CHECK[@]}"
says "no CAP_NET_ADMIN" net-admin failed 1 'no CAP_NET_ADMIN' 'NET_ADMIN' -- \
	setpriv --inh-caps=-net_admin --bounding-set=-net_admin "${CHECK[@]}"
says "no CAP_SETUID" setuid failed 1 'CAP_SETUID' 'SETUID' -- \
	setpriv --inh-caps=-setuid --bounding-set=-setuid "${CHECK[@]}"
says "no locked memory" memory warning 0 'cannot be locked' 'memlock' -- \
	setpriv --inh-caps=-ipc_lock --bounding-set=-ipc_lock prlimit --memlock=0 "${CHECK[@]}"
lab_in a ip tuntap add mode tun name warren0
says "an interface of that name" interface failed 1 'warren0 exists' 'interface' -- "${CHECK[@]}"
lab_in a ip tuntap del mode tun name warren0

# --- files
says "a state that is read-only" state warning 0 'Read-only' 'state' -- \
	unshare -m sh -c 'mount -n -t tmpfs -o ro none /var/lib && exec "$@"' sh "${CHECK[@]}"
says "a state that is read-only, with pinned keys" state failed 1 'Read-only' 'pin-members' -- \
	unshare -m sh -c 'mount -n -t tmpfs -o ro none /var/lib && exec env WARREN_PIN_MEMBERS=true "$@"' sh "${CHECK[@]}"
says "a state on a disk that is full" state warning 0 'No space' 'state' -- unshare -m sh -c \
	'mount -n -t tmpfs -o size=4k none /var/lib && mkdir -p -m 700 /var/lib/warren/lab && head -c 4096 /dev/zero >/var/lib/full; exec "$@"' sh "${CHECK[@]}"
says "a state that is open to others" state warning 0 'mode 755' 'chmod 700' -- unshare -m sh -c \
	'mount -n -t tmpfs none /var/lib && mkdir -p -m 755 /var/lib/warren/lab && exec "$@"' sh "${CHECK[@]}"
says "a damaged key" key failed 1 'damaged' 'move it away' -- unshare -m sh -c \
	'mount -n -t tmpfs none /var/lib && mkdir -p -m 700 /var/lib/warren/lab && echo x >/var/lib/warren/lab/identity && exec "$@"' sh "${CHECK[@]}"
says "a run directory that is read-only" run-dir failed 1 'Read-only' 'run-dir' -- \
	unshare -m sh -c 'mount -n -t tmpfs -o ro none /run && exec "$@"' sh "${CHECK[@]}"

# --- ports
lab_spawn a /dev/null socat -u UDP6-RECV:51999 OPEN:/dev/null
BUSY_UDP=$LAB_PID
lab_spawn a /dev/null socat TCP4-LISTEN:8080,fork,reuseaddr OPEN:/dev/null
BUSY_SHIM=$LAB_PID
lab_wait 5 'lab_in a ss -Hulnt | grep -q :51999 && lab_in a ss -Hlnt | grep -q :8080'
says "an occupied UDP port" udp-port failed 1 '51999' 'port' shim-port -- "${CHECK[@]}" --port 51999
says "an occupied shim port" shim-port failed 1 '8080' 'TRINO_PROXY_PORT' -- "${CHECK[@]}"
says "an occupied Trino port" trino-port warning 0 '8080' 'Trino' -- "${CHECK[@]}" --trino-local-port 8080 --trino-proxy-port 8085
lab_stop "$BUSY_UDP"
lab_stop "$BUSY_SHIM"
says "one port for shim and Trino" trino failed 1 'same port' '.' -- "${CHECK[@]}" --trino-local-port 8080
says "a low port without its capability" udp-port failed 1 'no right to use UDP port 443' 'CAP_NET_BIND_SERVICE' -- \
	setpriv --inh-caps=-net_bind_service --bounding-set=-net_bind_service "${CHECK[@]}" --port 443

# --- the token and the clock
says "no token at all" token failed 1 'not usable' '' -- env WARREN_JOIN=nonsense WORKER_ID=a "$WARREN" check --json
says "an expired token" clock failed 1 'expired on 2023' 'new one' -- \
	env WARREN_JOIN="$(lib/token_edit.py "$TOKEN" expires 1700000000)" WORKER_ID=a "$WARREN" check --json
says "a token for another worker id" token failed 1 'token is for worker id z alone' '' -- \
	env WARREN_JOIN="$(lab_exec rv "${AS_NOBODY[@]}" "$WARREN" token --state "$RV_STATE" --for z 2>/dev/null)" WORKER_ID=a "$WARREN" check --json
cat >"$LAB_DIR/clock.c" <<-'C'
	#define _GNU_SOURCE
	#include <sys/syscall.h>
	#include <time.h>
	#include <unistd.h>
	int clock_gettime(clockid_t which, struct timespec *ts)
	{
		long err = syscall(SYS_clock_gettime, which, ts);
		if (which == CLOCK_REALTIME)
			ts->tv_sec = 12345;
		return (int)err;
	}
C
gcc -shared -fPIC -o "$LAB_DIR/clock.so" "$LAB_DIR/clock.c" || lab_die "no compiler"
says "a clock in 1970" clock failed 1 '1970-01-01' 'NTP' -- env LD_PRELOAD="$LAB_DIR/clock.so" "${CHECK[@]}"
says "an impossible worker id" worker-id failed 1 'worker id' '' -- env WARREN_JOIN="$TOKEN" WORKER_ID='no good' "$WARREN" check --json

# --- the host's own network
lab_in a ip addr add 10.77.5.1/24 dev eth0
says "an address inside the network's range" prefix failed 1 '10.77.0.0/16 overlaps.* address 10.77.5.1 dev eth0' '--prefix' -- "${CHECK[@]}"
lab_in a ip addr del 10.77.5.1/24 dev eth0
says "Kubernetes inside the range" prefix failed 1 'KUBERNETES_SERVICE_HOST 10.77.0.1' '--prefix' -- \
	env KUBERNETES_SERVICE_HOST=10.77.0.1 "${CHECK[@]}"
says "a name server inside the range" prefix failed 1 'name server 10.77.0.53' '--prefix' -- unshare -m sh -c \
	'echo nameserver 10.77.0.53 >"$1" && mount -n --bind "$1" /etc/resolv.conf && shift && exec "$@"' sh "$LAB_DIR/resolv.conf" "${CHECK[@]}"

# --- the rendezvous
says "a token of another network" rendezvous failed 1 'no answer|answers' '' -- \
	env WARREN_JOIN="$(lib/token_edit.py "$TOKEN" key)" WORKER_ID=a "$WARREN" check --json
lab_in a nft -f - <<-'NFT'
	table inet cut { chain out { type filter hook output priority 0; udp dport 7777 drop; }; }
NFT
says "a firewall on what goes out" rendezvous failed 1 'nothing can be sent' 'firewall' -- "${CHECK[@]}"
lab_in a nft delete table inet cut
lab_in a-nat nft -f - <<-'NFT'
	table inet cut { chain out { type filter hook forward priority 0; udp dport 7777 drop; }; }
NFT
says "a firewall on the way" rendezvous failed 1 'no answer' 'firewalls' -- "${CHECK[@]}"
lab_in a-nat nft delete table inet cut
lab_in a ip route del default
says "no route" rendezvous failed 1 'no route to 203.0.113.10' 'network' -- "${CHECK[@]}"
lab_in a ip route add default via 192.168.1.1

# --- several rendezvous, of which one is not there
two() {
	lab_exec rv "${AS_NOBODY[@]}" "$WARREN" rendezvous --listen 203.0.113.10:7799 --public 203.0.113.10:7799 \
		--public 203.0.113.10:7798 --network "$NETWORK" --state "$RV_STATE.two"
}
install -d -m 700 -o nobody -g nogroup "$RV_STATE.two"
two >"$LAB_DIR/two.log" 2>&1 &
LAB_PIDS+=($!)
lab_wait 10 "[ -s '$RV_STATE.two/token' ]"
says "one of two rendezvous is not there" rendezvous warning 0 '203.0.113.10:7799 answers.*no answer from 203.0.113.10:7798' 'running there' -- \
	env WARREN_JOIN="$(cat "$RV_STATE.two/token")" WORKER_ID=a "$WARREN" check --json

# --- beside a gateway that runs
node_start a TRINO_MODE=true WARREN_PORT=51820
# which writes its members file some seconds later
check_wait 20 "where all was well, a gateway comes up" \
	'node_up a && [ -s "$LAB_DIR/node/a/lib/warren/$NETWORK/members" ]' "tail -n 3 $LAB_DIR/a.log"
PID=${NODE_PID[a]}
says "beside it nothing is wrong" gateway ok 0 'a gateway runs on interface warren0' '' -- "${CHECK[@]}" --port 51820
check "and it goes on" node_up a
check "it has noticed nothing" test "$(grep -c 'in use\|error' "$LAB_DIR/a.log")" = 0
lab_stop "$PID"
check "bad settings are bad usage" sh -c "'$WARREN' check --port none 2>/dev/null; [ \$? = 2 ]"
finish
