#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# More of what a WireGuard interface is held to: a client that reads one datagram, counters to the byte,
# the address that replies leave from, routes that change, one peer carried by another, what is said about
# packets for nobody, large and small MTUs, interfaces that were moved, and a peer with 130,560 allowed
# IPs. Each part has hosts of its own, joined by cables without anything between.
#
#	x1 ══ x2    d1 ══ d2    a1 ══ a2    o1 ══ o2 (wg0, wg1)    b1 ══ b2    g1 ══ g2    m1 ══ m2    v1 ══ v2    l1 ══ l2    y
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
lab_init more
warren_need
wg_go_find || lab_die "no wireguard-go"
SINGLE=$PWD/lib/wg_single.py

# cable A B NAME: an interface NAME in both; `cable` makes the hosts as well when they are not there.
cable() {
	local n
	for n in "$1" "$2"; do
		[ -d "$LAB_DIR/node/$n" ] || { lab_ns "$n" && lab_node "$n"; }
	done
	ip -n "$LAB$1" link add "$3" type veth peer name "$3" netns "$LAB$2"
	for n in "$1" "$2"; do ip -n "$LAB$n" link set "$3" up; done
}

# bare NODE PROGRAM NUMBER [INTERFACE PORT]: 10.7.0.NUMBER; the port is NUMBER, as in the kernel's own test
bare() {
	local dev=${4:-wg0}
	[ -e "$LAB_DIR/$1.key" ] || wg_pair "$LAB_DIR/$1.key"
	wg_bare "$1" "$dev" "$2"
	wg_of "$1" set "$dev" private-key "$LAB_DIR/$1.key" listen-port "${5:-$3}"
	lab_in "$1" ip addr add "10.7.0.$3/24" dev "$dev"
	lab_in "$1" ip addr add "fd07::$3/64" dev "$dev" nodad
	lab_in "$1" ip link set "$dev" up
}

# knows NODE PEER NUMBER [MORE…]
knows() {
	wg_of "$1" set wg0 peer "$(wg_pub "$2")" allowed-ips "10.7.0.$3/32,fd07::$3/128" "${@:4}"
}

# two A B NUMBER [PROGRAM]: a cable with 10.0.NUMBER.1 and .2, and wg0 at each end
two() {
	cable "$1" "$2" eth0
	lab_in "$1" ip addr add "10.0.$3.1/24" dev eth0
	lab_in "$2" ip addr add "10.0.$3.2/24" dev eth0
	bare "$1" warren 1
	bare "$2" "${4:-warren}" 2
	knows "$1" "$2" 2 endpoint "10.0.$3.2:2"
	knows "$2" "$1" 1 endpoint "10.0.$3.1:1"
}

# ping NODE ADDRESS [ARG…]: one ping, which is answered
pings() {
	lab_exec "$1" ping -q -c 1 -W 1 "${@:3}" "$2"
}

no_ping() {
	! pings "$@"
}

# --- the first datagrams of a session ---

exact_hosts() {
	two x1 x2 1
	cable d1 d2 eth0
	lab_in d1 ip addr add 10.0.2.1/24 dev eth0
	lab_in d2 ip addr add 10.0.2.2/24 dev eth0
	bare d1 warren 1
	wg_pair "$LAB_DIR/d2.key"
	knows d1 d2 2
}

# ten_pings: in a session that begins with them; X1 and X2 are what `wg show` says then. 750 ms after a session's
# beginning two warrens ask each other whether they are, so who took longer until here tries again.
ten_pings() {
	local began
	for _ in 1 2 3 4 5; do
		wg_of x1 set wg0 peer "$(wg_pub x2)" remove
		wg_of x2 set wg0 peer "$(wg_pub x1)" remove
		knows x1 x2 2
		knows x2 x1 1 endpoint 10.0.1.1:1
		began=${EPOCHREALTIME/./}
		lab_exec x2 ping -q -c 10 -f -W 1 10.7.0.1 || return 1
		X2=$(wg_field x2 wg0 transfer x1) X1=$(wg_field x1 wg0 transfer x2)
		[ $((${EPOCHREALTIME/./} - began)) -ge 700000 ] || return 0
	done
}

# one_of HAVE WANT…
one_of() {
	local want
	for want in "${@:2}"; do [ "$1" != "$want" ] || return 0; done
	echo "$1"
	return 1
}

