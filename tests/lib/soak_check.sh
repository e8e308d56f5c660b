# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# SPDX-License-Identifier: Apache-2.0
#
# What must hold in tests/soak.sh whatever happens; to be sourced after soak_faults.sh. What does not is a
# line in $LAB_DIR/findings.

SOAK_WATCH=$(cd "${BASH_SOURCE[0]%/*}" && pwd)/soak_watch.py

finding() {
	echo "$*" >>"$LAB_DIR/findings"
}

# --- everybody talks: lib/mesh.py, which also sends to nobody

soak_mesh_start() {
	local n args=()
	for n in "${NODES[@]}"; do args+=("$n=$(node_ip "$n")"); done
	mkdir "$LAB_DIR/mesh"
	python3 lib/mesh.py "$LAB_DIR/mesh" "$LAB" 9000 "${args[@]}" </dev/null >"$LAB_DIR/mesh.log" 2>&1 &
	MESH_PID=$!
	lab_wait 10 '[ -p "$LAB_DIR/mesh/ask" ]' || lab_die "no mesh: $(cat "$LAB_DIR/mesh.log")"
}

# soak_mesh COMMAND…: its answer
soak_mesh() {
	kill -0 "$MESH_PID" || return
	echo "$*" >"$LAB_DIR/mesh/ask"
	timeout 60 cat "$LAB_DIR/mesh/answer"
}

soak_talks() {
	local answer
	answer=$(soak_mesh check 10)
	echo "$answer"
	[ "${answer%% *}" = all ] || { finding "round $1: not all pairs talk 10 s after the last fault: $answer"; return 1; }
}

# --- no inner address outside: every wire of the lab is a bridge's, and each bridge counts them

soak_bridges() {
	local n
	echo inet
	for n in "${NODES[@]}"; do
		[ "${LAB_KIND[$n]}" = none ] || echo "$n-nat"
	done
}

soak_leak_rules() {
	local ip6=$1 rule
	echo 'table bridge leak {'
	echo 'set who { type ipv4_addr . ipv4_addr; flags dynamic; size 256; }'
	echo 'counter seen {}'
	echo 'chain pre { type filter hook prerouting priority -400'
	for rule in 'ip saddr 10.77.0.0/16' 'ip daddr 10.77.0.0/16'; do
		echo "$rule add @who { ip saddr . ip daddr } counter name seen"
	done
	for rule in 'arp saddr ip 10.77.0.0/16' 'arp daddr ip 10.77.0.0/16' "ip6 saddr $ip6" "ip6 daddr $ip6"; do
		echo "$rule counter name seen"
	done
	printf '}\n}\n'
}

soak_leak_watch() {
	local bridge
	for bridge in $(soak_bridges); do
		soak_leak_rules "$1" | lab_in "$bridge" nft -f - || lab_die "no rules on the bridge of $bridge"
	done
}

# soak_leaks: how many frames, and whose
soak_leaks() {
	local bridge all=0 n
	for bridge in $(soak_bridges); do
		n=$(lab_in "$bridge" nft list counter bridge leak seen | awk '$1 == "packets" { print $2 }')
		[ "${n:-0}" = 0 ] || finding "inner addresses on the wire of $bridge: $n frames: $(lab_in "$bridge" nft list set bridge leak who | tr -d '\n\t')"
		all=$((all + ${n:-1}))
	done
	echo "$all"
}

# --- counters, processes

# soak_drops FILE: of each gateway and the rendezvous its process and its drops
soak_drops() {
	local n
	for n in "${NODES[@]}"; do
		echo "$n $(process_of "$n" warren-gateway) $(lab_exec "$n" "$WARREN" status --json 2>/dev/null | jq -c .drops)"
	done >"$1"
	echo "rv $(soak_pid rv) $(rv_status .drops | jq -c .)" >>"$1"
}

# soak_processes FILE: node, process, name, anonymous memory in KiB, descriptors
soak_processes() {
	local n pid name
	for n in rv "${NODES[@]}"; do
		for pid in $(ip netns pids "$LAB$n"); do
			name=$(cat "/proc/$pid/comm" 2>/dev/null)
			case $name in
			warren*) echo "$n $pid $name $(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status")" \
				"$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" ;;
			esac
		done
	done >"$1"
}

# soak_ends: processes of ours that ended in a way that nobody made them
soak_ends() {
	local line
	grep -hE 'the (gateway|shim|helper|keeper|store|rendezvous) ended' "$LAB_DIR"/n*.log "$LAB_DIR/rv.log" |
		grep -vE 'signal 9|status 0|the store' | sort | uniq -c | while read -r line; do
		finding "a process ended by itself: $line"
	done
	grep -lE 'ERROR|runtime error|Sanitizer' "$LAB_DIR"/*.log | while read -r line; do
		finding "a sanitizer's word in $line"
	done
}

# soak_tree: each node has what it should, and nothing else
soak_tree() {
	local n names want
	for n in "${NODES[@]}"; do
		want="sleep warren warren-gateway warren-helper warren-keeper"
		[ $((${n#n} % 4)) != 0 ] || want+=" warren-shim"
		names=$(for pid in $(ip netns pids "$LAB$n"); do cat "/proc/$pid/comm"; done 2>/dev/null | sort | xargs)
		[ "$names" = "$want" ] || finding "round $1: processes of $n: $names"
	done
}
