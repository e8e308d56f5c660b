# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# A small internet in network namespaces. To be sourced by a script that runs as root:
#
#   . tests/lib/lab.sh
#   lab_init demo
#   lab_public_host rv 203.0.113.10 2001:db8::10
#   lab_site c1 portrestricted 203.0.113.21
#   lab_spawn rv "$LAB_DIR/rv.log" warren rendezvous …
#   lab_wait 10 'lab_exec c1 ping -c1 -W1 10.77.0.2'
#
#            ┌──────────────────── inet: bridge, 203.0.113.0/24, 2001:db8::/64 ───────────────────┐
#            │                               │                                │                    │
#       rv .10 (public)              c1-nat .21 ⇢ NAT                w1-nat .22 ⇢ NAT       w2 .23 (kind none)
#                                     192.168.1.1                      192.168.1.1
#                                          │  c1-lan                         │
#                                    c1 192.168.1.10                   w1 192.168.1.10   … every site the same LAN
#
# Every name on the machine carries this process's id, every interface lives inside a namespace, and
# everything goes away when the script ends, however it ends. Each node also sees a /run, a /var/lib,
# a host name and an /etc/hosts of its own, as a machine would, so that gateways which would share
# one machine's files do not meet.
#
# NAT kinds (what each means is tested by tests/net/00-lab.sh):
#   none            no NAT: the node itself has the public address
#   fullcone        one outside port per inside port; whoever knows it can send to it
#   portrestricted  one outside port per inside port; only who was sent to can answer (masquerade)
#   symmetric       another outside port for every destination (masquerade fully-random)

declare -A LAB_PUBLIC=() # node → its outside IPv4 address
declare -A LAB_KIND=()   # node → NAT kind
declare -A LAB_PORT=()   # namespace → the other end of its eth0, a port of a bridge
declare -A LAB_HUB=()    # and the namespace of that bridge
LAB_PIDS=()
LAB_COUNT=0
LAB_KEEP=

lab_die() {
	echo "lab: $*" >&2
	exit 1
}

lab_init() {
	[ "$(id -u)" = 0 ] || lab_die "needs root (network namespaces)"
	LAB=w$$-$1-
	LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/warren-lab.XXXXXX") || exit 1
	chmod 755 "$LAB_DIR"
	trap lab_cleanup EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	lab_ns inet
	lab_in inet ip link add br0 type bridge forward_delay 0
	lab_in inet ip addr add 203.0.113.1/24 dev br0
	lab_in inet ip addr add 2001:db8::1/64 dev br0 nodad
	lab_in inet ip link set br0 up
	lab_in inet nft -f - <<-'NFT'
		table bridge lab {
			set cut { type ipv4_addr . ipv4_addr; }
			set cut6 { type ipv6_addr . ipv6_addr; }
			chain forward {
				type filter hook forward priority 0
				ip saddr . ip daddr @cut meta l4proto udp counter drop
				ip6 saddr . ip6 daddr @cut6 meta l4proto udp counter drop
			}
		}
	NFT
}

# lab_ns NAME: a namespace with its loopback up.
lab_ns() {
	ip netns add "$LAB$1" || lab_die "cannot make the namespace $LAB$1"
	ip -n "$LAB$1" link set lo up
}

# lab_in NAME CMD…: runs a network tool in a namespace. Nodes have lab_exec, which gives them more.
lab_in() {
	local ns=$LAB$1
	shift
	ip netns exec "$ns" "$@"
}

# lab_join NS OWNER BRIDGE: an interface eth0 in NS whose other end is a port of the owner's bridge.
lab_join() {
	local port
	LAB_COUNT=$((LAB_COUNT + 1))
	port=p$LAB_COUNT
	ip -n "$LAB$1" link add eth0 type veth peer name "$port" netns "$LAB$2"
	ip -n "$LAB$1" link set eth0 up
	ip -n "$LAB$2" link set "$port" master "$3" up
	LAB_PORT[$1]=$port
	LAB_HUB[$1]=$2
}

