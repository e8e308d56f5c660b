#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# The network around a WireGuard interface, with warren and with wireguard-go as the peer: a NAT that
# forgets, interface MTUs and padding, a route that loops, one tunnel inside another, marks and
# wg-quick's full tunnel, the life of interfaces, and peers that cannot be reached.
#
#     ┌───────────────────────── 203.0.113.0/24, 2001:db8::/64 ──────────────────────────┐
#  nw-nat .71   ng-nat .72   sg .61  sw .62    p .31  q .32  r .33    l .51 m .52   u .54   f-nat .73  s .63  h .99
#     │            │           go    warren   warren  go   warren    warren, both  warren     │         go
#  nw warren     ng go                                                                     f wg-quick, warren
#
# The parts run side by side, each with hosts of its own.
# shellcheck disable=SC2016 # conditions are expanded where they are waited for
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
lab_init wireguard
warren_need
wg_go_find || lab_die "no wireguard-go"
PATH=$LAB_DIR/bin:$PATH # wg-quick looks for `warren` there

declare -A INNER=() # node → the last number of its inner addresses
declare -A PID=()   # node → the process of its wg0

# bare NODE PROGRAM NUMBER: wg0 with 10.7.0.NUMBER
bare() {
	wg_pair "$LAB_DIR/$1.key"
	wg_bare "$1" wg0 "$2"
	PID[$1]=$LAB_PID INNER[$1]=$3
	wg_of "$1" set wg0 private-key "$LAB_DIR/$1.key" listen-port 51820
	lab_in "$1" ip addr add "10.7.0.$3/24" dev wg0
	lab_in "$1" ip addr add "fd07::$3/64" dev wg0 nodad
	lab_in "$1" ip link set wg0 up
}

# knows NODE PEER [MORE…]: the peer with its own inner addresses; with `at`, its endpoint too
knows() {
	local node=$1 peer=$2 where=()
	shift 2
	if [ "${1:-}" = at ]; then
		where=(endpoint "${LAB_PUBLIC[$peer]}:51820")
		shift
	fi
	wg_of "$node" set wg0 peer "$(wg_pub "$peer")" \
		allowed-ips "10.7.0.${INNER[$peer]}/32,fd07::${INNER[$peer]}/128" "${where[@]}" "$@"
}

pings() {
	lab_exec "$1" ping -q -c 1 -W 1 "10.7.0.${INNER[$2]}"
}

silent() {
	! pings "$1" "$2"
}

# after SECONDS: a condition for lab_wait
after() {
	echo "[ \$SECONDS -ge $((SECONDS + $1)) ]"
}

# --- a client behind a NAT that forgets after 2 s ---

forgets() {
	lab_in "$1-nat" sysctl -qw net.netfilter.nf_conntrack_udp_timeout=2 net.netfilter.nf_conntrack_udp_timeout_stream=2
}

has_forgotten() {
	! lab_in "$1-nat" cat /proc/net/nf_conntrack | grep -q "udp.*dport=51820"
}

keepalive() {
	local client=$1 server=$2
	knows "$server" "$client"
	knows "$client" "$server" at
	check_wait 10 "$client, NAT: first packet" "pings $client $server"
	check "$client, NAT: back the same way" pings "$server" "$client"
	check_wait 8 "$client, NAT: the NAT forgets" "has_forgotten $client"
	check "$client, NAT: and nothing reaches the client" silent "$server" "$client"
	wg_of "$client" set wg0 peer "$(wg_pub "$server")" persistent-keepalive 1
	check_wait 10 "$client, NAT: with a keepalive it does" "pings $server $client"
	lab_wait 10 "$(after 5)"
	check "$client, NAT: and after 5 s without a word of the server as well" pings "$server" "$client"
}

nat_hosts() {
	lab_site nw portrestricted 203.0.113.71
	lab_site ng portrestricted 203.0.113.72
	lab_public_host sg 203.0.113.61
	lab_public_host sw 203.0.113.62
	bare nw warren 1
	bare sg go 2
	bare ng go 1
	bare sw warren 2
	forgets nw
	forgets ng
}

nat() {
	local pid
	keepalive ng sw >"$LAB_DIR/result.nat2" 2>&1 &
	pid=$!
	keepalive nw sg
	wait "$pid"
}

# --- MTU ---

# packet FROM TO SIZE: an inner packet of SIZE bytes that must not be cut before the tunnel passes
packet() {
	lab_exec "$1" ping -q -c 1 -W 2 -M "${4:-do}" -s $(($3 - 28)) "10.7.0.${INNER[$2]}"
}

# too_large FROM TO SIZE: its sender's own kernel refuses it
too_large() {
	lab_exec "$1" ping -c 1 -W 1 -M 'do' -s $(($3 - 28)) "10.7.0.${INNER[$2]}" 2>&1 | grep -qiE 'too long|needed'
}

