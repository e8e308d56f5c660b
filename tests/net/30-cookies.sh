#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# Cookies between warren and wireguard-go: each of the two under load demands one of the other, and lets
# it in with it.
#
#   w (warren) ══ g (wireguard-go)        f floods one of them with initiations of s, whom nobody knows
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/wg.sh
lab_init cookie
warren_need
wg_go_find || { skip "cookies" "no wireguard-go" && finish; }

PORT=51820
declare -A AT=([w]=203.0.113.21 [g]=203.0.113.22 [s]=203.0.113.23)
for n in w g s; do
	lab_public_host $n "${AT[$n]}"
	wg_pair "$LAB_DIR/$n.key"
done
lab_public_host f 203.0.113.24

# end NODE PROGRAM ADDRESS
end() {
	wg_bare "$1" wg0 "$2"
	wg_of "$1" set wg0 private-key "$LAB_DIR/$1.key" listen-port $PORT
	lab_in "$1" ip addr add "$3/24" dev wg0
	lab_in "$1" ip link set wg0 up
}

# knows NODE PEER ADDRESS: from now on, and without a session
knows() {
	wg_of "$1" set wg0 peer "$(wg_pub "$2")" remove
	wg_of "$1" set wg0 peer "$(wg_pub "$2")" allowed-ips "$3/32" endpoint "${AT[$2]}:$PORT"
}
end w warren 10.7.0.1
end g go 10.7.0.2
end s warren 10.7.0.3
knows w g 10.7.0.2
knows g w 10.7.0.1
knows s w 10.7.0.1
lab_capture s eth0 "$LAB_DIR/s.pcap" udp dst port $PORT and 'udp[8:4] = 0x01000000'
holds() {
	[ "$(stat -c %s "$LAB_DIR/$1.pcap")" -gt 24 ]
}
check_wait 10 "an initiation of a stranger is captured" '! reach s 10.7.0.1 && holds s'

shaken() {
	wg_of "$1" show wg0 latest-handshakes | awk -v k="$(wg_pub "$2")" '$1 == k { n = $2 } END { exit !n }'
}

# cookie_from LOADED TO ADDRESS RATE: TO has no session with LOADED, which is flooded, and makes one
cookie_from() {
	local flood cookies
	lab_spawn f "$LAB_DIR/flood" python3 "$PWD/lib/wg_flood.py" unknown "${AT[$1]}" $PORT "$4" 90 "$(wg_pub "$1")" "$LAB_DIR/s.pcap"
	flood=$LAB_PID
	lab_wait 10 "grep -q ready '$LAB_DIR/flood'" || lab_die "no flood: $(cat "$LAB_DIR/flood")"
	lab_capture "$2" eth0 "$LAB_DIR/$2.pcap" udp src port $PORT and src host "${AT[$1]}" and 'udp[8:4] = 0x03000000'
	cookies=$LAB_PID
	# a flood that the machine holds up for a moment is no load in it
	for _ in 1 2 3; do
		sleep 0.5
		knows "$2" "$1" "$3"
		lab_wait 20 "reach $2 $3 && shaken $2 $1" || break
		lab_wait 2 "holds $2" && break
	done
	check "$2 gets in at $1, which is under load" shaken "$2" "$1"
	check "with a cookie that $1 demanded" holds "$2"
	lab_stop "$cookies"
	lab_stop "$flood"
}
cookie_from w g 10.7.0.1 10000
cookie_from g w 10.7.0.2 30000
finish
