#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
#
# `warren up FILE` does what wg-quick does with the same file: a full tunnel under a strict reverse-path
# filter, its end and what a killed one leaves, tables, networks of addresses, names that cannot be looked up
# yet, files as people have them; and between two warrens the first connection grows to the path's size.
#
#	f ── f-nat ──┐                                y1 ══ y2 (9000)    z1 ══ z2 (1500)
#	             ├── s (wireguard-go), h
#	k, n, r ─────┘
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
lab_init file
warren_need
wg_go_find || lab_die "no wireguard-go"
ALL='0.0.0.0/0, ::/0'

# file NODE ADDRESSES PEER ENDPOINT ALLOWED [LINE…]: its configuration; the lines are of the interface
file() {
	local conf=$LAB_DIR/$1.conf
	[ -e "$LAB_DIR/$1.key" ] || wg_pair "$LAB_DIR/$1.key"
	(
		umask 077
		{
			printf '[Interface]\nPrivateKey = %s\nAddress = %s\n' "$(cat "$LAB_DIR/$1.key")" "$2"
			[ $# -lt 6 ] || printf '%s\n' "${@:6}"
			printf '[Peer]\nPublicKey = %s\nAllowedIPs = %s\n' "$(wg_pub "$3")" "$5"
			[ -z "$4" ] || printf 'Endpoint = %s\n' "$4"
		} >"$conf"
	)
}

declare -A UP=() # node → the process of its `warren up`

# up NODE [VARIABLE…]: until it answers, which it does when its addresses and routes are there
up() {
	lab_spawn "$1" "$LAB_DIR/$1.log" env "${@:2}" "$WARREN" up "$LAB_DIR/$1.conf"
	UP[$1]=$LAB_PID
	lab_wait 10 "node_up $1" || lab_die "$1: $(cat "$LAB_DIR/$1.log")"
}

server() {
	wg_pair "$LAB_DIR/s.key"
	wg_bare s wg0 go
	wg_of s set wg0 private-key "$LAB_DIR/s.key" listen-port 51820
	lab_in s ip addr add 10.7.0.1/24 dev wg0
	lab_in s ip addr add fd07::1/64 dev wg0 nodad
	lab_in s ip link set wg0 up
	lab_in s ip addr add 2001:db8:99::1/128 dev lo
	lab_in s sysctl -qw net.ipv4.ip_forward=1
	lab_in s nft 'table ip nat { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }'
}

# serves NODE NUMBER
serves() {
	wg_of s set wg0 peer "$(wg_pub "$1")" allowed-ips "10.7.0.$2/32,fd07::$2/128"
}

refused() {
	! "$@"
}

# --- everything through the tunnel ---

rules() {
	{ lab_in "$1" ip -4 rule; lab_in "$1" ip -6 rule; } | grep -cE '51820|suppress_prefixlength'
}

# beside CAPTURE: what f's site sent to anybody but the server; others on that network speak when they like
beside() {
	local mac
	mac=$(lab_in f-nat cat /sys/class/net/eth0/address)
	tcpdump -nr "$1" ip and ether src "$mac" and not "(udp and dst host 203.0.113.63)" 2>/dev/null | wc -l
}

full() {
	local capture seen
	file f '10.7.0.2/32, fd07::2/128' s 203.0.113.63:51820 "$ALL"
	serves f 2
	lab_in f sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1
	check "full tunnel: h without it" reach f 203.0.113.99
	up f
	lab_capture f-nat eth0 "$LAB_DIR/full.pcap"
	capture=$LAB_PID
	check_wait 10 "full tunnel: h through it, under a strict reverse-path filter" "reach f 203.0.113.99"
	check "full tunnel: nothing about a file that is its owner's alone" refused grep -q 'others can' "$LAB_DIR/f.log"
	check "full tunnel: the server itself, too" reach f 10.7.0.1
	check "full tunnel: IPv6" reach f 2001:db8:99::1
	check "full tunnel: TCP, by hash" transfer f h 203.0.113.99 4194304
	check "full tunnel: wg-quick's mark" test "$(wg_of f show warren0 fwmark)" = 0xca6c
	check "full tunnel: two rules of each family" test "$(rules f)" = 4
	wg_of f set warren0 fwmark 0
	check "full tunnel: a file without FwMark, as setconf and syncconf give it on, leaves the mark" \
		test "$(wg_of f show warren0 fwmark)" = 0xca6c
	check "full tunnel: another is refused" refused wg_of f set warren0 fwmark 7
	check "full tunnel: and it goes on" reach f 203.0.113.99
	check "full tunnel: its LAN is reached beside it" reach f 192.168.1.1
	lab_wait 5 "[ \$(tcpdump -nr '$LAB_DIR/full.pcap' 2>/dev/null | wc -l) -gt 100 ]"
	lab_stop "$capture"
	seen=$(beside "$LAB_DIR/full.pcap")
	check "full tunnel: nothing beside it, but $seen" test "$seen" = 0
	lab_stop "${UP[f]}"
	check_wait 5 "full tunnel: h without it again" "reach f 203.0.113.99"
	check "full tunnel: no rule is left" test "$(rules f)" = 0
	# killed: all of it at once, and nothing cleans up but the next start
	up f
	check_wait 10 "killed: through it" "reach f 10.7.0.1"
	ip netns pids "${LAB}f" | xargs kill -KILL
	check_wait 5 "killed: the host is not cut off" "reach f 203.0.113.99"
	check "killed: its rules are there" test "$(rules f)" = 4
	up f
	check_wait 10 "killed: the next start works" "reach f 10.7.0.1"
	check "killed: with rules of its own alone" test "$(rules f)" = 4
	lab_stop "${UP[f]}"
	check "killed: and leaves none" test "$(rules f)" = 0
}

# --- tables and networks ---

tables() {
	file k '10.7.0.3/24, fd07::3/64' s 203.0.113.63:51820 "$ALL, 10.66.0.0/16" 'Table = 77'
	serves k 3
	up k
	check_wait 5 "Table = 77: the default route is there" "lab_in k ip route show table 77 | grep -q '^default dev warren0'"
	check "Table = 77: and the other" bash -c "ip -n ${LAB}k route show table 77 | grep -q '^10.66.0.0/16 dev warren0'"
	check "Table = 77: no rule" test "$(rules k)" = 0
	check "Table = 77: the address has its network" test -n "$(lab_in k ip route show 10.7.0.0/24 dev warren0)"
	check_wait 5 "Table = 77: so that the server is reached" "reach k 10.7.0.1"
	check "Table = 77: the rest of the world as before" reach k 203.0.113.99
	lab_stop "${UP[k]}"
	file k '10.7.0.3/24, fd07::3/64' s 203.0.113.63:51820 "$ALL" 'Table = off'
	up k
	check_wait 5 "Table = off: the server is reached by the address's network" "reach k 10.7.0.1"
	check "Table = off: IPv6" reach k fd07::1
	check "Table = off: nothing else" test "$(lab_in k ip route show dev warren0 | wc -l)" = 1
	lab_stop "${UP[k]}"
}

# --- names ---

names() {
	file n 10.7.0.4/24 s vpn.example:51820 "$ALL" 'DNS = 10.7.0.1'
	serves n 4
	up n
	check_wait 40 "a name that cannot be looked up yet: said, and the rest goes on" "grep -q 'no address for the endpoint.s name vpn.example' '$LAB_DIR/n.log'"
	check "a name: no full tunnel before it is known" reach n 203.0.113.99
	echo "203.0.113.63 vpn.example" >>"$LAB_DIR/node/n/hosts"
	check_wait 60 "a name: known later, by itself" "reach n 10.7.0.1"
	check "a name: then the full tunnel is there" test "$(rules n)" = 4
	lab_stop "${UP[n]}"
	# two halves of everything, without a mark
	: >"$LAB_DIR/n.log"
	sed -i '/vpn.example/d' "$LAB_DIR/node/n/hosts"
	file n 10.7.0.4/24 s vpn.example:51820 '0.0.0.0/1, 128.0.0.0/1'
	up n
	check_wait 40 "halves: the name cannot be looked up yet" "grep -q 'no address' '$LAB_DIR/n.log'"
	check "halves: no route before it is known" test -z "$(halves)"
	check "halves: so that the host keeps its network" reach n 203.0.113.99
	echo "203.0.113.63 vpn.example" >>"$LAB_DIR/node/n/hosts"
	check_wait 60 "halves: then the one is there that has not the endpoint inside" "[ \"\$(halves)\" = 0.0.0.0/1 ]" halves
	check_wait 5 "halves: and leads to the server" "reach n 10.7.0.1"
	lab_stop "${UP[n]}"
}

halves() {
	lab_in n ip route show dev warren0 | grep -oE '^(0.0.0.0|128.0.0.0)/1'
}

# --- a file as it is found ---

rough() {
	local i list=''
	for i in $(seq 300); do list+="10.66.$((i / 250)).$((i % 250))/32, "; done
	file r 10.7.0.5/24 s 203.0.113.1:9 "$list 10.67.0.0/16" 'MTU = 34736'
	serves r 5
	printf '[Peer]\nPublicKey = %s\nEndpoint = 203.0.113.63:51820\nAllowedIPs = %s 10.7.0.1/32\n' "$(wg_pub s)" "$list" >>"$LAB_DIR/r.conf"
	printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.7.0.5/32\n' "$(wg_pub r)" >>"$LAB_DIR/r.conf"
	chmod 644 "$LAB_DIR/r.conf"
	up r WARREN_STATE=/proc/nowhere
	check "one that all can read is" grep -q "others can use $LAB_DIR/r.conf" "$LAB_DIR/r.log"
	check_wait 5 "a key twice, 300 prefixes in a line, a state that cannot be written, our own key" "reach r 10.7.0.1"
	check "the last section's prefixes alone" test "$(wg_field r warren0 allowed-ips s | wc -w)" = 301
	check "a larger MTU than there is: the largest" test "$(lab_in r cat /sys/class/net/warren0/mtu)" = 9000
	lab_stop "${UP[r]}"
}

# --- the first connection between two warrens ---

# pair A B MTU
pair() {
	local n
	for n in "$1" "$2"; do
		lab_ns "$n"
		lab_node "$n"
		wg_pair "$LAB_DIR/$n.key"
	done
	ip -n "$LAB$1" link add eth0 type veth peer name eth0 netns "$LAB$2"
	lab_in "$1" ip addr add 10.0.0.1/24 dev eth0
	lab_in "$2" ip addr add 10.0.0.2/24 dev eth0
	for n in "$1" "$2"; do lab_in "$n" ip link set eth0 mtu "$3" up; done
	file "$1" 10.7.0.1/24 "$2" 10.0.0.2:51820 10.7.0.2/32 'ListenPort = 51820'
	file "$2" 10.7.0.2/24 "$1" 10.0.0.1:51820 10.7.0.1/32 'ListenPort = 51820'
}

# mss NODE: the largest segment of its connections
mss() {
	lab_in "$1" ss -tinH '( sport = :5201 or dport = :5201 )' | grep -o ' mss:[0-9]*' | cut -d : -f 2 | sort -n | tail -n 1
}

grows() {
	local a=$1 b=$2 want=$3 pid
	up "$b"
	lab_spawn "$b" "$LAB_DIR/$b.iperf" iperf3 -s -1 -p 5201
	lab_wait 5 "lab_in $b ss -Hltn | grep -q ':5201 '"
	up "$a"
	lab_spawn "$a" "$LAB_DIR/$a.iperf" iperf3 --bidir -b 20M -t 30 -p 5201 -c 10.7.0.2
	pid=$LAB_PID
	check_wait 10 "first connection, $a to $b: segments of $want and more" "[ \$(mss $a) -ge $want ]" "mss $a"
	check_wait 10 "first connection, $b to $a: the same" "[ \$(mss $b) -ge $want ]" "mss $b"
	lab_stop "$pid"
	lab_stop "${UP[$a]}"
	lab_stop "${UP[$b]}"
}

jumbo() { grows y1 y2 8800; }
usual() { grows z1 z2 1380; }

lab_site f portrestricted 203.0.113.73
lab_public_host s 203.0.113.63
lab_public_host h 203.0.113.99
lab_public_host k 203.0.113.74
lab_public_host n 203.0.113.75
lab_public_host r 203.0.113.76
server
for node in f k n r; do wg_pair "$LAB_DIR/$node.key"; done
pair y1 y2 9000
pair z1 z2 1500
parts=(full tables names rough jumbo usual)
side_by_side "${parts[@]}"
finish