# widest CAPTURE FROM: the largest plaintext, padding included, in what FROM has sent
widest() {
	tcpdump -nr "$1" "src host ${LAB_PUBLIC[$2]}" 2>/dev/null |
		awk '/UDP, length/ && $NF - 32 > max { max = $NF - 32 } END { print max + 0 }'
}

mtu_of() {
	local node
	for node in p q r; do lab_in "$node" ip link set wg0 mtu "$1"; done
}

mtu() {
	local mtu size capture
	for mtu in 1299 1300 1420; do
		mtu_of "$mtu"
		lab_capture p eth0 "$LAB_DIR/$mtu.pcap" udp and host "${LAB_PUBLIC[q]}"
		capture=$LAB_PID
		for size in $((mtu - 20)) $((mtu - 1)) "$mtu"; do
			check "MTU $mtu: $size bytes to wireguard-go" packet p q "$size"
			check "MTU $mtu: $size bytes from wireguard-go" packet q p "$size"
			check "MTU $mtu: $size bytes to a warren" packet p r "$size"
		done
		check "MTU $mtu: one more is the kernel's to refuse" too_large p q $((mtu + 1))
		check_wait 5 "MTU $mtu: all is captured" "[ \$(widest '$LAB_DIR/$mtu.pcap' q) -ge $mtu ]"
		lab_stop "$capture"
		size=$(widest "$LAB_DIR/$mtu.pcap" p)
		check "MTU $mtu: no padding beyond it, but $size" test "$size" = "$mtu"
		size=$(widest "$LAB_DIR/$mtu.pcap" q)
		check "MTU $mtu: nor by wireguard-go, but $size" test "$size" = "$mtu"
	done
	mtu_of 9000
	check "MTU 9000: 9000 bytes to a warren" packet p r 9000
	check "MTU 9000: and back" packet r p 9000
	check "MTU 9000: 9000 bytes to wireguard-go, cut outside" packet p q 9000 dont
	check "MTU 9000: and back" packet q p 9000 dont
	mtu_of 1420
}

# --- a route to the peer's endpoint that leads into the tunnel ---

ticks() {
	awk '{ print $14 + $15 }' "/proc/$1/stat"
}

# What p sends to its peer comes back to p, grown by a header, and what does arrive arrives inside the tunnel.
loop() {
	local peer=$1 ours theirs
	knows p "$peer" at allowed-ips "10.7.0.${INNER[$peer]}/32,fd07::${INNER[$peer]}/128,${LAB_PUBLIC[$peer]}/32"
	check_wait 10 "loop by $peer: a session before it" "pings p $peer"
	lab_in p ip route add "${LAB_PUBLIC[$peer]}/32" dev wg0
	knows p "$peer" at allowed-ips "10.7.0.${INNER[$peer]}/32,${LAB_PUBLIC[$peer]}/32" # no source that was learned
	ours=$(ticks "${PID[p]}") theirs=$(ticks "${PID[$peer]}")
	lab_exec p ping -q -c 3 -i 0.1 -W 0.5 "10.7.0.${INNER[$peer]}" >/dev/null
	lab_wait 10 "$(after 2)"
	ours=$(($(ticks "${PID[p]}") - ours)) theirs=$(($(ticks "${PID[$peer]}") - theirs))
	check "loop by $peer: three pings, two seconds: $ours ticks of 200 and more" test "$ours" -lt 40
	check "loop by $peer: and $theirs of the peer" test "$theirs" -lt 40
	lab_in p ip route del "${LAB_PUBLIC[$peer]}/32" dev wg0
	knows p "$peer" at
	check_wait 10 "loop by $peer: without that route all is well" "pings p $peer"
	check "loop by $peer: which has not taken an inner address for p's endpoint" \
		test "$(wg_field "$peer" wg0 endpoints p)" = 203.0.113.31:51820
	check "loop by $peer: and reaches p" pings "$peer" p
}

# --- one tunnel inside another ---

nested() {
	local peer=$1 n=${INNER[$1]} dev=wg$2 program=$3 pair
	for pair in "p $peer 1 warren" "$peer p $n $program"; do
		# shellcheck disable=SC2086 # four words
		set -- $pair
		wg_bare "$1" "$dev" "$4"
		wg_of "$1" set "$dev" private-key "$LAB_DIR/$1.key" listen-port 51900 peer "$(wg_pub "$2")" \
			endpoint "10.7.0.${INNER[$2]}:51900" allowed-ips 10.17.0.0/24
		lab_in "$1" ip addr add "10.17.0.$3/24" dev "$dev"
		lab_in "$1" ip link set "$dev" mtu 1340 up
	done
	check_wait 10 "inside another, $program: first packet" "reach p 10.17.0.$n"
	check "inside another, $program: 1340 bytes" lab_exec p ping -q -c 1 -W 2 -M 'do' -s 1312 "10.17.0.$n"
	check "inside another, $program: TCP, by hash" transfer p "$peer" "10.17.0.$n" 4194304
	check "inside another, $program: TCP back" transfer "$peer" p 10.17.0.1 4194304
	lab_in p ip link del "$dev"
}

