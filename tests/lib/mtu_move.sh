# shellcheck shell=bash disable=SC2016
# SPDX-License-Identifier: Apache-2.0
#
# A connection from a to b that moves between the relay and the direct path; to be sourced after
# mtu_check.sh. WHAT says where, B is b's inner address.

# relay_direct N M: what each takes
relay_direct() {
	mtu_both a rv "$1" silent
	mtu_both b rv "$1" silent
	mtu_both a b "$2" silent
}

# moves KIND: both sides use that path
moves() {
	check_wait 40 "$WHAT: both use the $1 path" "[ \"\$(path_of a b)\$(path_of b a)\" = $1$1 ]" 'paths_of a b'
}

# is_on KIND N: it does, with the MTU of that path, and the connection goes on
is_on() {
	local inner at since gap
	inner=$(inner_of "$2" "$1")
	moves "$1"
	since=$EPOCHREALTIME at=$(flow_bytes)
	check_found 20 a b "$1" "$2" "$WHAT"
	check_found 20 b a "$1" "$2" "$WHAT"
	check_wait 15 "$WHAT: bytes flow" "[ \"\$(flow_bytes)\" -gt $((at + 3000000)) ]" 'paths_of a b'
	gap=$(flow_gap "$since")
	check "$WHAT: never stopping for more than 3 s ($gap)" awk "BEGIN { exit !($gap <= 3) }"
	check_wait 10 "$WHAT: the connection's MSS fits" \
		"[ \"\$(flow_mss)\" -le $((inner - 40)) ] && [ \"\$(flow_mss)\" -ge $((inner - 60)) ]" 'flow_mss; paths_of a b'
	check "$WHAT: UDP" echo_sizes a "$B" sample:1:40:28:9000
}
