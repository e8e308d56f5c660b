#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Is the laboratory what it says? Each NAT kind is measured: whether two destinations see the same
# outside port (mapping), and whether a stranger's datagram gets in (filtering). Each way of being
# narrow is measured by ping, and the tools of the scripts about MTU by what they must find.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/mtu_check.sh
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
	lab_spawn "$1" "$out" python3 "$PROBE" hear 5000 203.0.113.11 9000 20
	lab_wait 5 "[ -s '$out' ]" || return 1
	lab_exec s1 python3 "$PROBE" ask 9001 203.0.113.12 9000 >/dev/null
	lab_exec s1 python3 - "$(head -1 "$out")" <<-'PY'
		import socket, sys
		host, port = sys.argv[1].split(":")
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.sendto(f"via {host} {port}".encode(), ("203.0.113.12", 9000))
	PY
	lab_wait 1 "grep -q unasked '$out'"
	lab_stop "$LAB_PID"
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

no_loss() {
	lab_exec a ping -q -c 100 -i 0.001 -W 1 "$B" | grep ' 0% packet loss'
}

cut_off() {
	lab_exec a ping -c 1 -W 1 "$B" && # no UDP
		grep -q nothing <(lab_exec a python3 "$PROBE" ask 4300 "$B" 9000) &&
		grep "$A:4300" <(lab_exec a python3 "$PROBE" ask 4300 203.0.113.11 9000)
}

# --- the middle whose MTU is set (mtu_lab.sh)

mtu_init
mtu_site a
mtu_site b
mtu_site c portrestricted
A=${LAB_PUBLIC[a]} B=${LAB_PUBLIC[b]} A6=${MTU_ADDR6[a]} B6=${MTU_ADDR6[b]}
check_wait 5 "9000 bytes pass everywhere" "ping_df a $B 9000 && ping_df b $A 9000 && ping_df a 203.0.113.10 9000 &&
	ping_df c $B 9000"
check_wait 5 "and with IPv6" "ping_df a $B6 9000 && ping_df b $A6 9000 && ping_df a 2001:db8::10 9000"

# narrow_one_way FROM TO ADDRESS-OF-TO ADDRESS-OF-FROM N: the answer of a ping goes the wide way
# back, and the wide way's answers, without DF, are cut to pieces.
narrow_icmp() {
	check "$5 bytes from $1 to $2: they pass" ping_df "$1" "$3" "$5"
	check "one more: ICMP says so" ping_says "$1" "$3" $(($5 + 1)) 'Frag needed.*mtu *= *'"$5"
	check "then the sender's kernel knows it" ping_says "$1" "$3" $(($5 + 1)) "message too long, mtu=$5"
	check "without DF it passes" ping_df "$1" "$3" $(($5 + 1)) dont
	check "the other direction is wide" ping_df "$2" "$4" 9000
	mtu_forget "$1"
}
for n in 576 1400; do
	mtu_set a b $n
	narrow_icmp a b "$B" "$A" $n
done
mtu_set c b 1400
narrow_icmp c b "$B" "$A" 1400
check "another pair is left alone" ping_df a 203.0.113.10 9000

mtu_set a b 1400 silent
check "silent: 1400 pass" ping_df a "$B" 1400
check "silent: 1401 are lost without a word" ping_lost a "$B" 1401
check "silent: without DF they pass" ping_df a "$B" 1401 dont
check "silent to one is not silent about others" ping_says c "$B" 1401 'Frag needed'
mtu_forget c
mtu_set a b 1400 drop
check "drop: 1400 pass" ping_df a "$B" 1400
check "drop: 1401 are lost, even without DF" ping_lost a "$B" 1401 dont

# IPv6: the answer to a ping of b must be small enough for a → b.
for mode in icmp silent drop; do
	mtu_set a b 1300 $mode
	check "IPv6, $mode: 1300 pass" ping_df a "$B6" 1300
	if [ $mode = icmp ]; then
		check "IPv6, icmp: one more, and Packet Too Big says so" ping_says a "$B6" 1301 'Packet too big: mtu=1300'
		mtu_forget a
	else
		check "IPv6, $mode: one more is lost without a word" ping_lost a "$B6" 1301
	fi
done