path_hosts() {
	lab_public_host p 203.0.113.31
	lab_public_host q 203.0.113.32
	lab_public_host r 203.0.113.33
	for n in p q r; do lab_as_wire "$n"; done
	bare p warren 1
	bare q go 2
	bare r warren 3
	knows q p
	knows r p
	knows p q at
	knows p r at
}

path() {
	check_wait 10 "p reaches q" "pings p q"
	check_wait 10 "p reaches r" "pings p r"
	mtu
	nested q 1 go
	nested r 2 warren
	loop q
	loop r
}

# --- marks, and everything through the tunnel ---

full_hosts() {
	lab_site f portrestricted 203.0.113.73
	lab_public_host s 203.0.113.63
	lab_public_host h 203.0.113.99
	bare s go 1
	wg_pair "$LAB_DIR/f.key"
	INNER[f]=2
	knows s f
	lab_in s sysctl -qw net.ipv4.ip_forward=1
	lab_in s ip addr add 2001:db8:99::1/128 dev lo
	lab_in s nft 'table ip nat { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }'
	(
		umask 077
		mkdir "$LAB_DIR/etc"
		cat >"$LAB_DIR/etc/wg7.conf" <<-CONF
			[Interface]
			PrivateKey = $(cat "$LAB_DIR/f.key")
			Address = 10.7.0.2/32, fd07::2/128

			[Peer]
			PublicKey = $(wg_pub s)
			Endpoint = 203.0.113.63:51820
			AllowedIPs = 0.0.0.0/0, ::/0
		CONF
	)
}

quick() {
	lab_exec f env WG_QUICK_USERSPACE_IMPLEMENTATION=warren wg-quick "$1" "$LAB_DIR/etc/wg7.conf"
}

# beside CAPTURE: what f's site sent to anybody but the server; others on that network speak when they like
beside() {
	local mac
	mac=$(lab_in f-nat cat /sys/class/net/eth0/address)
	tcpdump -nr "$1" ip and ether src "$mac" and not "(udp and dst host 203.0.113.63)" 2>/dev/null | wc -l
}

no_rules() {
	! lab_in f ip rule | grep -q 51820
}

full() {
	local capture seen
	lab_in f sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1
	check "full tunnel: h without it" reach f 203.0.113.99
	check "full tunnel: wg-quick up" quick up
	check "full tunnel: the socket has wg-quick's mark" test "$(wg_of f show wg7 fwmark)" = 0xca6c
	lab_capture f-nat eth0 "$LAB_DIR/full.pcap"
	capture=$LAB_PID
	check_wait 10 "full tunnel: h through it, under a strict reverse-path filter" "reach f 203.0.113.99"
	check "full tunnel: the server itself, too" reach f 10.7.0.1
	check "full tunnel: IPv6" reach f 2001:db8:99::1
	check "full tunnel: TCP, by hash" transfer f h 203.0.113.99 4194304
	lab_wait 5 "[ \$(tcpdump -nr '$LAB_DIR/full.pcap' 2>/dev/null | wc -l) -gt 100 ]"
	lab_stop "$capture"
	seen=$(beside "$LAB_DIR/full.pcap")
	check "full tunnel: nothing beside it, but $seen" test "$seen" = 0
	check "full tunnel: another port" wg_of f set wg7 listen-port 40404
	check "full tunnel: has the mark as well" reach f 203.0.113.99
	check "full tunnel: wg-quick down" quick down
	check_wait 5 "full tunnel: h without it again" "reach f 203.0.113.99"
	check "full tunnel: no rule is left" no_rules
}

# --- the life of an interface ---

socket_of() {
	echo "$LAB_DIR/node/$1/run/wireguard/$2.sock"
}

# lives NODE INTERFACE: how many processes it has
lives() {
	ip netns pids "$LAB$1" | xargs -r ps -o args= -p | grep -c "[w]arren .*$2\$"
}

gone() {
	[ "$(lives "$1" "$2")" = 0 ] && [ ! -e "$(socket_of "$1" "$2")" ] && ! lab_in "$1" ip link show "$2"
}

life_hosts() {
	lab_public_host l 203.0.113.51
	lab_public_host m 203.0.113.52
	lab_ns room
	bare l warren 1
	bare m warren 2
	knows m l
	knows l m at
}

