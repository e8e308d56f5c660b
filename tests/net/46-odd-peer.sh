#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# A peer that does what few do and WireGuard allows, and some of what it does not (lib/wg_odd.py): against
# warren, and against wireguard-go, as the list is WireGuard's and not ours.
#
#   w (warren) ══ x (wg_odd.py)      j (wireguard-go) ══ y (wg_odd.py)
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
lab_init odd
warren_need

# end NODE PROGRAM PEER NUMBER: an interface, and a host for its peer
end() {
	lab_public_host "$1" "203.0.113.$4" "2001:db8::$4"
	lab_public_host "$3" "203.0.113.$(($4 + 1))" "2001:db8::$(($4 + 1))"
	wg_pair "$LAB_DIR/$1.key"
	wg_bare "$1" wg0 "$2"
	wg_of "$1" set wg0 private-key "$LAB_DIR/$1.key" listen-port 51820
	lab_in "$1" ip addr add 10.7.0.1/24 dev wg0
	lab_in "$1" ip addr add fd07::1/64 dev wg0 nodad
	lab_in "$1" ip link set wg0 up
}

# odd NODE PEER ADDRESS [CASE…]
odd() {
	lab_exec "$2" python3 "$PWD/lib/wg_odd.py" "$LAB_DIR/node/$1/run/wireguard/wg0.sock" "$3" 51820 "${@:4}"
}

link_local() {
	lab_in "$1" ip -6 -o addr show dev eth0 scope link | awk '{ sub("/.*", "", $4); print $4 }'
}

# here SAYING CMD…: its lines count, each with where it was
here() {
	local saying=$1
	shift
	"$@" >"$LAB_DIR/odd.$saying" 2>&1 || grep -q '^not ok' "$LAB_DIR/odd.$saying" ||
		not_ok "$saying" "$(tail -n 1 "$LAB_DIR/odd.$saying")"
	sed -n "s/^\(ok\|not ok\) - /&$saying: /p" "$LAB_DIR/odd.$saying"
}

ours() {
	here warren odd w x 203.0.113.21
	here IPv6 odd w x 2001:db8::21 padding batches roaming responder
	here link-local odd w x "$(link_local w)%eth0" padding roaming responder
	lab_in x ip route add 203.0.113.21 dev eth0 mtu lock 108
	here fragments odd w x 203.0.113.21 padding rekeys responder
}

# Without those that ask wireguard-go for more than it does: it takes messages that follow one another side by
# side, a load begins elsewhere, and marks of congestion end at it.
judge() {
	here wireguard-go odd j y 203.0.113.31 padding largest inner counters batches keepalives roaming stamps rekeys \
		indices malformed psk outer crossing
}

end w warren x 21
parts=(ours)
if wg_go_find; then
	end j go y 31
	parts+=(judge)
else
	skip "the list against wireguard-go" "no wireguard-go"
fi
side_by_side "${parts[@]}"
finish