exact() {
	check "exact: one datagram is read for each that is sent" test \
		"$(lab_exec d2 python3 "$SINGLE" 10.0.2.1 1 "$(wg_pub d1)" "$(cat "$LAB_DIR/d2.key")" 10.7.0.2 10.7.0.1 5)" = "answered, 0 more"
	ten_pings >"$LAB_DIR/ten"
	check "exact: ten pings" grep -q ' 10 received' "$LAB_DIR/ten"
	# 148 and 92 bytes of handshake, ten times 84 bytes padded to 96 with 32 around; perhaps a keepalive
	check "exact: counted at one end" one_of "$X2" '1372 1428' '1372 1460'
	check "exact: and at the other" one_of "$X1" '1428 1372' '1460 1372'
	check_wait 3 "exact: two warrens still find each other" \
		"lab_exec x1 env WARREN_INTERFACE=wg0 $WARREN status --json | jq -e '.peers[0].warren'"
	check "exact: IPv6 inside, UDP, in order" udp6 x1 x2
}

# udp6 FROM TO: iperf3's datagrams over inner IPv6
udp6() {
	local lost
	lab_spawn "$2" "$LAB_DIR/$2.iperf" iperf3 -s -1 -p 5201
	lab_wait 5 "lab_in $2 ss -Hltn | grep -q ':5201 '" || return 1
	lost=$(lab_exec "$1" timeout 20 iperf3 -6 -u -b 50M -t 2 -J -c fd07::2 -p 5201 | jq '.end.sum.lost_percent')
	echo "lost: $lost %"
	jq -en "${lost:-100} < 20" >/dev/null
}

# --- where replies leave from, and other ways ---

# seen_as ADDRESS: where a2 sees a1
seen_as() {
	local is
	is=$(wg_field a2 wg0 endpoints a1)
	echo "$is"
	[ "$is" = "$1" ]
}

ways_hosts() {
	cable a1 a2 eth0
	cable a1 a2 eth1
	bare a1 warren 1
	bare a2 go 2
	knows a1 a2 2
	knows a2 a1 1
}

# asks ADDRESS: a2 reaches a1 there, and is answered from there
asks() {
	wg_of a2 set wg0 peer "$(wg_pub a1)" endpoint "$1"
	check_wait 3 "ways: a1 is reached at $1" "pings a2 10.7.0.1"
	check "ways: and answers from there" seen_as "$1"
}

ways() {
	local ip
	for ip in 10.0.3.1/24 10.0.3.2/24; do lab_in a1 ip addr add "$ip" dev eth0; done
	for ip in fd03::1/64 fd03::2/64; do lab_in a1 ip addr add "$ip" dev eth0 nodad; done
	lab_in a2 ip addr add 10.0.3.3/24 dev eth0
	lab_in a2 ip addr add fd03::3/64 dev eth0 nodad
	asks 10.0.3.2:1
	asks 10.0.3.1:1
	asks '[fd03::2]:1'
	asks '[fd03::1]:1'
	lab_in a1 ip addr add 10.50.0.1/32 dev lo # an address of another interface
	lab_in a2 ip route add 10.50.0.0/24 dev eth0
	asks 10.50.0.1:1
	asks 10.0.3.2:1
	lab_in a1 ip addr del 10.0.3.2/24 dev eth0
	check "ways: an address that is gone is not used" pings a1 10.7.0.2
	check "ways: but the other" seen_as 10.0.3.1:1
	# another interface's route takes precedence
	lab_in a1 ip addr flush dev eth0
	lab_in a1 ip addr add 10.0.3.1/24 dev eth0
	lab_in a1 ip addr add 10.0.3.4/24 dev eth1
	lab_in a1 ip route flush dev eth0
	lab_in a1 ip route flush dev eth1
	lab_in a1 ip route add 10.0.3.0/24 dev eth0 src 10.0.3.1 metric 2
	for ip in a1 a2; do lab_in "$ip" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0; done
	wg_of a1 set wg0 peer "$(wg_pub a2)" endpoint 10.0.3.3:2
	check_wait 3 "ways: by the first interface" "pings a1 10.7.0.2"
	check "ways: from its address" seen_as 10.0.3.1:1
	lab_in a1 ip route add 10.0.3.0/24 dev eth1 src 10.0.3.4 metric 1
	check "ways: a better route appears" pings a1 10.7.0.2
	check "ways: and is taken, with its address" seen_as 10.0.3.4:1
	lab_in a1 nft 'table ip m { chain o { type route hook output priority mangle; meta mark set 1; }; }'
	check "ways: packets that a mark routes anew" pings a1 10.7.0.2
	check "ways: also of a socket that is bound to the interface" pings a1 10.7.0.2 -I wg0
}

