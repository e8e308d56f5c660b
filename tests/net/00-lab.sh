#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Is the laboratory what it says? Each NAT kind is measured: whether two destinations see the same
# outside port (mapping), and whether a stranger's datagram gets in (filtering).
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
lab_init lab

PROBE=$PWD/lib/nat_probe.py
lab_public_host s1 203.0.113.11 2001:db8::11
lab_public_host s2 203.0.113.12 2001:db8::12
lab_site full fullcone 203.0.113.21
lab_site port portrestricted 203.0.113.22
lab_site port2 portrestricted 203.0.113.25
lab_site sym symmetric 203.0.113.23
lab_site open none 203.0.113.24
lab_lan_host port neighbour 192.168.1.20
lab_spawn s1 "$LAB_DIR/s1.log" python3 "$PROBE" echo 9000
lab_spawn s2 "$LAB_DIR/s2.log" python3 "$PROBE" echo 9000
lab_wait 10 'lab_in s1 ss -Huln | grep -q :9000 && lab_in s2 ss -Huln | grep -q :9000'

# mapping NODE LOCAL-PORT: the addresses that two servers saw, each on a line
mapping() {
	lab_exec "$1" python3 "$PROBE" ask "$2" 203.0.113.11 9000 203.0.113.12 9000
}

# stranger NODE: what a socket that has spoken to s1 alone hears after s2 has sent to its mapping
stranger() {
	local out=$LAB_DIR/$1.hear
	lab_spawn "$1" "$out" python3 "$PROBE" hear 5000 203.0.113.11 9000 1
	lab_wait 5 "[ -s '$out' ]" || return 1
	lab_exec s1 python3 "$PROBE" ask 9001 203.0.113.12 9000 >/dev/null
	lab_exec s1 python3 - "$(head -1 "$out")" <<-'PY'
		import socket, sys
		host, port = sys.argv[1].split(":")
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.sendto(f"via {host} {port}".encode(), ("203.0.113.12", 9000))
	PY
	wait "$LAB_PID"
	tail -n +2 "$out"
}

expect_mapping() {
	local seen
	seen=$(mapping "$1" 4000 | sort -u)
	if [ "$2" = same ] && [ "$seen" = "$3" ]; then
		ok "$1: one mapping for both destinations"
	elif [ "$2" = differs ] && [ "$(wc -l <<<"$seen")" = 2 ] && ! grep -qv '^203.0.113' <<<"$seen"; then
		ok "$1: another mapping for each destination"
	else
		not_ok "$1: mapping ($2)" "seen: $(tr '\n' ' ' <<<"$seen")"
	fi
}

expect_stranger() {
	local heard
	heard=$(stranger "$1")
	case $2:$heard in
	in:*unasked*203.0.113.12*) ok "$1: a stranger gets in" ;;
	out:) ok "$1: a stranger stays out" ;;
	*) not_ok "$1: filtering ($2)" "heard: $heard" ;;
	esac
}

expect_mapping open same 203.0.113.24:4000
expect_mapping full same 203.0.113.21:4000
expect_mapping port same 203.0.113.22:4000
expect_mapping sym differs
expect_stranger open in
expect_stranger full in
expect_stranger port out
expect_stranger sym out

# Two hosts of one LAN that use one port: the second gets another mapping, and keeps it everywhere.
check_neighbour() {
	local seen
	mapping port 4100 >/dev/null
	seen=$(mapping neighbour 4100 | sort -u)
	echo "seen: $seen"
	[ "$(wc -l <<<"$seen")" = 1 ] && [ "$seen" != 203.0.113.22:4100 ]
}
check "port: a second LAN host with the same port has one mapping of its own" check_neighbour

# Two port-restricted sides that send to each other's mapping meet in the middle.
check_punch() {
	lab_spawn port "$LAB_DIR/punch.1" python3 "$PROBE" ask 4300 203.0.113.25 4300
	lab_spawn port2 "$LAB_DIR/punch.2" python3 "$PROBE" ask 4300 203.0.113.22 4300
	# Whoever hears the other is satisfied and falls silent, so one of the two is enough.
	lab_wait 5 "grep -q 'who am I' '$LAB_DIR'/punch.?"
}
check "two port-restricted NATs can be punched" check_punch

check "IPv6 on the public segment" lab_exec s1 ping -6 -c1 -W2 2001:db8::12
check "a node has its own host name" test "$(lab_exec full hostname)" = full
check "a node has its own /run" sh -c "! ls '$LAB_DIR/node/full/run/netns' 2>/dev/null"

lab_block_direct port sym
blocked() { ! lab_exec open python3 "$PROBE" ask 4200 203.0.113.11 9000 | grep -q nothing; }
check "cutting one pair leaves the others alone" blocked
lab_block_direct open s1
check "a cut pair does not hear each other" grep -q nothing <(lab_exec open python3 "$PROBE" ask 4201 203.0.113.11 9000)
lab_unblock_direct open s1
check "and does again when healed" grep -q 203.0.113.24 <(lab_exec open python3 "$PROBE" ask 4201 203.0.113.11 9000)
finish
