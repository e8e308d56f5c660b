#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# Two rendezvous in one token: a node is registered with both, and either is enough to join, to be
# introduced and to be relayed for. Each is killed in its turn, with joins going on; one moves to another
# host under its name.
#
#   rv1 .10   rv2 .11   spare .12 (where rv1 moves to)   n1 … n6, behind the four kinds of NAT
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init two
warren_need

KINDS=(none fullcone symmetric symmetric portrestricted none)
NODES=()
declare -A IP=() PID=() STATE_OF=() AT=([rv1]=203.0.113.10 [rv2]=203.0.113.11)
lab_public_host rv1 203.0.113.10
lab_public_host rv2 203.0.113.11
lab_public_host spare 203.0.113.12

names() { # in place: the nodes have the file mounted
	local n
	for n in n1 n2 n3 n4 n5 n6; do
		printf '127.0.0.1 localhost\n%s rv1.test\n%s rv2.test\n' "${AT[rv1]}" "${AT[rv2]}" >"$LAB_DIR/node/$n/hosts"
	done
}
for i in {1..6}; do lab_site "n$i" "${KINDS[i - 1]}" "203.0.113.$((20 + i))"; done
names

# rendezvous HOST STATE ARG…
rendezvous() {
	local host=$1 state=$LAB_DIR/$2
	STATE_OF[$host]=$2
	shift 2
	[ -d "$state" ] || install -d -m 700 -o nobody -g nogroup "$state"
	lab_spawn "$host" "$LAB_DIR/$host.log" "${AS_NOBODY[@]}" "$WARREN" rendezvous --listen 0.0.0.0:7777 \
		--network lab --public rv1.test:7777 --public rv2.test:7777 --state "$state" "$@"
	PID[$host]=$LAB_PID
}

token_of() { # HOST STATE
	lab_exec "$1" "${AS_NOBODY[@]}" "$WARREN" token --state "$LAB_DIR/$2"
}

rendezvous_says() { # HOST FILTER
	rv_status_of "$1" "$LAB_DIR/${STATE_OF[$1]}" "$2"
}

die() { # HOST SIGNAL
	kill "-$2" "${PID[$1]}"
	lab_wait 5 "! kill -0 ${PID[$1]}"
}

start() {
	node_start "$1"
	NODES+=("$1")
}

all_up() {
	local n
	for n in "${NODES[@]}"; do node_up "$n" || return 1; done
	for n in "${NODES[@]}"; do IP[$n]=$(node_ip "$n"); done
}

# registered COUNT: every node, with so many, whose answers are fresh
registered() {
	local n
	for n in "${NODES[@]}"; do
		[ "$(status "$n" '[.rendezvous[] | select(.registered and .last_answer_s < 24)] | length')" = "$1" ] || return 1
	done
}

