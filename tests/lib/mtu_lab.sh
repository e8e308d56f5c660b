# shellcheck shell=bash disable=SC2034,SC2004
# SPDX-License-Identifier: Apache-2.0
#
# Hosts behind routers, and a middle in which the MTU, the loss and the ICMP of each direction are set
# by themselves. To be sourced after lab.sh:
#
#   lab_init mtu
#   mtu_init
#   mtu_site a
#   mtu_site b portrestricted
#   mtu_set a b 1400 silent
#   loss_set b a 5
#
#        a ─────── a-r ─────────────── inet ─────────────── b-r ─────── b
#   198.51.100.34  .33      toa  routes by (from, to)  tob     .65  198.51.100.66
#   2001:db8:1::2  ::1                   │ br0                 ::1  2001:db8:2::2
#                                   rv 203.0.113.10, 2001:db8::10
#
# Each device takes 9000 bytes. In the middle there is a route for each pair (from, to) that was ever
# set, and its MTU is what the pair has: the kernel honours a route's MTU when it forwards, and so one
# direction can be narrow while the other is not (a device's own MTU would, on a veth pair, also drop
# what comes in). Behind a NAT a host is 192.168.1.10, its router has the public address, no IPv6.
#
# How a pair (from, to) with an MTU treats a larger packet:
#   icmp    as a router does: Fragmentation Needed or Packet Too Big to the sender; IPv4 without DF is
#           cut into fragments
#   silent  the same, but the router's ICMP messages get lost
#   drop    gone, with or without DF, and without a word
#
# Everything is as on a wire: no segmentation offload anywhere, so that each datagram is looked at by
# itself and not in a bundle of 64 KiB.

MTU_WIRE=9000

declare -A MTU_NET4=() MTU_NET6=() # site → its prefix
declare -A MTU_VIA4=() MTU_VIA6=() # site → how the middle reaches it (words of ip route)
declare -A MTU_ADDR6=()            # site → the host's IPv6 address; LAB_PUBLIC has the IPv4 one
declare -A MTU_NUM=()              # site → its number
declare -A MTU_TABLE=()            # "from to" → its routing table
declare -A MTU_SIZE=() MTU_MODE=() MTU_LOSS=() MTU_CUT=()

mtu_init() {
	lab_node inet # so that lab_exec and lab_spawn work there
	mtu_routing inet
	lab_public_host rv 203.0.113.10 2001:db8::10
	ip -n "${LAB}rv" -6 route add default via 2001:db8::1
	mtu_wire rv eth0
	mtu_wire inet "${LAB_PORT[rv]}"
	ip -n "${LAB}inet" link set br0 mtu $MTU_WIRE
	MTU_NET4[rv]=203.0.113.10/32 MTU_NET6[rv]=2001:db8::10/128
	MTU_VIA4[rv]="dev br0" MTU_VIA6[rv]="dev br0"
	MTU_ADDR6[rv]=2001:db8::10 MTU_NUM[rv]=0
}

# mtu_routing NS: it forwards, and its later interfaces' addresses are good at once
mtu_routing() {
	lab_in "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
		net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
}

# mtu_wire NS INTERFACE: as on a wire, and as large as it gets
mtu_wire() {
	ip -n "$LAB$1" link set "$2" mtu $MTU_WIRE
	lab_unbundled "$1" "$2"
}