# lab_attach NS IPv4 [IPv6]: puts a namespace on the public segment.
lab_attach() {
	lab_join "$1" inet br0
	ip -n "$LAB$1" addr add "$2/24" dev eth0
	ip -n "$LAB$1" route add default via 203.0.113.1
	[ -z "${3:-}" ] || ip -n "$LAB$1" addr add "$3/64" dev eth0 nodad
}

# lab_node NAME: what a node has apart from its network.
lab_node() {
	local dir=$LAB_DIR/node/$1
	mkdir -p "$dir/run" "$dir/lib"
	chmod 1777 "$dir/run"
	printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$1" >"$dir/hosts"
}

# lab_public_host NAME IPv4 [IPv6]
lab_public_host() {
	lab_ns "$1"
	lab_node "$1"
	lab_attach "$@"
	LAB_PUBLIC[$1]=$2
	LAB_KIND[$1]=none
}

# lab_site NAME KIND IPv4 [IPv6]: a node NAME behind a NAT NAME-nat on a LAN 192.168.1.0/24.
lab_site() {
	local name=$1 kind=$2 addr=$3
	if [ "$kind" = none ]; then
		lab_public_host "$name" "$addr" ${4:+"$4"}
		return
	fi
	LAB_PUBLIC[$name]=$addr
	LAB_KIND[$name]=$kind
	lab_ns "$name-nat"
	lab_attach "$name-nat" "$addr" ${4:+"$4"}
	ip -n "$LAB$name-nat" link add lan0 type bridge forward_delay 0
	ip -n "$LAB$name-nat" addr add 192.168.1.1/24 dev lan0
	ip -n "$LAB$name-nat" link set lan0 up
	lab_in "$name-nat" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=1
	lab_nat_rules "$kind" "$addr" | lab_in "$name-nat" nft -f - || lab_die "no NAT rules in $name-nat"
	lab_lan_host "$name" "$name" 192.168.1.10
}

# lab_lan_host SITE NAME IPv4: one more host on the LAN of a site.
lab_lan_host() {
	lab_ns "$2"
	lab_node "$2"
	lab_join "$2" "$1-nat" lan0
	ip -n "$LAB$2" addr add "$3/24" dev eth0
	ip -n "$LAB$2" route add default via 192.168.1.1
}

# What arrives unasked is dropped, not merely refused: a refused packet would stay in the connection
# table and push the answer's mapping to another port. Home routers drop, too.
lab_nat_rules() {
	local out='masquerade' in='' admit=''
	case $1 in
	portrestricted) ;;
	symmetric) out='masquerade fully-random' ;;
	fullcone)
		out="meta l4proto udp ip saddr 192.168.1.10 snat to $2
		oifname eth0 masquerade"
		in="iifname eth0 udp dport 1024-65535 dnat to 192.168.1.10"
		admit="iifname eth0 ct status dnat accept"
		;;
	*) lab_die "no such NAT kind: $1" ;;
	esac
	cat <<-NFT
		table ip nat {
			chain prerouting {
				type nat hook prerouting priority dstnat
				$in
			}
			chain postrouting {
				type nat hook postrouting priority srcnat
				oifname eth0 $out
			}
		}
		table inet filter {
			chain input {
				type filter hook input priority filter
				iifname eth0 icmp type echo-request accept
				iifname eth0 meta l4proto ipv6-icmp accept
				iifname eth0 ct state != { established, related } drop
			}
			chain forward {
				type filter hook forward priority filter
				$admit
				iifname eth0 ct state != { established, related } drop
			}
		}
	NFT
}

# What makes a namespace feel like a machine of its own, whatever this one does with hang-ups (nohup); the
# last step is an exec, so that a background job's process id is the command's own.
# shellcheck disable=SC2016 # expanded by the inner shell
LAB_ENTER='hostname "$1" && mount -n --bind "$2/run" /run && mount -n --bind "$2/lib" /var/lib &&
	mount -n --bind "$2/hosts" /etc/hosts || exit 126
	shift 2; exec env --default-signal=HUP "$@"'

# lab_exec NODE CMD…: runs a command as on that machine.
lab_exec() {
	local node=$1
	shift
	ip netns exec "$LAB$node" unshare --uts -- sh -c "$LAB_ENTER" lab "$node" "$LAB_DIR/node/$node" "$@"
}