# both_know HOST: every node is registered with both, and HOST's says so, too. A node's word of one that was away
# for a moment is of before that; and who joins by HOST learns of those alone that it knows again.
both_know() {
	registered 2 && [ "$(rendezvous_says "$1" '[.members[] | select(.online)] | length')" = ${#NODES[@]} ]
}

seen() { # of every node, how it stands with each rendezvous
	local n
	for n in "${NODES[@]}"; do status "$n" '[.rendezvous[] | "\(.endpoint) \(.registered) \(.last_answer_s)"] | join(", ")'; done
}

every_pair() {
	local n missing=
	for n in "${NODES[@]}"; do
		missing+=$(lab_exec "$n" bash -c '
			for ip; do { ping -q -c 1 -W 1 $ip >/dev/null || echo $ip; } & done; wait' - "${IP[@]}" | sed "s/^/$n→/")
	done
	echo "$missing"
	[ -z "$missing" ]
}

addresses() {
	local n
	for n in "${NODES[@]}"; do echo "$n $(node_ip "$n")"; done
}

# keeps BEFORE: whoever had an address has it
keeps() {
	! diff <(addresses) - <<<"$1" | grep '^>'
}

refused() { # PART ARG…: a status that is not 0, and a line that says so
	local out part=$1
	shift
	out=$(lab_exec spare timeout 10 "$WARREN" rendezvous --state "$LAB_DIR/none" "$@" 2>&1) && return 1
	echo "$out"
	grep -q -e "$part" <<<"$out"
}

both=(--public a.test:1 --public b.test:2)
check "the third of two is refused" refused 'K/N' --number 3/2 "${both[@]}"
check "two need an address each" refused 'once for each' --number 1/2 --public a.test:1
check "and no more than that" refused 'once for each' --number 1/2 "${both[@]}" --public c.test:3

rendezvous rv1 state1 --number 1/2
check_wait 10 "the first starts" 'token_of rv1 state1'
die rv1 TERM
cp -a "$LAB_DIR/state1" "$LAB_DIR/state2"
rendezvous rv1 state1 --number 1/2
rendezvous rv2 state2 --number 2/2
check_wait 10 "the second starts with a copy of its state" 'grep -q "rendezvous 2 of 2" $LAB_DIR/rv2.log'
TOKEN=$(token_of rv1 state1)
check "both print one token" test "$TOKEN" = "$(token_of rv2 state2)"

for n in n1 n2 n3 n4; do start $n; done
check_wait 20 "four nodes have joined" all_up "tail -qn 1 $LAB_DIR/n*.log" || finish
check_wait 20 "each is registered with both" 'registered 2' seen
check_wait 30 "every pair talks" every_pair every_pair
check_wait 20 "two of them over a relay" '[ "$(path_of n3 n4)" = relay ]' 'path_of n3 n4'

# the one that n3 and n4 are relayed by, and the other
relayed_by=$(status n3 '.peers[] | select(.id == "n4") | .endpoint')
if [[ $relayed_by == 203.0.113.10:* ]]; then first=rv1 second=rv2; else first=rv2 second=rv1; fi
before=$(addresses)
lab_spawn n3 "$LAB_DIR/ping.log" ping -i 0.2 -w 60 "${IP[n4]}"
PING=$LAB_PID
die $first KILL
start n5
check_wait 10 "a node joins while $first is dead" all_up "tail -n 3 $LAB_DIR/n5.log"
check_wait 15 "and everybody talks to everybody" every_pair every_pair
kill -INT "$PING"
lab_wait 5 "! kill -0 $PING"
lost() {
	awk -F'[=, ]+' '/packets transmitted/ { print $1 - $4 }' "$LAB_DIR/ping.log"
}
check "the relayed pair goes on over $second after 8 s at most: $(lost) pings of 0.2 s lost" test "$(lost)" -le 40

state() { echo "state${1#rv}"; }
rendezvous $first "$(state $first)" --number "${first#rv}/2"
check_wait 45 "all are registered with both again" "both_know $first" seen
die $second KILL
plain=$TOKEN
TOKEN=$(lab_exec $first "${AS_NOBODY[@]}" "$WARREN" token --for n6 --state "$LAB_DIR/$(state $first)")
start n6
TOKEN=$plain
check_wait 10 "a node joins while $second is dead" all_up "tail -n 3 $LAB_DIR/n6.log"
check_wait 15 "and everybody talks to everybody" every_pair every_pair
check "nobody's address has changed" keeps "$before"
check "and all are different" test "$(printf '%s\n' "${IP[@]}" | sort -u | wc -l)" = 6

rendezvous $second "$(state $second)" --number "${second#rv}/2"
check_wait 45 "all are registered with both once more" "both_know $second" seen
check "n6 is kept for its token where that was made" test "$(rendezvous_says $first .admission.reserved)" = '["n6"]'
check "and at the other, to which n6 has shown it" test "$(rendezvous_says $second .admission.reserved)" = '["n6"]'
before=$(addresses)
die rv1 TERM
AT[rv1]=203.0.113.12
names
rendezvous spare state1 --number 1/2
moved() {
	both_know spare || return 1
	local n
	for n in "${NODES[@]}"; do
		[ "$(status "$n" '.rendezvous[0].endpoint')" = 203.0.113.12:7777 ] || return 1
	done
}
check_wait 40 "it moves under its name: all follow" moved seen
die rv2 KILL
check_wait 15 "and it serves them alone" every_pair every_pair
check "with the same addresses" keeps "$before"
finish