# They return when the interface is there, and leave a process behind.
three() {
	lab_exec l "$WARREN" wg1 && lab_exec l "$WARREN" wg2 && lab_exec l "$WARREN" wg3
}

taken() {
	! lab_exec l "$WARREN" wg1
}

life() {
	check "life: one process for each of three" three
	check "life: wg knows all" test "$(wg_of l show interfaces | tr ' ' '\n' | sort | tr '\n' ' ')" = "wg0 wg1 wg2 wg3 "
	check "life: a name that is taken is refused" taken
	check "life: which harms nobody" test "$(lives l wg1)" = 1
	lab_in l ip link del wg1
	check_wait 5 "life: ip link del ends the process" "gone l wg1"
	kill -TERM "$(ip netns pids "${LAB}l" | xargs ps -o pid=,args= -p | awk '/[w]arren wg2$/ { print $1 }')"
	check_wait 5 "life: SIGTERM removes interface and socket" "gone l wg2"
	check "life: the others stay" test "$(lives l wg0)$(lives l wg3)" = 11
	check "life: nothing else is left" test -z "$(find "$LAB_DIR/node/l/run" -name 'wg[12]*')"
	check_wait 10 "life: they talk" "pings l m"
	lab_in l ip link set wg0 netns "${LAB}room"
	lab_in room ip addr add 10.7.0.1/24 dev wg0
	lab_in room ip link set wg0 up
	check_wait 10 "life: in a namespace without any other network, too" "lab_in room ping -q -c 1 -W 1 10.7.0.2"
	check "life: where wg still drives it" test -n "$(wg_field l wg0 endpoints m)"
	ip netns del "${LAB}room"
	check_wait 5 "life: the end of that namespace ends the process" "gone l wg0"
}

# --- peers that cannot be reached ---

memory() {
	awk '/^VmRSS/ { print $2 }' "/proc/${PID[$1]}/status"
}

# flood NODE ADDRESS: 20 MB of datagrams, with pauses: an interface's queue has 500 places, and what finds none is
# dropped before anybody has seen it
flood() {
	lab_exec "$1" python3 - "$2" <<-'PY'
		import socket, sys, time
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		for i in range(20000):
		    s.sendto(bytes(1000), (sys.argv[1], 9))
		    if i % 50 == 0:
		        time.sleep(0.001)
	PY
}

lost_hosts() {
	lab_public_host u 203.0.113.54
	lab_public_host v 203.0.113.55
	bare u warren 1
	bare v warren 2
}

# from ADDRESS WHAT: how many packets
from() {
	tcpdump -nr "$LAB_DIR/lost.pcap" src host "$1" and "$2" 2>/dev/null | wc -l
}

# within SECONDS ADDRESS WHAT: how many within that time of the first
within() {
	tcpdump -nttr "$LAB_DIR/lost.pcap" src host "$2" and "$3" 2>/dev/null |
		awk -v s="$1" 'NR == 1 { first = $1 } $1 <= first + s { n++ } END { print n + 0 }'
}

lost() {
	local capture before grown count nobody
	nobody=$(wg genkey | wg pubkey)
	lab_capture u eth0 "$LAB_DIR/lost.pcap" udp or icmp
	capture=$LAB_PID
	knows u v
	knows v u at
	check "lost: no endpoint: no answer" silent u v
	before=$(memory u)
	flood u 10.7.0.2
	lab_wait 5 "$(after 1)"
	grown=$(($(memory u) - before))
	check "lost: no endpoint: 20 MB wait in no more than $grown KiB" test "$grown" -lt 2048
	check "lost: and are counted" test "$(wg_drops u wg0 no_path)" -gt 10000
	check "lost: and nothing leaves" test "$(from 203.0.113.54 udp)" = 0
	check_wait 10 "lost: until the peer comes" "pings v u"
	check "lost: then it is reached" pings u v
	wg_of u set wg0 peer "$(wg_pub v)" remove
	wg_of u set wg0 peer "$nobody" allowed-ips 10.7.0.9/32 endpoint 203.0.113.55:9 persistent-keepalive 1
	flood u 10.7.0.9
	lab_wait 12 "$(after 9)"
	count=$(within 8 203.0.113.54 'udp dst port 9')
	check "lost: where nobody listens: two initiations in 8 s, but $count" test "$count" = 2
	check "lost: the peer's host says so" test "$(from 203.0.113.55 icmp)" -ge 1
	check "lost: u says nothing of it outside" test "$(from 203.0.113.54 icmp)" = 0
	lab_stop "$capture"
}

# --- all of it, side by side ---

parts=(nat path full life lost)
for part in "${parts[@]}"; do "${part}_hosts"; done
side_by_side "${parts[@]}"
finish
