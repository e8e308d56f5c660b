# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# SPDX-License-Identifier: Apache-2.0
#
# What tests/soak.sh does to its network; to be sourced after warren.sh. Each fault_NAME is broken,
# waits, and mends; it runs beside others, and the processes that it killed it starts again. The names of
# drop reasons behind it are those that it may cause.

declare -A FAULT_DROPS=()

# --- processes. Their ids are in files, for the faults run in subshells.

soak_pid() {
	cat "$LAB_DIR/pid.$1"
}

# soak_node_start N [BOOTTIME]: with a command, and every fourth with the shim; in a time namespace of its
# own where its clock is to be another.
soak_node_start() {
	local vars=() how=()
	[ $((${1#n} % 4)) != 0 ] || vars=(TRINO_MODE=true TRINO_COORDINATOR_ID=n1)
	[ -z "${2:-}" ] || how=(unshare -T --boottime "$2" --monotonic "$2")
	lab_spawn "$1" "$LAB_DIR/$1.log" env WARREN_JOIN="$TOKEN" WORKER_ID="$1" "${vars[@]}" \
		"${how[@]}" "$WARREN" run -- sleep 1000000
	echo "$LAB_PID" >"$LAB_DIR/pid.$1"
}

soak_rv_start() {
	rv_start
	echo "$RV_PID" >"$LAB_DIR/pid.rv"
}

soak_kill_node() {
	kill -KILL "$(soak_pid "$1")" 2>/dev/null
	lab_wait 5 "[ -z \"\$(ip netns pids $LAB$1)\" ]"
}

soak_kill_rv() {
	kill -KILL "$(soak_pid rv)" 2>/dev/null
	lab_wait 5 '! kill -0 $(soak_pid rv)'
}

# Whoever is not there at the end of a round is started as its init system would.
soak_all_alive() {
	local n
	kill -0 "$(soak_pid rv)" 2>/dev/null || soak_rv_start
	for n in "${NODES[@]}"; do
		kill -0 "$(soak_pid "$n")" 2>/dev/null || soak_node_start "$n"
	done
}

# --- the faults: NODE SECONDS [NUMBER]

# A process that has just started knows not everybody yet, nor its relay, and has no session of the one before;
# answers to that one come to it, and others send to it as before.
RESTARTED="wg_unknown_key wg_unknown_index outer_unexpected outer_unknown_member relay_unknown_member relay_refused outer_replay relay_replay"
FAULT_DROPS[gateway]=$RESTARTED
fault_gateway() {
	local i
	for ((i = 0; i < 1 + $3 % 3; i++)); do
		kill -KILL "$(process_of "$1" warren-gateway)" 2>/dev/null
		sleep 0.$((RANDOM % 9 + 1))
	done
}

FAULT_DROPS[helper]=""
fault_helper() {
	kill -KILL "$(process_of "$1" warren-helper)" 2>/dev/null
}

FAULT_DROPS[keeper]=""
fault_keeper() {
	kill -KILL "$(process_of "$1" warren-keeper)" 2>/dev/null
}

FAULT_DROPS[shim]=""
fault_shim() {
	kill -KILL "$(process_of "n$((4 + ${1#n} % (SOAK_NODES / 4 - 1) * 4))" warren-shim)" 2>/dev/null
}

# what has waited comes late, and at once
FAULT_DROPS[frozen]="outer_rate wg_unknown_index wg_handshake_rate outer_unexpected"
fault_frozen() {
	local pid
	pid=$(process_of "$1" warren-gateway)
	kill -STOP "$pid"
	sleep $(($2 < 5 ? $2 : 4))
	kill -CONT "$pid"
}

FAULT_DROPS[node]=$RESTARTED
fault_node() {
	soak_kill_node "$1"
	sleep $(($2 / 2))
	soak_node_start "$1"
}

# A clean end opens the range again, when the command has ended. The mesh goes on, so it is stopped meanwhile.
FAULT_DROPS[leaves]=$RESTARTED
fault_leaves() {
	local pid
	pid=$(soak_pid "$1")
	printf 'table ip away {\nchain out { type filter hook output priority 0\nip daddr 10.77.0.0/16 drop\n}\n}\n' |
		lab_in "$1" nft -f -
	kill -TERM "$pid"
	lab_wait 10 "! kill -0 $pid" || echo "$1 did not end within 10 s of SIGTERM" >>"$LAB_DIR/findings"
	sleep $(($2 / 2))
	soak_node_start "$1"
	lab_wait 10 "lab_in $1 ip route show type unreachable | grep -q 10.77.0.0/16"
	lab_in "$1" nft delete table ip away
}

# As after a boot of the machine, or a year without one: its clock of uptime is another.
FAULT_DROPS[clock]=$RESTARTED
fault_clock() {
	soak_kill_node "$1"
	soak_node_start "$1" $(($3 * 1000 + 1))
}

# who starts while there is no relay has no way yet to members that only the relay reaches: no_path
FAULT_DROPS[rv]="no_path wg_bad_handshake relay_no_address relay_unknown_member wg_unknown_index relay_replay"
fault_rv() {
	soak_kill_rv
	sleep $(($2 / 2))
	soak_rv_start
}

# what the relay held comes after what was sent later by another way: an initiation, too
FAULT_DROPS[rv_frozen]="no_path wg_stale_timestamp outer_unexpected wg_bad_handshake wg_unknown_index wg_handshake_rate"
fault_rv_frozen() {
	local pid
	pid=$(rv_process)
	kill -STOP "$pid"
	sleep "$2"
	kill -CONT "$pid"
}

FAULT_DROPS[store]=""
fault_store() {
	kill -KILL "$(process_of rv warren-store)" 2>/dev/null
}

FAULT_DROPS[rv_keeper]=""
fault_rv_keeper() {
	kill -KILL "$(process_of rv warren-keeper)" 2>/dev/null
}

# The disk under the leases is full; a newcomer is told so, and is let in when there is room again. Some hear of it
# from itself before the rendezvous has listed it, and the rendezvous asks an unknown key for a cookie.
FAULT_DROPS[disk]="outer_unknown_member relay_unknown_member wg_cookie_sent"
fault_disk() {
	local guest
	head -c 1G /dev/zero >"$RV_STATE/ballast" 2>/dev/null
	lab_spawn guest "$LAB_DIR/guest.log" env WARREN_JOIN="$TOKEN" WORKER_ID="guest$3" "$WARREN" up --state "/run/state$3"
	guest=$LAB_PID
	sleep "$2"
	if [ "$(lab_exec guest "$WARREN" status --json 2>/dev/null | jq -r .state)" = up ]; then
		echo "guest$3 has an address while the disk is full" >>"$LAB_DIR/findings"
	fi
	rm -f "$RV_STATE/ballast"
	lab_wait 20 '[ "$(lab_exec guest "$WARREN" status --json | jq -r .state)" = up ]' ||
		echo "guest$3 did not join when the disk had room again: $(tail -n 1 "$LAB_DIR/guest.log")" >>"$LAB_DIR/findings"
	kill -TERM "$guest"
	lab_wait 10 "! kill -0 $guest" || echo "guest$3 did not end" >>"$LAB_DIR/findings"
}

FAULT_DROPS[tun]="$RESTARTED tun_write_failed"
fault_tun() {
	lab_in "$1" ip link del warren0 2>/dev/null
}

# --- the network

# The NAT has forgotten everything, as after its reboot.
FAULT_DROPS[nat]="outer_unexpected"
fault_nat() {
	lab_in "$(lab_outside "$1")" python3 - <<-'PY'
		import socket, struct
		s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
		s.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 5, 1, 0, 0, 0, 0))
		s.recv(4096)
	PY
}

default_route() {
	if [ "${LAB_KIND[$1]}" = none ]; then echo 203.0.113.1; else echo 192.168.1.1; fi
}

# wg_bad_handshake: who does not hear the rendezvous for seconds tries another secret, too.
# A cable is pulled, and the address and routes are set anew when it is back; meanwhile nothing can be sent.
FAULT_DROPS[flap]="udp_send_failed wg_bad_handshake outer_unexpected"
fault_flap() {
	lab_in "$1" ip link set eth0 down
	sleep "$2"
	lab_in "$1" ip link set eth0 up
	lab_in "$1" ip route replace default via "$(default_route "$1")"
	[ -z "${SOAK_IP6[$1]:-}" ] || lab_in "$1" ip addr replace "${SOAK_IP6[$1]}/64" dev eth0 nodad
}

# Another address: the node's own, or its NAT's; for a moment there is none.
FAULT_DROPS[address]="udp_send_failed wg_bad_handshake outer_unexpected"
fault_address() {
	local ns addr=${LAB_PUBLIC[$1]}
	ns=$(lab_outside "$1")
	[ "${LAB_KIND[$1]}" != fullcone ] || return 0 # its rules name the address
	soak_readdress "$ns" "$addr" "203.0.113.$((${addr##*.} + 100))"
	sleep "$2"
	soak_readdress "$ns" "203.0.113.$((${addr##*.} + 100))" "$addr"
}

soak_readdress() {
	lab_in "$1" ip addr del "$2/24" dev eth0
	lab_in "$1" ip addr add "$3/24" dev eth0
	lab_in "$1" ip route replace default via 203.0.113.1
}

# One table for the middle; each fault that needs rules there has a chain of its own.
soak_middle() {
	printf 'table bridge soak {\nchain f%s {\n%s\n}\n}\n' "$1" "$2" | lab_in inet nft -f -
	lab_in inet nft add rule bridge soak forward jump "f$1"
}

soak_middle_end() {
	lab_in inet nft -a list chain bridge soak forward |
		sed -n "s/.*jump f$1 # handle \([0-9]*\)/\1/p" | while read -r handle; do
		lab_in inet nft delete rule bridge soak forward handle "$handle"
	done
	lab_in inet nft delete chain bridge soak "f$1"
}

FAULT_DROPS[loss]="fragment_timeout staged_expired"
fault_loss() {
	local a=${LAB_PUBLIC[$1]} percent=$((5 + $3 % 30))
	soak_middle "$3" "ip saddr $a numgen random mod 100 < $percent drop
	ip daddr $a numgen random mod 100 < $percent drop"
	sleep "$2"
	soak_middle_end "$3"
}

# No direct way between this one and every other: all of it over the relay.
FAULT_DROPS[cut]=""
fault_cut() {
	local a=${LAB_PUBLIC[$1]}
	soak_middle "$3" "ip saddr $a ip daddr != $RV_ADDR meta l4proto udp drop
	ip daddr $a ip saddr != $RV_ADDR meta l4proto udp drop"
	sleep "$2"
	soak_middle_end "$3"
}

# From the rendezvous alone nothing comes and goes.
FAULT_DROPS[no_rv]="no_path wg_bad_handshake staged_expired"
fault_no_rv() {
	local a=${LAB_PUBLIC[$1]}
	soak_middle "$3" "ip saddr $a ip daddr $RV_ADDR drop
	ip daddr $a ip saddr $RV_ADDR drop"
	sleep "$2"
	soak_middle_end "$3"
}

# A hole for large datagrams, in silence, on the way to this one. Where it is at the end of the node's own cable, Linux
# tells the sender of what is lost there (ENOBUFS, to sockets with IP_RECVERR).
FAULT_DROPS[mtu]="fragment_timeout udp_send_failed"
fault_mtu() {
	local port
	port=${LAB_PORT[$(lab_outside "$1")]}
	lab_in inet ip link set "$port" mtu $((1280 + $3 % 200))
	sleep "$2"
	lab_in inet ip link set "$port" mtu 1500
}

FAULT_DROPS[hogs]=""
fault_hogs() {
	local i
	for i in 1 2 3 4; do
		timeout "$2" sh -c 'while :; do :; done' &
	done
	wait
}

FAULTS=(gateway helper keeper shim frozen node leaves clock rv rv_frozen store rv_keeper disk tun nat flap address loss cut no_rv mtu hogs)