# --- one peer carried by another ---

onion_hosts() {
	two o1 o2 4
	wg_pair "$LAB_DIR/o3.key"
	wg_bare o2 wg1 warren
	wg_of o2 set wg1 private-key "$LAB_DIR/o3.key" listen-port 5 peer "$(wg_pub o1)" allowed-ips 10.7.1.1/32
	lab_in o2 ip addr add 10.7.1.2/24 dev wg1
	lab_in o2 ip link set wg1 up
	lab_in o1 ip addr add 10.7.1.1/24 dev wg0
}

onion() {
	check_wait 5 "onion: the one that carries" "pings o1 10.7.0.2"
	wg_of o1 set wg0 peer "$(wg_pub o3)" allowed-ips 10.7.1.2/32 endpoint 10.7.0.2:5
	check_wait 5 "onion: one that is carried by it" "pings o1 10.7.1.2"
	check "onion: back" pings o2 10.7.1.1 -I wg1
	check "onion: TCP, by hash" transfer o1 o2 10.7.1.2 1048576
	wg_of o1 set wg0 peer "$(wg_pub o3)" endpoint 10.7.1.2:5
	check "onion: one that is carried by itself is not reached" no_ping o1 10.7.1.2
	check "onion: which harms nobody" pings o1 10.7.0.2
	wg_of o1 set wg0 peer "$(wg_pub o3)" remove
}

# --- packets for nobody ---

# told NODE ADDRESS: the sender hears at once that it is unreachable
told() {
	lab_exec "$1" ping -c 1 -W 5 "$2" 2>&1 | grep -qE 'Host Unreachable|Address unreachable'
}

nobody() {
	lab_in o1 ip route add 10.98.0.0/16 dev wg0
	lab_in o1 ip -6 route add fd98::/64 dev wg0
	wg_of o1 set wg0 peer "$(wg genkey | wg pubkey)" allowed-ips 10.98.1.1/32,fd98::1/128 persistent-keepalive 1
	check "nobody: no peer has the address" told o1 10.98.0.1
	check "nobody: IPv6" told o1 fd98::2
	check "nobody: a peer without an endpoint" told o1 10.98.1.1
	check "nobody: IPv6" told o1 fd98::1
	check "nobody: and nothing is counted as sent" test "$(wg_of o1 show wg0 transfer | grep -c '[^0-9]0	0$')" = 1
	check "nobody: a flood of them gets no more than fifty a second" few_answers
}

few_answers() {
	local n began=${EPOCHREALTIME/./} ms
	n=$(lab_exec o1 ping -c 400 -i 0.002 -W 1 10.98.0.1 2>&1 | grep -c Unreachable)
	ms=$(((${EPOCHREALTIME/./} - began) / 1000))
	echo "$n in $ms ms"
	[ "$n" -gt 20 ] && [ "$n" -lt 350 ] && [ "$n" -le $((51 + ms / 20)) ]
}

# --- sizes ---

sizes_hosts() {
	two b1 b2 5
	two g1 g2 6 go
	local n
	for n in b1 b2 g1 g2; do
		lab_in "$n" ip link set eth0 mtu 65000
		lab_in "$n" ethtool -K eth0 tso off gso off gro off >/dev/null
	done
}

set_mtu() {
	local n
	for n in b1 b2 g1 g2; do lab_in "$n" ip link set wg0 mtu "$1"; done
}

