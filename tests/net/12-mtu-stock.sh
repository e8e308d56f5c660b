#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 350
#
# wireguard-go, the stock program, answers no probe and puts nothing together: what warren sends to
# it may be cut by routers (no DF), is no larger than this host's own MTU allows, and an operator can
# choose smaller. wireguard-go itself sends with DF; once ICMP has told its kernel of a smaller MTU, its
# batches may fail ("sendmmsg: message too long") and its TCP stand still. That is not for warren to mend,
# so there it is compared with what happens to the same bytes between two wireguard-go: what arrives at x
# has to arrive at w. Where its own MTU is set, as its operator would have to, all has to arrive.
#
#   g wireguard-go ── g-r ── the middle ──┬── w-r ── w warren
#                                         └── x-r ── x wireguard-go
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/mtu_lab.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
. lib/mtu_check.sh
lab_init stock
warren_need
wg_go_find || lab_die "no wireguard-go"

mtu_init
mtu_site g
mtu_site w
mtu_site x
mtu_host g 1500
mtu_host w 1500
mtu_host x 1500
wg_pair "$LAB_DIR/g.key"
"$WARREN" genkey >"$LAB_DIR/w.key"
"$WARREN" pubkey <"$LAB_DIR/w.key" >"$LAB_DIR/w.key.pub"
wg_go_start g wg0
lab_exec g wg set wg0 listen-port 51820 private-key "$LAB_DIR/g.key" peer "$(cat "$LAB_DIR/w.key.pub")" \
	allowed-ips 10.9.0.2/32,fd09::2/128
lab_in g ip addr add 10.9.0.1/24 dev wg0
lab_in g ip addr add fd09::1/64 dev wg0 nodad
lab_in g ip link set wg0 mtu 1420 up
echo_start g
wg_pair "$LAB_DIR/x.key"
wg_go_start x wg0
lab_exec x wg set wg0 listen-port 51820 private-key "$LAB_DIR/x.key" peer "$(cat "$LAB_DIR/g.key.pub")" \
	allowed-ips 10.9.0.1/32
lab_in x ip addr add 10.9.0.3/24 dev wg0
lab_in x ip link set wg0 mtu 1420 up
# the_other ENDPOINT: x is at that address of it
the_other() {
	lab_exec g wg set wg0 peer "$(cat "$LAB_DIR/x.key.pub")" allowed-ips 10.9.0.3/32 endpoint "$1"
}
the_other "${LAB_PUBLIC[x]}:51820"

# up ENDPOINT [OPTION…]: warren with wireguard-go at that address
up() {
	local endpoint=$1
	shift
	[ -z "${W_PID:-}" ] || lab_stop "$W_PID"
	cat >"$LAB_DIR/w.conf" <<-CONF
		[Interface]
		PrivateKey = $(cat "$LAB_DIR/w.key")
		Address = 10.9.0.2/24, fd09::2/64
		ListenPort = 51820

		[Peer]
		PublicKey = $(cat "$LAB_DIR/g.key.pub")
		AllowedIPs = 10.9.0.1/32, fd09::1/128
		Endpoint = $endpoint
	CONF
	lab_spawn w "$LAB_DIR/w.log" env "$@" "$WARREN" up "$LAB_DIR/w.conf"
	W_PID=$LAB_PID
	check_wait 15 "$WHAT: first packet" "lab_exec w ping -c1 -W1 10.9.0.1" "tail -n 3 '$LAB_DIR/w.log'"
}

# carries INNER [told]: both ways, with all that warren's routes allow; told: a router tells wireguard-go's
# kernel what passes, see above
carries() {
	check_wait 5 "$WHAT: route MTU $1" "[ \"\$(route_mtu w 10.9.0.1)\" = $1 ]" 'lab_in w ip route get 10.9.0.1; status w .peers'
	check "$WHAT: $1 bytes with DF inside" ping_often w 10.9.0.1 "$1"
	check "$WHAT: one more is refused here" ping_says w 10.9.0.1 $(($1 + 1)) "message too long, mtu=$1"
	check "$WHAT: TCP to wireguard-go" transfer w g 10.9.0.1 8388608
	if [ "${2:-}" = told ]; then
		compare
	else
		check "$WHAT: TCP from wireguard-go" bulk_from_stock w 10.9.0.2 20
	fi
	check "$WHAT: UDP" echo_sizes w 10.9.0.1 --tries 6 sample:1:40:28:4000
}

# bulk_from_stock TO ADDRESS SECONDS: a connection that stands still is given up soon
bulk_from_stock() {
	flow_start g "$1" "$2" 20000000
	if lab_wait "$3" '[ "$(flow_bytes)" -gt 8000000 ]'; then
		flow_end
	else
		echo "$(flow_bytes) bytes in $3 s; wireguard-go: $(tail -n 1 "$LAB_DIR/g.wg0.log")"
		lab_stop "$FLOW_SENDER" KILL
		lab_stop "$FLOW_RECEIVER" KILL
		return 1
	fi
}

# compare: wireguard-go's bulk to warren, where its own kind gets it
compare() {
	local to_stock to_warren
	to_stock=$(bulk_from_stock x 10.9.0.3 8) && to_stock=arrived
	to_warren=$(bulk_from_stock w 10.9.0.2 8) && to_warren=arrived
	echo "# $WHAT: TCP from wireguard-go to wireguard-go: $to_stock"
	echo "# $WHAT: TCP from wireguard-go to warren: $to_warren"
	check "$WHAT: TCP from wireguard-go arrives where it would at another one" \
		test "$to_warren" = arrived -o "$to_stock" != arrived
}

G4="${LAB_PUBLIC[g]}:51820" G6="[${MTU_ADDR6[g]}]:51820"
WHAT="underlay 1500"
up "$G4"
carries 1420
for n in 1400 1280; do
	WHAT="a router of $n that says so"
	mtu_forget g
	mtu_forget w
	mtu_both g w $n icmp
	mtu_both g x $n icmp
	carries 1420 told
	WHAT="a router of $n that says nothing, wireguard-go told"
	mtu_both g w $n silent
	lab_in g ip link set wg0 mtu $((n - 60))
	mtu_forget g
	carries 1420
	lab_in g ip link set wg0 mtu 1420
	# Its SYN offers no larger segments than fit, as wireguard-go pads them: to a multiple of 16.
	WHAT="warren's own network of $n"
	mtu_clear
	mtu_forget g
	mtu_host w $n
	carries $((n - 60))
	mtu_host w 1500
done
WHAT="back on a network of 1500"
mtu_forget g
carries 1420

# With IPv6 nobody on the way cuts anything: the ICMP of the router lowers the routes' MTU.
WHAT="IPv6 outside"
up "$G6"
carries 1420
WHAT="IPv6 outside, a router of 1400 that says so"
the_other "[${MTU_ADDR6[x]}]:51820"
mtu_both g w 1400 icmp
mtu_both g x 1400 icmp
lab_exec w ping -c 3 -i 0.2 -W 1 -s 1372 10.9.0.1 >/dev/null
carries 1320 told

mtu_clear
mtu_forget g
WHAT="a path that loses all above 1280, and MTUs set by hand"
mtu_both g w 1280 drop
lab_in g ip link set wg0 mtu 1220
up "$G4" WARREN_MTU=1220
carries 1220
finish
