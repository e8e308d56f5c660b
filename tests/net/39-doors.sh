#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# A member is no door: what another sends through it to anything but its own address, or a prefix that it was
# granted, goes nowhere, though its host forwards; nobody speaks with another's address, nor of another's path.
#
#   a ══ b (forwards) ── h 10.99.0.10          the rendezvous takes the grant back while a does not hear it,
#   c                                          so a goes on sending there, as one that lies would
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init doors
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site b none 203.0.113.22
lab_site c none 203.0.113.23
lab_ns h
lab_node h
ip -n "${LAB}h" link add eth0 type veth peer name lan1 netns "${LAB}b"
ip -n "${LAB}h" addr add 10.99.0.10/24 dev eth0
ip -n "${LAB}h" link set eth0 up
ip -n "${LAB}h" route add default via 10.99.0.1
ip -n "${LAB}b" addr add 10.99.0.1/24 dev lan1
ip -n "${LAB}b" link set lan1 up
lab_in b sysctl -qw net.ipv4.ip_forward=1
rv_start --route b=10.99.0.0/24
for n in a b c; do node_start $n; done
for n in a b c; do check_wait 20 "$n has joined" "node_up $n" "tail -n 2 $LAB_DIR/$n.log"; done
A=$(node_ip a) B=$(node_ip b) C=$(node_ip c)

# drops NODE REASON
drops() {
	status "$1" ".drops.$2 // 0"
}

check_wait 20 "granted: the host behind b is reached" "reach a 10.99.0.10" "status b .drops"
check "and b's own address there" reach a 10.99.0.1
check_wait 20 "a and b talk directly" '[ "$(path_of a b)" = direct ]'

# --- taken back, and a does not know
lab_block_direct a rv
kill -KILL "$RV_PID"
rv_start
check_wait 30 "b knows that it has the prefix no longer" '[ "$(drops b not_for_me)" -gt 0 ] || { reach a 10.99.0.10; false; }' "status b .drops"
check "a does not, and sends it there" grep -q warren0 <(lab_in a ip route get 10.99.0.10)
lab_capture h eth0 "$LAB_DIR/h.pcap" "host $A"
CAPTURE=$LAB_PID
before=$(drops b not_for_me)
lab_exec a ping -q -c 20 -i 0.05 -W 1 10.99.0.10 >/dev/null
lab_exec a ping -q -c 20 -i 0.05 -W 1 10.99.0.1 >/dev/null
# a's kernel may send of itself, too
check_wait 3 "each of 40 packets was dropped, by its name" "[ \"\$(drops b not_for_me)\" -ge $((before + 40)) ]" "drops b not_for_me"
lab_stop "$CAPTURE"
check "none came out behind b" test "$(tcpdump -r "$LAB_DIR/h.pcap" 2>/dev/null | wc -l)" = 0
check "b itself is reached" reach a "$B"
lab_unblock_direct a rv

# --- somebody else's address as source
lab_capture b warren0 "$LAB_DIR/b.pcap" "udp port 4444"
CAPTURE=$LAB_PID
# forge SOURCE: 20 datagrams from a to b as if they were SOURCE's
forge() {
	lab_exec a python3 - "$1" "$B" <<-'PY'
		import socket, struct, sys
		s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
		udp = struct.pack("!HHHH", 4444, 4444, 8 + 6, 0) + b"forged"
		for i in range(20):
		    s.sendto(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), i, 0, 64, 17, 0,
		             socket.inet_aton(sys.argv[1]), socket.inet_aton(sys.argv[2])) + udp, (sys.argv[2], 0))
	PY
}
# came: bytes that b's kernel was given; several datagrams may come as one
came() {
	tcpdump -nr "$LAB_DIR/b.pcap" 2>/dev/null | awk '/UDP, length/ { n += $NF } END { print n + 0 }'
}
forge "$A"
check_wait 3 "with its own it comes through" '[ "$(came)" = 120 ]' came
before=$(drops b inner_spoofed_source) n=0
for source in "$C" "$B" 10.77.99.99 10.99.0.10 203.0.113.23 127.0.0.1 8.8.8.8; do
	forge "$source"
	n=$((n + 20))
	check_wait 3 "as $source: dropped, by its name" "[ \"\$(drops b inner_spoofed_source)\" = $((before + n)) ]" "drops b inner_spoofed_source"
done
lab_stop "$CAPTURE"
check "b's kernel saw none of them" test "$(tcpdump -r "$LAB_DIR/b.pcap" "not src $A" 2>/dev/null | wc -l)" = 0

# --- what it says of somebody else's path
# too_big ADDRESS: a tells b's kernel that no more than 552 bytes of what b answers ADDRESS get there
too_big() {
	lab_exec a python3 - "$B" "$1" <<-'PY'
		import socket, struct, sys
		def put_sum(data, at):
		    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
		    total = (total & 0xffff) + (total >> 16)
		    total = (total & 0xffff) + (total >> 16)
		    return data[:at] + struct.pack("!H", ~total & 0xffff) + data[at + 2:]
		b, to = sys.argv[1:]
		reply = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 1300, 7, 0x4000, 64, 1, 0, socket.inet_aton(b), socket.inet_aton(to))
		reply = put_sum(reply, 10) + put_sum(struct.pack("!BBHHH", 0, 0, 0, 1, 1), 2)
		s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
		s.sendto(put_sum(struct.pack("!BBHHH", 3, 4, 0, 0, 552) + reply, 2), (b, 0))
	PY
}
# believes ADDRESS: b's kernel does
believes() {
	lab_in b ip route get "$1" | grep -q 'mtu 552'
}
too_big "$A"
check_wait 3 "of its own it is believed" "believes $A" "lab_in b ip route get $A"
before=$(drops b inner_false_error) n=0
for other in "$C" "$B" 203.0.113.23 $RV_ADDR; do
	too_big "$other"
	n=$((n + 1))
	check_wait 3 "of $other: dropped, by its name" "[ \"\$(drops b inner_false_error)\" = $((before + n)) ]" "drops b inner_false_error"
	check "and not believed" eval "! believes $other"
done
check_wait 10 "all that time c was who it is" "reach c $B"
finish