# mtu_site NAME [KIND]: a host behind a router of its own; KIND none or one of lab.sh's NAT kinds
mtu_site() {
	local name=$1 kind=${2:-none} r=$1-r n=${#MTU_NUM[@]} gw
	gw=198.51.100.$((32 * n + 1))
	MTU_NUM[$name]=$n MTU_NET4[$name]=198.51.100.$((32 * n))/27 MTU_NET6[$name]=2001:db8:$n::/64
	MTU_VIA4[$name]="via $gw dev to$name onlink" MTU_VIA6[$name]="via fe80::2 dev to$name"
	LAB_KIND[$name]=$kind
	mtu_router "$name" "$r" "$gw" "$n"
	lab_ns "$name"
	lab_node "$name"
	lab_join "$name" "$r" lan0
	mtu_wire "$name" eth0
	mtu_wire "$r" "${LAB_PORT[$name]}"
	if [ "$kind" = none ]; then
		mtu_open_lan "$name" "$r" "$gw" "$n"
	else
		mtu_nat_lan "$name" "$r" "$gw" "$kind"
	fi
}

mtu_router() {
	local name=$1 r=$2 gw=$3
	lab_ns "$r"
	mtu_routing "$r"
	ip -n "$LAB$r" link add eth0 type veth peer name "to$name" netns "${LAB}inet"
	mtu_wire "$r" eth0
	mtu_wire inet "to$name"
	ip -n "$LAB$r" link set eth0 up
	ip -n "${LAB}inet" link set "to$name" up
	ip -n "$LAB$r" addr add "$gw/32" dev eth0
	ip -n "$LAB$r" addr add fe80::2/64 dev eth0 nodad
	ip -n "${LAB}inet" addr add fe80::1/64 dev "to$name" nodad
	ip -n "$LAB$r" route add default via 203.0.113.1 dev eth0 onlink
	ip -n "$LAB$r" -6 route add default via fe80::1 dev eth0
	# shellcheck disable=SC2086 # words of ip route
	ip -n "${LAB}inet" route add "${MTU_NET4[$name]}" ${MTU_VIA4[$name]}
	# shellcheck disable=SC2086
	ip -n "${LAB}inet" -6 route add "${MTU_NET6[$name]}" ${MTU_VIA6[$name]}
	ip -n "$LAB$r" link add lan0 type bridge forward_delay 0
	ip -n "$LAB$r" link set lan0 up
}

mtu_open_lan() {
	local name=$1 r=$2 gw=$3 n=$4
	LAB_PUBLIC[$name]=198.51.100.$((32 * n + 2))
	MTU_ADDR6[$name]=2001:db8:$n::2
	ip -n "$LAB$r" addr add "$gw/27" dev lan0
	ip -n "$LAB$r" addr add "2001:db8:$n::1/64" dev lan0 nodad
	ip -n "$LAB$name" addr add "${LAB_PUBLIC[$name]}/27" dev eth0
	ip -n "$LAB$name" addr add "${MTU_ADDR6[$name]}/64" dev eth0 nodad
	ip -n "$LAB$name" route add default via "$gw"
	ip -n "$LAB$name" -6 route add default via "2001:db8:$n::1"
}

mtu_nat_lan() {
	local name=$1 r=$2 gw=$3 kind=$4
	LAB_PUBLIC[$name]=$gw
	MTU_ADDR6[$name]=
	lab_nat_rules "$kind" "$gw" | lab_in "$r" nft -f - || lab_die "no NAT rules in $r"
	ip -n "$LAB$r" addr add 192.168.1.1/24 dev lan0
	ip -n "$LAB$name" addr add 192.168.1.10/24 dev eth0
	ip -n "$LAB$name" route add default via 192.168.1.1
}

# mtu_host NAME N: the MTU of the host's own network (its device, and its router's to it)
mtu_host() {
	ip -n "$LAB$1-r" link set "${LAB_PORT[$1]}" mtu "$2"
	ip -n "$LAB$1" link set eth0 mtu "$2"
}

# mtu_set FROM TO N [icmp|silent|drop]: the largest packet that passes from one to the other
mtu_set() {
	MTU_SIZE[$1 $2]=$3
	MTU_MODE[$1 $2]=${4:-icmp}
	mtu_apply
}

# mtu_both A B N [MODE]: the same in both directions
mtu_both() {
	mtu_set "$1" "$2" "$3" "${4:-icmp}"
	mtu_set "$2" "$1" "$3" "${4:-icmp}"
}

# mtu_all N [MODE]: the same between all hosts
mtu_all() {
	local a b
	for a in "${!MTU_NUM[@]}"; do
		for b in "${!MTU_NUM[@]}"; do
			[ "$a" = "$b" ] || MTU_SIZE[$a $b]=$1 MTU_MODE[$a $b]=${2:-icmp}
		done
	done
	mtu_apply
}

# mtu_clear: everything passes again, everywhere; loss and cuts are over, too
mtu_clear() {
	MTU_SIZE=() MTU_MODE=() MTU_LOSS=() MTU_CUT=()
	mtu_apply
}

# loss_set FROM TO PERCENT: that part of the packets, whatever their size
loss_set() {
	MTU_LOSS[$1 $2]=$3
	mtu_apply
}

# mtu_cut A B [ip|ip6], mtu_heal A B: no UDP (of a family) between two sites; over rv there still is
mtu_cut() {
	MTU_CUT[$1 $2]=${3:-ip ip6} MTU_CUT[$2 $1]=${3:-ip ip6}
	mtu_apply
}

mtu_heal() {
	unset "MTU_CUT[$1 $2]" "MTU_CUT[$2 $1]"
	mtu_apply
}

# mtu_no_ipv6 NAME…: hosts that have IPv4 alone
mtu_no_ipv6() {
	local name
	for name in "$@"; do
		ip -n "$LAB$name" -6 addr flush dev eth0 scope global
		ip -n "$LAB$name" -6 route del default 2>/dev/null
	done
}

# mtu_renew NAME…: a change of the host's addresses, as when it joins another network
mtu_renew() {
	local name
	for name in "$@"; do
		ip -n "$LAB$name" addr add 192.0.2.$((MTU_NUM[$name] + 100))/32 dev eth0 2>/dev/null ||
			ip -n "$LAB$name" addr del 192.0.2.$((MTU_NUM[$name] + 100))/32 dev eth0
	done
}

# mtu_forget NAME: the host's kernel forgets which MTUs it has heard of
mtu_forget() {
	ip -n "$LAB$1" route flush cache
	ip -n "$LAB$1" -6 route flush cache
}

# mtu_apply: makes the middle what the arrays say: the routes one by one, the filter in one step
mtu_apply() {
	local pair
	for pair in "${!MTU_SIZE[@]}" "${!MTU_TABLE[@]}"; do
		mtu_route "${pair% *}" "${pair#* }"
	done
	mtu_rules | lab_in inet nft -f - || lab_die "no rules in the middle"
}

mtu_route() {
	local from=$1 to=$2 size=${MTU_SIZE[$1 $2]:-$MTU_WIRE} table=${MTU_TABLE[$1 $2]:-}
	[ "${MTU_MODE[$1 $2]:-}" != drop ] || size=$MTU_WIRE
	if [ -z "$table" ]; then
		table=$((1000 + ${#MTU_TABLE[@]}))
		MTU_TABLE[$1 $2]=$table
		ip -n "${LAB}inet" rule add from "${MTU_NET4[$from]}" to "${MTU_NET4[$to]}" lookup $table
		ip -n "${LAB}inet" -6 rule add from "${MTU_NET6[$from]}" to "${MTU_NET6[$to]}" lookup $table
	fi
	# shellcheck disable=SC2086 # words of ip route
	ip -n "${LAB}inet" route replace "${MTU_NET4[$to]}" ${MTU_VIA4[$to]} table "$table" mtu "$size"
	# IPv6 does not know less than 1280.
	# shellcheck disable=SC2086
	ip -n "${LAB}inet" -6 route replace "${MTU_NET6[$to]}" ${MTU_VIA6[$to]} table "$table" \
		mtu $((size < 1280 ? 1280 : size))
}

mtu_rules() {
	local pair
	printf 'table inet mtu\nflush table inet mtu\ntable inet mtu {\n'
	echo 'chain forward { type filter hook forward priority filter'
	printf '%s\n' "${!MTU_SIZE[@]}" "${!MTU_LOSS[@]}" "${!MTU_CUT[@]}" | sort -u | while read -r pair; do
		[ -z "$pair" ] || mtu_rule_forward "${pair% *}" "${pair#* }"
	done
	printf '}\nchain output { type filter hook output priority filter\n'
	for pair in "${!MTU_SIZE[@]}"; do
		[ "${MTU_MODE[$pair]}" != silent ] || mtu_rule_output "${pair% *}" "${pair#* }"
	done
	printf '}\n}\n'
}

mtu_rule_forward() {
	local from=$1 to=$2 pair="$1 $2" family what
	while read -r family what; do
		case $family in
		ip) echo "ip saddr ${MTU_NET4[$from]} ip daddr ${MTU_NET4[$to]} $what counter drop" ;;
		ip6) echo "ip6 saddr ${MTU_NET6[$from]} ip6 daddr ${MTU_NET6[$to]} $what counter drop" ;;
		esac
	done < <(
		for family in ip ip6; do
			[ "${MTU_MODE[$pair]:-}" != drop ] || echo "$family meta length gt ${MTU_SIZE[$pair]}"
			mtu_rule_loss $family "${MTU_LOSS[$pair]:-0}"
		done
		for family in ${MTU_CUT[$pair]:-}; do
			echo "$family meta l4proto udp"
		done
	)
}

mtu_rule_loss() {
	case $2 in
	0) ;;
	100) echo "$1" ;;
	*) echo "$1 numgen random mod 100 < $2" ;;
	esac
}

# The router's ICMP messages to a sender about packets for `to`: the quoted packet begins 8 bytes
# behind the ICMP header's start; its destination is told by the address (IPv4), by the site's number (IPv6).
mtu_rule_output() {
	local from=$1 to=$2 quoted
	# shellcheck disable=SC2086 # four numbers
	quoted=$(printf '%02x' ${LAB_PUBLIC[$to]//./ })
	echo "ip daddr ${MTU_NET4[$from]} icmp type destination-unreachable icmp code frag-needed" \
		"@th,192,32 0x$quoted counter drop"
	echo "ip6 daddr ${MTU_NET6[$from]} icmpv6 type packet-too-big @th,288,16 ${MTU_NUM[$to]} counter drop"
}