sizes() {
	local pair a b size n
	set_mtu 34736
	for pair in "b1 b2" "g1 g2"; do
		a=${pair% *} b=${pair#* }
		check_wait 5 "MTU 34736, $pair: first packet" "pings $a 10.7.0.2"
		check_wait 3 "MTU 34736, $pair: 20,000 bytes" "pings $a 10.7.0.2 -s 19972"
		for size in 9001 34736; do
			check "MTU 34736, $pair: $size bytes" pings "$a" 10.7.0.2 -M 'do' -s $((size - 28))
			check "MTU 34736, $pair: and back" pings "$b" fd07::1 -s $((size - 48))
		done
		check "MTU 34736, $pair: TCP, by hash" transfer "$a" "$b" 10.7.0.2 8388608
		check "MTU 34736, $pair: TCP back over IPv6" transfer "$b" "$a" fd07::1 8388608
	done
	# a route that takes less than its device: no padding beyond it
	set_mtu 1300
	for n in b1 b2; do
		lab_in "$n" nft 'table ip t { chain i { type filter hook input priority 0; ip length 1360 drop; }; }'
	done
	lab_in b1 ip route add 10.7.0.2/32 dev wg0 mtu 1299
	lab_in b2 ip route add 10.7.0.1/32 dev wg0 mtu 1299
	check "route of 1299 on a device of 1300: 1297 bytes" pings b1 10.7.0.2 -s 1269
}

# --- interfaces that were moved, and that are down ---

# m2 is no warren: what goes to one is padded by what its path takes, as soon as the two know each other
moved_hosts() {
	two m1 m2 7 go
	lab_ns room
}

moved() {
	local capture
	lab_in m2 ip link set wg0 mtu 8000
	lab_in m1 ip link set eth0 mtu 9000
	lab_in m2 ip link set eth0 mtu 9000
	lab_in m1 ip link set wg0 netns "${LAB}room"
	lab_in room ip addr add 10.7.0.1/24 dev wg0
	lab_in room ip link set wg0 mtu 8000 up
	check_wait 10 "moved: speaks" "lab_in room ping -q -c 1 -W 1 10.7.0.2"
	check "moved: its MTU there is heeded" lab_in room ping -q -c 1 -W 1 -M 'do' -s 7972 10.7.0.2
	lab_in room ip link set wg0 mtu 1300
	check_wait 15 "moved: and a smaller one" "[ \$(padded 1297) = 1297 ]" "padded 1297"
	lab_in room ip link set wg0 down
	wg_of m1 set wg0 peer "$(wg_pub m2)" persistent-keepalive 1
	check_wait 5 "down: it is seen" "pings m2 10.7.0.1; [ \$(wg_drops m1 wg0 link_down) -gt 0 ]"
	lab_capture m1 eth0 "$LAB_DIR/down.pcap" udp src port 1
	capture=$LAB_PID
	lab_wait 4 "[ \$(tcpdump -nr '$LAB_DIR/down.pcap' 2>/dev/null | wc -l) -gt 0 ]"
	lab_stop "$capture"
	check "down: no keepalive leaves" test "$(tcpdump -nr "$LAB_DIR/down.pcap" 2>/dev/null | wc -l)" = 0
	lab_in room ip link set wg0 up
	check_wait 8 "down: and up again" "pings m2 10.7.0.1"
}

# padded SIZE: bytes of plaintext that a ping of SIZE becomes
padded() {
	local before after
	before=$(wg_field m2 wg0 transfer m1 | cut -d ' ' -f 1)
	lab_in room ping -q -c 1 -W 1 -s $(($1 - 28)) 10.7.0.2 >/dev/null
	after=$(wg_field m2 wg0 transfer m1 | cut -d ' ' -f 1)
	echo $((after - before - 32))
}

# --- an address that goes, IPv6 outside ---

gone_hosts() {
	cable v1 v2 eth0
	lab_in v1 ip addr add fd00::1/96 dev eth0 nodad
	lab_in v1 ip addr add fd00::9/96 dev eth0 nodad
	lab_in v2 ip addr add fd00::2/96 dev eth0 nodad
	bare v1 warren 1
	bare v2 warren 2
	knows v1 v2 2 endpoint '[fd00::2]:2'
	knows v2 v1 1 endpoint '[fd00::9]:1'
}

gone() {
	check "gone: asked at an address" pings v2 10.7.0.1
	check "gone: it answers from there" test "$(wg_field v2 wg0 endpoints v1)" = "[fd00::9]:1"
	check "gone: and speaks from there" pings v1 10.7.0.2
	lab_in v1 ip addr del fd00::9/96 dev eth0
	check "gone: it is removed" pings v1 10.7.0.2
	check "gone: the other one is heard of" test "$(wg_field v2 wg0 endpoints v1)" = "[fd00::1]:1"
}

# --- a peer with 130,560 allowed IPs ---

lists_hosts() {
	two l1 l2 8
	wg_pair "$LAB_DIR/l3.key"
	awk -v key="$(wg_pub l3)" 'BEGIN {
		printf "[Peer]\nPublicKey = %s\n", key
		for (a = 1; a < 256; a++)
			for (b = 0; b < 256; b++)
				printf "AllowedIPs = %d.%d.0.0/16, %x::%x/128\n", a, b, a, b
	}' >"$LAB_DIR/lists.conf"
}

