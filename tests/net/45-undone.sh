#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# Other programs undo what is ours: addresses and routes that are flushed are there again, an interface that
# is set down stays down and has all of it when it is up again; so has one from which IPv6 was taken, or that
# got another name. A route into the network's range that is not ours leads nowhere. A connection inside lives through that. In place of an interface that was moved to another
# network namespace there is a new one.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
lab_init undone
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site b portrestricted 203.0.113.22
rv_start
node_start a TRINO_MODE=true
node_start b
check_wait 20 "a and b have joined" 'node_up a && node_up b && reach a "$(node_ip b)"' "tail -qn 2 $LAB_DIR/[ab].log" || finish
A=$(node_ip a) B=$(node_ip b)

picture() {
	lab_in a ip -o addr show dev warren0 | awk '{ print $4 }' | grep -v '^fe80' | sort
	lab_in a ip -4 route show proto 119 | sort
	lab_in a ip -6 route show proto 119 | sort
}
check_wait 20 "over a path that is measured" "[ \"\$(path_of a b)\" = direct ] && lab_in a ip route show $B | grep -q 'mtu 1440'"
picture >"$LAB_DIR/before"
as_before() {
	diff "$LAB_DIR/before" <(picture)
}

transfer a b "$B" 60000000 4000000 >"$LAB_DIR/transfer" 2>&1 &
moving=$!
transfer_moves a "$B"

# undo WHAT COMMAND…: it is done, and undone within 5 s
undo() {
	local what=$1
	shift
	lab_in a "$@"
	check_wait 5 "$what" as_before as_before
}
undo "addresses that are flushed are back, and their routes" ip addr flush dev warren0
undo "IPv6 ones, too" ip -6 addr flush dev warren0
undo "routes by the interface" ip route flush dev warren0
undo "all routes of ours" ip route flush proto 119
undo "those of IPv6" ip -6 route flush proto 119
undo "the one that keeps packets for nobody here" ip route del unreachable 10.77.0.0/16 metric 2147483647
lab_in a ip route replace "$B" via 192.168.1.1 dev eth0
check_wait 5 "a member's route that is replaced is told of" "grep -q 'no route to $B/32: this host has one of its own' $LAB_DIR/a.log"
undo "when that one is gone ours is there" ip route del "$B" via 192.168.1.1 dev eth0
# a route of somebody's for members that are not there yet
strays_lead_nowhere() {
	! lab_exec a bash -c 'echo >/dev/udp/10.77.9.9/9' 2>"$LAB_DIR/strays" && grep -q 'not permitted' "$LAB_DIR/strays"
}
lab_in a ip route add 10.77.9.0/24 via 192.168.1.1
check_wait 5 "a route into the network's range is told of" "grep -q 'a route to 10.77.9.0/24 now, inside' $LAB_DIR/a.log"
check "and leads nowhere" strays_lead_nowhere
check "which is counted" sh -c "ip netns exec ${LAB}a nft list ruleset | grep -q 'ip daddr 10.77.0.0/16 counter packets [1-9]'"
check "the members are reached as before" reach a "$B"
kill -9 "$(process_of a warren-gateway)"
check_wait 20 "a gateway that is killed starts again beside that route" "reach a $B && as_before" as_before
check "which leads nowhere still" strays_lead_nowhere
lab_in a ip route del 10.77.9.0/24
lab_in a ip link set warren0 down
check_wait 5 "an interface that is set down is told of" "grep -q 'interface warren0 was set down' $LAB_DIR/a.log"
check "in the status as well" test "$(status a .tun.up)" = false
check "and in its text" grep -q 'warren0 was set down: nothing is carried' <(lab_exec a "$WARREN" status)
health() {
	lab_exec a curl -s -m 5 -w '%{http_code}' http://localhost:8080/warren/health | tr '\n' ' ' | grep -q "$1"
}
check_wait 5 "and in the shim's health" "health 'warren0 was set down: .* 503'"
check "and stays down" sh -c "ip -n ${LAB}a -o link show warren0 | grep -q 'state DOWN'"
check "the network's addresses are closed off meanwhile" sh -c "ip -n ${LAB}a route get $B 2>&1 | grep -qi 'unreachable\|no route'"
lab_in a ip link set warren0 up
check_wait 5 "up again it has all of it" as_before as_before
check "and says so" test "$(status a .tun.up)" = true
check_wait 5 "and its health is good" "health 'ok 200'"
lab_in a sysctl -qw net.ipv6.conf.all.disable_ipv6=1
check_wait 5 "IPv6 that is switched off is told of" "grep -q 'not all addresses of warren0 can be set now' $LAB_DIR/a.log"
lab_in a sysctl -qw net.ipv6.conf.all.disable_ipv6=0
check_wait 5 "switched on again, all of it is back" as_before as_before
if lab_in a ip link set warren0 name other0 2>/dev/null; then
	check_wait 5 "by another name it carries as before" "reach a $B && reach b $A"
	lab_in a ip link set other0 name warren0
else
	skip "by another name it carries as before" "this kernel renames no interface that is up"
fi
if wait $moving; then
	ok "60 MB arrived with the right hash through all that"
else
	not_ok "60 MB arrived with the right hash through all that" "$(cat "$LAB_DIR/transfer")"
fi
check_wait 10 "b reaches a as well" "reach b $A"
check "what was undone is told of, once in ten seconds" sh -c "grep -c 'another program removed' $LAB_DIR/a.log | grep -qE '^[1-9]$'"
lab_ns other
lab_in a ip link set warren0 netns "${LAB}other"
check_wait 10 "in place of one that was moved away there is another" "reach a $B && reach b $A && as_before"
check "which is told of" grep -q 'interface warren0 is gone: it was moved' "$LAB_DIR/a.log"
kill "${NODE_PID[a]}"
wait "${NODE_PID[a]}"
check "a clean end leaves nothing" test -z "$(lab_in a ip route show proto 119)"
finish
