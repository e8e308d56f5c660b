# shellcheck shell=bash disable=SC2034,SC2004
# SPDX-License-Identifier: Apache-2.0
#
# `tests/bench.sh mtu`: what packets larger than 1500 bytes give, and what fragments cost. Each variant
# is a pair of machines of its own, all four up at once:
#
#   mtu1500   a cable of 1500 bytes, as usual
#   mtu9000   a cable of 9000 bytes
#   searched  a cable of 1280 bytes; the inner MTU is what the search finds, so that the kernel cuts
#   pinned    the same, with an inner MTU of 1500: warren cuts
#
# TCP is cut to segments that fit in all of them; only UDP shows what fragments cost.

BENCH_MTU_NAMES=mtu1500,mtu9000,searched,pinned

# mtu_variant NAME MTU [LINE]: two machines, one cable, and warren by a configuration file with that
# LINE in it; up when both sides' search has ended with the cable's MTU.
mtu_variant() {
	local name=$1 mtu=$2 line=${3:-} side
	FROM[$name]=$name-a TARGET[$name]=10.66.0.2
	for side in a b; do
		lab_ns "$name-$side"
		lab_node "$name-$side"
		"$WARREN" genkey >"$LAB_DIR/$name-$side.key"
	done
	ip -n "$LAB$name-a" link add eth0 mtu "$mtu" type veth peer name eth0 mtu "$mtu" netns "$LAB$name-b"
	for side in a b; do
		ip -n "$LAB$name-$side" addr add "203.0.113.$(mtu_number $side)/24" dev eth0
		ip -n "$LAB$name-$side" link set eth0 up
	done
	mtu_gateway "$name" a b "$line"
	mtu_gateway "$name" b a "$line"
	lab_wait 20 "lab_in $name-a ping -c1 -W1 10.66.0.2" || lab_die "no ping over $name: $(tail -n 3 "$LAB_DIR/$name-a.log")"
	lab_wait 30 "[ \"\$(mtu_found $name-a)\" = $mtu ] && [ \"\$(mtu_found $name-b)\" = $mtu ]" ||
		lab_die "$name: not $mtu: $(status "$name-a" .peers)"
	serve "$name-b"
}

mtu_number() {
	[ "$1" = a ] && echo 1 || echo 2
}

# mtu_gateway NAME SIDE PEER LINE
mtu_gateway() {
	local node=$1-$2
	cat >"$LAB_DIR/$node.conf" <<-CONF
		[Interface]
		PrivateKey = $(cat "$LAB_DIR/$node.key")
		Address = 10.66.0.$(mtu_number "$2")/24
		ListenPort = 51820
		$4

		[Peer]
		PublicKey = $("$WARREN" pubkey <"$LAB_DIR/$1-$3.key")
		AllowedIPs = 10.66.0.$(mtu_number "$3")/32
		Endpoint = 203.0.113.$(mtu_number "$3"):51820
	CONF
	lab_spawn "$node" "$LAB_DIR/$node.log" "$WARREN" up "$LAB_DIR/$node.conf"
	PIDS[$1]+=" $LAB_PID"
}

# mtu_found NODE: its only path's MTU, once the search is over
mtu_found() {
	status "$1" '.peers[].paths[] | select(.mtu_state == "complete") | .mtu'
}

mtu_start() {
	! wanted mtu1500 || mtu_variant mtu1500 1500
	! wanted mtu9000 || mtu_variant mtu9000 9000
	! wanted searched || mtu_variant searched 1280
	! wanted pinned || mtu_variant pinned 1280 'MTU = 1500'
}

mtu_round() {
	local name small=()
	for name in mtu1500 mtu9000; do
		wanted $name || continue
		measure_tcp $name 1
		measure_tcp $name 4
	done
	for name in searched pinned; do
		wanted $name || continue
		measure_tcp $name 1
		small+=("$name")
	done
	[ ${#small[@]} = 0 ] || measure_udp "${small[@]}"
}

# mtu_end: what each variant was in fact
mtu_end() {
	local name
	echo "AEAD: $(status "${FROM[${ONLY%%,*}]}" .aead); datagrams cross the cables in the kernel's bundles, in all variants"
	for name in ${ONLY//,/ }; do
		status "${FROM[$name]}" "\"$name: \\(.peers[0] | \"path MTU \\(.paths[0].mtu), inner MTU \\(.mtu); \\(
			.fragments.packets_sent) packets cut by warren, \\(.tx_bytes / 1048576 | floor) MiB sent\")\""
	done
}

mtu_tables() {
	if wanted mtu1500 || wanted mtu9000; then
		printf '\nJumbo:\n'
		python3 lib/bench_table.py "$OUT" --names mtu1500,mtu9000 mtu9000/mtu1500
	fi
	if wanted searched || wanted pinned; then
		printf '\nFragments, on a cable of 1280 bytes (TCP is cut to fit in both; UDP: %s bytes in each datagram):\n' "$UDP_BYTES"
		python3 lib/bench_table.py "$OUT" --names searched,pinned pinned/searched
	fi
}
