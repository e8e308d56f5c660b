#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 420
#
# `warren up FILE` and wireguard-go, the stock program, in both roles, with IPv4 and IPv6 outside
# and inside, with and without a preshared key, through rekeys.
#
#   gN wireguard-go  203.0.113.10N ── public segment ── 203.0.113.15N  nN warren
#
# Where warren begins, its build rekeys after 5 s; where wireguard-go begins, its own 120 s pass.
# So the eight pairs run side by side.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
. lib/transfer.sh
lab_init interop
WARREN=${WARREN_REKEY:-$WARREN}
warren_need
wg_go_find || lab_die "no wireguard-go"

# endpoint FAMILY LAST-NUMBER
endpoint() {
	if [ "$1" = 4 ]; then echo "203.0.113.$2:51820"; else echo "[2001:db8::$2]:51820"; fi
}

# pair N ROLE FAMILY PSK: two hosts that know each other; only the one that begins knows where.
pair() {
	local n=$1 role=$2 family=$3 psk=$4 g=g$1 w=n$1 dir=$LAB_DIR
	lab_public_host "$g" "203.0.113.10$n" "2001:db8::10$n"
	lab_public_host "$w" "203.0.113.15$n" "2001:db8::15$n"
	wg_pair "$dir/$g.key"
	"$WARREN" genkey >"$dir/$w.key"
	"$WARREN" pubkey <"$dir/$w.key" >"$dir/$w.key.pub"
	[ "$psk" = none ] || "$WARREN" genpsk >"$dir/$n.psk"
	wg_go_start "$g" wg0
	lab_exec "$g" wg set wg0 listen-port 51820 private-key "$dir/$g.key" peer "$(cat "$dir/$w.key.pub")" \
		allowed-ips 10.9.0.2/32,fd09::2/128
	[ "$psk" = none ] || lab_exec "$g" wg set wg0 peer "$(cat "$dir/$w.key.pub")" preshared-key "$dir/$n.psk"
	[ "$role" = warren ] || lab_exec "$g" wg set wg0 peer "$(cat "$dir/$w.key.pub")" \
		endpoint "$(endpoint "$family" "15$n")"
	lab_in "$g" ip addr add 10.9.0.1/24 dev wg0
	lab_in "$g" ip addr add fd09::1/64 dev wg0 nodad
	lab_in "$g" ip link set wg0 mtu 1420 up
	warren_file "$@" >"$dir/$w.conf"
	lab_spawn "$w" "$dir/$w.log" "$WARREN" up "$dir/$w.conf"
	NODE_PID[$w]=$LAB_PID
}

warren_file() {
	cat <<-CONF
		[Interface]
		PrivateKey = $(cat "$LAB_DIR/n$1.key")
		Address = 10.9.0.2/24, fd09::2/64
		ListenPort = 51820

		[Peer]
		PublicKey = $(cat "$LAB_DIR/g$1.key.pub")
		AllowedIPs = 10.9.0.1/32, fd09::1/128
	CONF
	[ "$4" = none ] || echo "PresharedKey = $(cat "$LAB_DIR/$1.psk")"
	[ "$2" != warren ] || echo "Endpoint = $(endpoint "$3" "10$1")"
}

# no_loss FROM IP COUNT INTERVAL
no_loss() {
	lab_exec "$1" ping -q -c "$3" -i "$4" -W 2 "$2" | tee "$LAB_DIR/$1.loss" | grep -q ' 0% packet loss' ||
		{ grep loss "$LAB_DIR/$1.loss"; return 1; }
}

handshake_of() {
	lab_exec "g$1" wg show wg0 latest-handshakes | cut -f 2
}

# rekeys N SIDE COUNT INTERVAL TIMES: pings without a lost one while the session is made new
rekeys() {
	local before after
	before=$(handshake_of "$1")
	no_loss "$2" "$([ "${2:0:1}" = g ] && echo 10.9.0.2 || echo 10.9.0.1)" "$3" "$4" || return 1
	after=$(handshake_of "$1")
	echo "handshake at $before, then at $after"
	[ $((after - before)) -ge "$5" ]
}

talk() {
	local n=$1 role=$2 family=$3 psk=$4 g=g$1 w=n$1 what="$2 begins, IPv$3 outside, PSK $4"
	if [ "$role" = warren ]; then
		check_wait 15 "$what: first packet" "lab_exec $w ping -c1 -W1 10.9.0.1" "tail -n 3 '$LAB_DIR/$w.log'" || return
	else
		check_wait 15 "$what: first packet" "lab_exec $g ping -c1 -W1 10.9.0.2" "tail -n 3 '$LAB_DIR/$w.log'" || return
	fi
	check "$what: IPv6 inside" lab_exec "$w" ping -c1 -W2 fd09::1
	check "$what: a packet of the full 1420 bytes to wireguard-go" lab_exec "$w" ping -c1 -W2 -M 'do' -s 1392 10.9.0.1
	check "$what: and from it" lab_exec "$g" ping -c1 -W2 -M 'do' -s 1392 10.9.0.2
	check "$what: 32 MiB to wireguard-go" transfer "$w" "$g" 10.9.0.1 33554432
	check "$what: 32 MiB from wireguard-go, IPv6 inside" transfer "$g" "$w" fd09::2 33554432
	if [ "$role" = warren ]; then
		check "$what: two rekeys without a lost packet" rekeys "$n" "$w" 140 0.1 10
	else
		check "$what: a rekey by wireguard-go without a lost packet" rekeys "$n" "$g" 650 0.2 100
	fi
}

# A stock peer that moves to another address is followed, and one that starts anew is answered.
moves_and_restarts() {
	local w=n1 g=g1
	# a living session on both sides: this build's own ones are refused after 10 s
	lab_exec $w ping -c1 -W2 10.9.0.1 >/dev/null
	lab_in $g ip -4 addr flush dev eth0
	lab_in $g ip addr add 203.0.113.199/24 dev eth0
	check_wait 20 "warren follows wireguard-go to another address" \
		"lab_exec $g ping -c1 -W1 10.9.0.2; status $w '.peers[0].endpoint' | grep -q 203.0.113.199" "status $w .peers"
	check "and goes on talking" lab_exec $w ping -c3 -i 0.2 -W2 10.9.0.1
	lab_stop "${NODE_PID[$w]}"
	lab_spawn $w "$LAB_DIR/$w.log" "$WARREN" up "$LAB_DIR/$w.conf"
	check_wait 20 "warren started anew is answered at once" "lab_exec $w ping -c1 -W1 10.9.0.1"
}

n=0
running=()
for role in warren wireguard-go; do
	for family in 4 6; do
		for psk in none set; do
			n=$((n + 1))
			pair $n $role $family $psk
			talk $n $role $family $psk >"$LAB_DIR/result.$n" 2>&1 &
			running+=($!)
		done
	done
done
wait "${running[@]}"
cat "$LAB_DIR"/result.*
! grep -q '^not ok' "$LAB_DIR"/result.* || CHECK_FAILED=1
moves_and_restarts
finish