# of_l3: how many allowed IPs it has
of_l3() {
	wg_field l1 wg0 allowed-ips l3 | grep -o / | wc -l
}

# While they are set, shown, replaced and removed another peer is pinged.
lists() {
	local pinger
	lab_spawn l1 "$LAB_DIR/lists.ping" ping -q -i 0.01 -W 1 10.7.0.2
	pinger=$LAB_PID
	check "lists: set" wg_of l1 addconf wg0 "$LAB_DIR/lists.conf"
	check "lists: each is shown" test "$(of_l3)" = $((255 * 256 * 2))
	check "lists: replaced" wg_of l1 set wg0 peer "$(wg_pub l3)" allowed-ips 10.8.0.0/16,fd08::/64
	check "lists: by these two" test "$(of_l3)" = 2
	check "lists: set again" wg_of l1 addconf wg0 "$LAB_DIR/lists.conf"
	check "lists: each is shown again" test "$(of_l3)" = $((255 * 256 * 2))
	check "lists: removed" wg_of l1 set wg0 peer "$(wg_pub l3)" remove
	check "lists: gone, and the other one's are there" test "$(wg_of l1 show wg0 allowed-ips | cut -f 2)" = "10.7.0.2/32 fd07::2/128"
	lab_stop "$pinger" INT
	check "lists: each ping to the other was answered" grep ' 0% packet loss' "$LAB_DIR/lists.ping"
	tail -n 1 "$LAB_DIR/lists.ping"
}

# --- both ends on one host, by its loopback, and many connections at once ---

both_hosts() {
	local end
	lab_ns y && lab_node y
	ip -n "${LAB}y" link set lo up
	wg_pair "$LAB_DIR/z.key"
	bare y warren 1
	bare y warren 2 wg1 2
	wg_of y set wg1 private-key "$LAB_DIR/z.key"
	knows y z 2 endpoint 127.0.0.1:2
	wg_of y set wg1 peer "$(wg_pub y)" allowed-ips 10.7.0.1/32,fd07::1/128 endpoint 127.0.0.1:1
	for end in 1 2; do # the interfaces move, their sockets stay
		lab_ns "y$end"
		lab_in y ip link set "wg$((end - 1))" netns "${LAB}y$end"
		lab_in "y$end" ip addr add "10.7.0.$end/24" dev "wg$((end - 1))"
		lab_in "y$end" ip addr add "fd07::$end/64" dev "wg$((end - 1))" nodad
		lab_in "y$end" ip link set "wg$((end - 1))" up
	done
}

# at_once ARG…: iperf3 between the two for a second
at_once() {
	lab_in y1 timeout 20 iperf3 -t 1 -p 5201 "$@"
}

both() {
	local server n
	check_wait 10 "both: 127.0.0.1" "lab_in y1 ping -q -c 1 -W 1 10.7.0.2"
	ip netns exec "${LAB}y2" iperf3 -s -p 5201 >"$LAB_DIR/y2.iperf" 2>&1 &
	server=$!
	lab_wait 5 "lab_in y2 ss -Hltn | grep -q ':5201 '"
	for n in 4 5 50; do check "both: TCP, $n at once" at_once -c 10.7.0.2 -P $n; done
	check "both: 50 at once, IPv6" at_once -6 -c fd07::2 -P 50
	check "both: UDP without a limit" at_once -u -b 0 -c 10.7.0.2
	wg_of y set wg0 peer "$(wg_pub z)" endpoint '[::1]:2'
	wg_of y set wg1 peer "$(wg_pub y)" endpoint '[::1]:1'
	check_wait 5 "both: ::1" "lab_in y1 ping -q -c 1 -W 1 10.7.0.2"
	check "both: 50 at once over it" at_once -c 10.7.0.2 -P 50
	kill $server
	wait $server 2>/dev/null
}

# --- all of it, side by side ---

parts=(exact ways onion sizes moved gone lists)
for part in "${parts[@]}"; do "${part}_hosts"; done
running=()
for part in "${parts[@]}"; do
	{
		$part
		[ "$part" != onion ] || nobody
	} >"$LAB_DIR/result.$part" 2>&1 &
	running+=($!)
done
wait "${running[@]}"
both_hosts
both >"$LAB_DIR/result.both" 2>&1 # alone: it fills both cores
cat "$LAB_DIR"/result.*
! grep -q '^not ok' "$LAB_DIR"/result.* || CHECK_FAILED=1
finish