# lab_spawn NODE LOGFILE CMD…: the same in the background; its process id is in LAB_PID.
lab_spawn() {
	local node=$1 log=$2
	shift 2
	ip netns exec "$LAB$node" unshare --uts -- sh -c "$LAB_ENTER" lab "$node" "$LAB_DIR/node/$node" "$@" \
		>>"$log" 2>&1 </dev/null &
	LAB_PID=$!
	LAB_PIDS+=("$LAB_PID")
}

# lab_wait SECONDS CONDITION: polls a shell condition; false when the time is over.
lab_wait() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	until eval "$2" >/dev/null 2>&1; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || return 1
		sleep 0.1
	done
}

# lab_stop PID [SIGNAL]: ends a spawned process and waits for it; returns its status.
lab_stop() {
	kill -"${2:-TERM}" "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

# lab_block_direct A B, lab_unblock_direct A B: cuts (heals) UDP between the outside addresses of two nodes.
lab_block_direct() {
	local a=${LAB_PUBLIC[$1]} b=${LAB_PUBLIC[$2]}
	lab_in inet nft add element bridge lab cut "{ $a . $b, $b . $a }"
}

lab_unblock_direct() {
	local a=${LAB_PUBLIC[$1]} b=${LAB_PUBLIC[$2]}
	lab_in inet nft delete element bridge lab cut "{ $a . $b, $b . $a }"
}

# lab_outside NODE: the namespace whose eth0 is that node's outer side.
lab_outside() {
	if [ "${LAB_KIND[$1]:-none}" = none ]; then echo "$1"; else echo "$1-nat"; fi
}

# lab_unbundled NS INTERFACE: no segmentation offload there, so that each datagram goes by itself, as on a wire,
# and not in the kernel's bundles of 64 KiB.
lab_unbundled() {
	lab_in "$1" ethtool -K "$2" gso off tso off tx-udp-segmentation off gro off >/dev/null 2>&1
}

# lab_as_wire NS: both ends of its eth0, so that a capture there shows what would be on a wire.
lab_as_wire() {
	lab_unbundled "$1" eth0
	lab_unbundled "${LAB_HUB[$1]}" "${LAB_PORT[$1]}"
}

# lab_capture NS INTERFACE FILE [FILTER…]: returns once the capture runs; its process is in LAB_PID.
lab_capture() {
	local ns=$1 dev=$2 file=$3
	shift 3
	ip netns exec "$LAB$ns" tcpdump -Z root -i "$dev" -n -s 0 -B 65536 -U -w "$file" "$@" \
		>/dev/null 2>"$file.log" </dev/null &
	LAB_PID=$!
	LAB_PIDS+=("$LAB_PID")
	lab_wait 10 "grep -q 'listening on' '$file.log'" || lab_die "no capture on $ns $dev: $(cat "$file.log")"
}

lab_pids() {
	local ns
	for ns in $(lab_namespaces); do ip netns pids "$ns"; done
}

# lab_kill_all: every process in every namespace of this lab, first politely.
lab_kill_all() {
	local sig pids
	for sig in TERM KILL; do
		pids=$(lab_pids)
		[ -n "$pids" ] || return 0
		# shellcheck disable=SC2086 # a list
		kill -$sig $pids 2>/dev/null
		# shellcheck disable=SC2016 # lab_wait expands it
		lab_wait 5 '[ -z "$(lab_pids)" ]' && return 0
	done
}

lab_namespaces() {
	ip netns list 2>/dev/null | awk -v p="$LAB" 'index($1, p) == 1 { print $1 }'
}

lab_cleanup() {
	local status=$? ns
	trap - EXIT
	trap '' HUP INT TERM
	if [ -z "$LAB_KEEP" ]; then
		lab_kill_all
		wait "${LAB_PIDS[@]}" 2>/dev/null
		for ns in $(lab_namespaces); do ip netns del "$ns"; done
		[ "${LAB_DIR%/*}" = "${TMPDIR:-/tmp}" ] && rm -rf "$LAB_DIR"
	fi
	exit $status
}
