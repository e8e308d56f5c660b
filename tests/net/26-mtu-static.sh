#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# Two warrens of a configuration file, without a rendezvous, recognise each other: the search, the routes,
# fragments and black holes are theirs, too. A stock peer in the same file has none of it, and forged
# messages about it change nothing between the two.
#
#   a warren up FILE ── the middle ── b warren up FILE        g wireguard-go, a peer of a
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
. lib/mtu_check.sh
. lib/mtu_case.sh
lab_init static
warren_need
wg_go_find || lab_die "no wireguard-go"
SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

mtu_init
for node in a b g; do
	mtu_site "$node"
	wg_pair "$LAB_DIR/$node.key"
done
mtu_host g 1500

# A static peer has no id, and its address is what the file says: what mtu_check.sh asks, by key.
declare -A IP=([a]=10.9.0.1 [b]=10.9.0.2 [g]=10.9.0.3)
node_ip() {
	echo "${IP[$1]}"
}
peer_status() {
	status "$1" ".peers[] | select(.key == \"$(wg_pub "$2")\") | $3"
}
path_mtu() {
	peer_status "$1" "$2" 'select(.warren) | .paths[] | select(.mtu_state == "complete" or .mtu_state == "error") | .mtu'
}
paths_of() {
	peer_status "$1" "$2" . | tr -d ' \n'
	lab_in "$1" ip route get "$(node_ip "$2")" | head -n 1
}
# static_found SECONDS FROM TO N WHAT [AROUND]: check_found for the two
static_found() {
	local inner=$(($4 - ${6:-60}))
	check_wait "$1" "$5: $2 → $3: $4 bytes pass, exactly" "[ \"\$(path_mtu $2 $3)\" = $4 ]" "paths_of $2 $3" || return 1
	check_wait 5 "$5: $2 → $3: MTU $inner in the kernel" "[ \"\$(route_mtu $2 ${IP[$3]})\" = $inner ] &&
		[ \"\$(route_mtu $2 fd09::${IP[$3]##*.})\" = $((inner < 1280 ? 1280 : inner)) ]" "paths_of $2 $3"
}

# peer_of NODE ENDPOINT: a section of the file
peer_of() {
	printf '\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32, fd09::%s/128\nEndpoint = %s\n' \
		"$(wg_pub "$1")" "${IP[$1]}" "${IP[$1]##*.}" "$2"
}

# up NODE [PEER ENDPOINT]…
up() {
	local node=$1
	shift
	{
		printf '[Interface]\nPrivateKey = %s\nListenPort = 51820\n' "$(cat "$LAB_DIR/$node.key")"
		printf 'Address = %s/24, fd09::%s/64\n' "${IP[$node]}" "${IP[$node]##*.}"
		while [ $# -gt 0 ]; do
			peer_of "$1" "$2"
			shift 2
		done
	} >"$LAB_DIR/$node.conf"
	[ -z "${NODE_PID[$node]:-}" ] || lab_stop "${NODE_PID[$node]}"
	lab_spawn "$node" "$LAB_DIR/$node.log" "$WARREN" up "$LAB_DIR/$node.conf"
	NODE_PID[$node]=$LAB_PID
}

wg_go_start g wg0
lab_exec g wg set wg0 listen-port 51820 private-key "$LAB_DIR/g.key" peer "$(wg_pub a)" \
	allowed-ips "${IP[a]}/32,fd09::1/128"
lab_in g ip addr add "${IP[g]}/24" dev wg0
lab_in g ip link set wg0 mtu 1420 up
mtu_both a b 1400 silent
up a b "${LAB_PUBLIC[b]}:51820" g "${LAB_PUBLIC[g]}:51820"
up b a "${LAB_PUBLIC[a]}:51820"
check_wait 15 "the two talk" "reach a ${IP[b]}" "tail -qn 3 $LAB_DIR/[ab].log" || finish
check_wait 10 "a talks to the stock peer" "reach a ${IP[g]}"
check_wait 10 "the two recognise each other, and the stock one is none" \
	'[ "$(peer_status a b .warren) $(peer_status b a .warren) $(peer_status a g .warren)" = "true true false" ]' "status a .peers"
echo_start b
echo_start g
flow_begin through a b "${IP[b]}" 400000

# carries WHAT N: after static_found
carries() {
	check_fits a b "$1"
	check_fits b a "$1"
	CARRY_WHAT=$1 check_small_carries a b "sample:$SEED:20:28:9000" $(($2 - 61)) $(($2 - 60)) $(($2 - 59))
	check "$1: IPv6 inside: 1280 bytes in one piece" ping_often a fd09::2 1280
	check "$1: IPv6 inside: UDP" echo_sizes a fd09::2 "sample:$SEED:8:48:9000"
}
static_found 20 a b 1400 "first" && static_found 20 b a 1400 "first"
carries "first" 1400

# step one|both N MODE
step() {
	local back=9000 since what="$2 $1, $3"
	[ "$1" = one ] || back=$2
	pair_now "$1" a b "$2" "$3"
	mtu_apply
	since=$EPOCHREALTIME
	mtu_renew a b
	static_found 20 a b "$2" "$what"
	static_found 20 b a "$back" "$what" || return
	carries "$what" "$2"
	flow_lives through "$since" 200000 "$what"
}
step both 576 silent
check "and what did not fit went in fragments" test "$(peer_status a b .fragments.packets_sent)" -gt 0
step one 1280 icmp
step both 1499 drop
step both 9000 icmp
step one 1333 silent

# --- a black hole under the connection
pair_now both a b 1500 silent
mtu_apply
mtu_renew a b
static_found 20 a b 1500 "before"
for n in 1300 700; do
	pair_now one a b $n drop
	since=$EPOCHREALTIME
	mtu_apply
	flow_lives through "$since" 1000000 "a hole, $n"
	static_found 20 a b $n "a hole, $n"
done
check "the log says why" grep -q 'path MTU .* (was 1500) .*: large packets stopped arriving' "$LAB_DIR/a.log"
pair_now both a b 1500 drop
mtu_apply
mtu_renew a b
static_found 20 a b 1500 "no hole any more"

# --- forgeries. The kernel believes the first one about a stock peer, whose datagrams have no DF, and cuts them.
FROM=${LAB_PUBLIC[a]}
for wrong in ports bytes; do
	check_forged "forged, wrong $wrong" a "${IP[b]}" 1200-1440 . toa "$FROM" "${LAB_PUBLIC[b]}" 600 --wrong $wrong
	TELL=1 check_forged "about the stock peer's, forged, wrong $wrong" a "${IP[g]}" 1200-1400 . toa "$FROM" \
		"${LAB_PUBLIC[g]}" 600 --wrong $wrong
	mtu_forget a
done
check_forged "forged, by who sees the packets" a "${IP[b]}" 1200-1440 . toa "$FROM" "${LAB_PUBLIC[b]}" 600
TELL=1 check_forged "about the stock peer's, by who sees the packets" a "${IP[g]}" 1200-1400 'select(.warren)' toa "$FROM" \
	"${LAB_PUBLIC[g]}" 600
check "which is all that there is to know of its path: that peer has less" test "$(route_mtu a "${IP[g]}")" = 540
mtu_renew a b
static_found 20 a b 1500 "forged, and searched again"

flow_take through
check "the connection has lived through all of it" flow_end

# --- IPv6 outside
pair_now one a b 1281 silent
mtu_apply
up a b "[${MTU_ADDR6[b]}]:51820"
up b a "[${MTU_ADDR6[a]}]:51820"
check_wait 15 "IPv6 outside: the two talk" "reach a ${IP[b]}" "tail -qn 3 $LAB_DIR/[ab].log" || finish
static_found 20 a b 1281 "IPv6 outside" 80
static_found 20 b a 9000 "IPv6 outside" 80
check_fits a b "IPv6 outside"
CARRY_WHAT="IPv6 outside" check_small_carries a b "sample:$SEED:20:28:9000"
finish
