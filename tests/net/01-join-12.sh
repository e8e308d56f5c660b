#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# alone: it measures how soon a node is back
#
# Twelve nodes join by one token, three behind each kind of NAT and three behind none, and every
# pair talks. Then the rendezvous dies and comes back, then a node, and everything is as before; a
# second holder of a living id is refused.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init join
warren_need

KINDS=(none fullcone portrestricted symmetric)
NODES=()
declare -A IP=()
lab_public_host rv $RV_ADDR
for i in {1..12}; do
	NODES+=("n$i")
	lab_site "n$i" "${KINDS[i % 4]}" "203.0.113.$((20 + i))"
done

all_up() {
	for n in "${NODES[@]}"; do node_up "$n" || return 1; done
}

# reaches_all NODE: prints whom it does not reach
reaches_all() {
	lab_exec "$1" bash -c '
		for ip; do { ping -q -c 1 -W 1 $ip >/dev/null || echo $ip; } & done; wait' - "${IP[@]}"
}

every_pair() {
	local n missing=
	for n in "${NODES[@]}"; do missing+=$(reaches_all "$n" | sed "s/^/$n→/"); done
	echo "$missing"
	[ -z "$missing" ]
}

# expected A B: what the kinds of two nodes allow. A stable port on one side and an open door on the
# other is enough; two guarded doors need a stable port on both sides.
expected() {
	case ${LAB_KIND[$1]}:${LAB_KIND[$2]} in
	symmetric:symmetric | symmetric:portrestricted | portrestricted:symmetric) echo relay ;;
	*) echo direct ;;
	esac
}

paths_as_expected() {
	local a b path bad=0
	for a in "${NODES[@]}"; do
		while read -r b path; do
			[ "$path" = "$(expected "$a" "$b")" ] && continue
			echo "$a (${LAB_KIND[$a]}) to $b (${LAB_KIND[$b]}): $path"
			bad=1
		done < <(status "$a" '.peers[] | select(.id != null) | "\(.id) \(.path)"' | grep '^n')
	done
	return "$bad"
}

addresses() {
	local n
	for n in "${NODES[@]}"; do echo "$n $(node_ip "$n") $(status "$n" .ip6)"; done
}

same_addresses() {
	diff <(addresses) "$LAB_DIR/addresses"
}

# back_after NODE TARGET: milliseconds from the start of a node to its first answered ping
back_after() {
	local began=${EPOCHREALTIME/./}
	node_start "$1"
	until lab_in "$1" ping -q -c 1 -W 0.2 "$2" >/dev/null 2>&1; do
		[ $((${EPOCHREALTIME/./} - began)) -lt 20000000 ] || break
	done
	echo $(((${EPOCHREALTIME/./} - began) / 1000))
}

rv_start
for n in "${NODES[@]}"; do node_start "$n"; done
check_wait 30 "twelve nodes have joined" all_up "tail -qn 1 $LAB_DIR/n*.log" || finish
for n in "${NODES[@]}"; do IP[$n]=$(node_ip "$n"); done
addresses >"$LAB_DIR/addresses"
check "each has an address of its own in 10.77.0.0/16" test \
	"$(printf '%s\n' "${IP[@]}" | grep '^10\.77\.' | sort -u | wc -l)" = 12
check "each has an IPv6 address of its own" test "$(cut -d' ' -f3 "$LAB_DIR/addresses" | grep '^fd' | sort -u | wc -l)" = 12
check_wait 60 "every pair talks" every_pair every_pair
check_wait 60 "paths are direct wherever the NATs allow it" paths_as_expected paths_as_expected
check "IPv6 inside" lab_exec n1 ping -q -c 2 -i 0.2 -W 2 "$(status n2 .ip6)"

# The second holder of a living id
lab_public_host second 203.0.113.60
refused() {
	local out rc
	out=$(lab_exec second timeout 30 env WARREN_JOIN="$TOKEN" WORKER_ID=n5 "$WARREN" up 2>&1)
	rc=$?
	echo "status $rc: $(tail -n 1 <<<"$out")"
	[ "$rc" != 0 ] && [ "$rc" != 124 ] && grep -q n5 <<<"$out"
}
check "a second holder of a living id is refused" refused
check "and the first goes on" lab_exec n1 ping -q -c 1 -W 2 "${IP[n5]}"

# The rendezvous dies
kill -KILL "$RV_PID"
lab_wait 5 '! kill -0 $RV_PID'
check "direct links live on without the rendezvous" lab_exec n4 ping -q -c 10 -i 0.2 -W 2 "${IP[n1]}"
rv_start
check_wait 45 "all have registered again" \
	'[ "$(rv_status "[.members[] | select(.online)] | length")" = 12 ]' 'rv_status .members'
check_wait 30 "every pair talks again" every_pair every_pair
check "with the same addresses" same_addresses

# A node dies, with all its processes, and comes back with its key
for n in n2 n3; do # port-restricted, symmetric: the one that returns to direct, the one on the relay
	for pid in $(ip netns pids "$LAB$n"); do kill -KILL "$pid" 2>/dev/null; done
	lab_wait 5 "[ -z \"\$(ip netns pids $LAB$n)\" ]"
	ms=$(back_after $n "${IP[n4]}")
	check "$n (${LAB_KIND[$n]}) is back within 2 s of its start: $ms ms" test "$ms" -le 2000
done
check_wait 30 "every pair talks once more" every_pair every_pair
check "still with the same addresses" same_addresses
finish