# A bundle that the sender's kernel cuts up itself is judged datagram by datagram.
# bundle FROM TO SIZE: how many datagrams of one bundle of ten, and a small one behind, arrive
bundle() {
	local out=$LAB_DIR/bundle
	: >"$out"
	lab_spawn "$2" "$out" python3 "$MTU_LIB/echo.py" count 7100
	lab_wait 5 "lab_in $2 ss -Huln | grep -q ':7100 '"
	lab_exec "$1" python3 "$MTU_LIB/echo.py" bundle "${LAB_PUBLIC[$2]}" 7100 "$3"
	wait "$LAB_PID"
	cat "$out"
}
mtu_set a b 1400 drop
check "a bundle of datagrams that fit passes whole" test "$(bundle a b 1400)" = 11
check "of a bundle of larger ones the small last one passes alone" test "$(bundle a b 1401)" = 1
check "the other direction is wide" test "$(bundle b a 9000)" = 11

mtu_clear
check "lifted: 9000 bytes pass again" ping_df a "$B" 9000
mtu_host a 1500
check "the host's own MTU: 1500 pass" ping_df a "$B" 1500
check "the host's own MTU: it refuses more by itself" ping_says a "$B" 1501 'message too long, mtu=1500'
check "and so does its router for what comes" ping_says b "$A" 1501 'Frag needed.*mtu *= *1500'
mtu_forget b
mtu_host a 9000

loss_set a b 20
lost=$(lab_exec a ping -q -c 1000 -i 0.001 -W 1 "$B" | sed -n 's/.* \([0-9]*\)[0-9.]*% packet loss.*/\1/p')
check "20 % loss is 15 to 25: $lost %" test "$lost" -ge 15 -a "$lost" -le 25
mtu_clear
check "and none when cleared" no_loss
mtu_cut a b
check "cut: no UDP between the two, but to the third" cut_off
mtu_heal a b

# --- the tools

echo_start b
check "echo: every size of a sample" echo_sizes a "$B" 28-128 sample:1:200:128:9000
check "echo: IPv6" echo_sizes a "$B6" sample:1:100:48:9000
mtu_set a b 1400 drop
check "echo: tells what fails" grep -q '5 sizes: 3 echoed, 0 refused, 2 failed: 1401-1402$' \
	<(echo_sizes a "$B" 1398-1402)
check "echo: and its status does" not echo_sizes a "$B" 1398-1402
mtu_set a b 1400
check "echo: with DF, refused is not failed" grep -q 'refused from 1401 on' \
	<(ping_df a "$B" 1401; echo_sizes a "$B" --df 1390-1410)
mtu_clear
mtu_forget a
loss_set a b 20
check "echo: more tries on a lossy path" echo_sizes a "$B" --tries 12 sample:2:100:28:1400
mtu_clear

flow_start a b "$B" 2000000
check_wait 5 "flow: bytes arrive" '[ "$(flow_bytes)" -gt 500000 ]'
before=$EPOCHREALTIME
loss_set a b 100
check_wait 5 "flow: nothing arrives for a second" '[ "$(flow_gap $before)" \> 1.00 ]'
loss_set a b 0
at=$(flow_bytes)
check_wait 5 "flow: bytes arrive again" "[ \"\$(flow_bytes)\" -gt $((at + 1000000)) ]"
gap=$(flow_gap "$before")
check "flow: the silence was measured: $gap s" test "${gap%.*}" -ge 1 -a "${gap%.*}" -le 3
check "flow: the MSS of a wide path: $(flow_mss)" test "$(flow_mss)" -gt 8900
check "flow: all of it arrived" flow_end

# What the forger is for: the kernel of a believes it, for datagrams that have a socket.
# forge WRONG…: about a datagram of 1000 bytes from a to b
forge() {
	local out=$LAB_DIR/forge
	: >"$out"
	mtu_forget a
	lab_spawn inet "$out" python3 "$MTU_LIB/icmp_forge.py" --least 1000 --seconds 3 "$@" toa "$A" "$B" 600 1
	local pid=$LAB_PID
	lab_wait 3 "grep -q listening '$out'"
	echo_sizes a "$B" --tries 1 1000
	lab_wait 3 "! kill -0 $pid"
	grep '^1 sent, about packets of 1000 bytes' "$out"
}
forgery_believed() {
	forge "$@" && lab_in a ip route get "$B" | grep 'mtu 600'
}
mtu_set b a 999 drop # the answer is late, so that the socket is still there
check "forge: a real quote is believed by the kernel" forgery_believed
check "forge: bytes that it never sent are, too" forgery_believed --wrong bytes
check "forge: of other ports they are not" not forgery_believed --wrong ports
check "forge: but sent" forge --wrong ports
finish
