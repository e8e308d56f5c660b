# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# Transfers with a checksum at both ends; to be sourced after lab.sh.

TRANSFER=$(cd "${BASH_SOURCE[0]%/*}" && pwd)/transfer.py

# transfer FROM TO ADDRESS BYTES [RATE [PATIENCE]]: true when what arrived is what was sent. PATIENCE: seconds
# for which it is begun again where there is no route.
transfer() {
	local port=$((20000 + RANDOM % 20000)) out=$LAB_DIR/transfer.$BASHPID.$RANDOM pid sent
	lab_spawn "$2" "$out" python3 "$TRANSFER" receive $port
	pid=$LAB_PID
	lab_wait 10 "lab_in $2 ss -Hltn | grep -q ':$port '" || { cat "$out"; return 1; }
	sent=$(lab_exec "$1" timeout 240 python3 "$TRANSFER" send "$3" $port "$4" "${@:5}" 2>&1)
	lab_wait 20 "! kill -0 $pid" || lab_stop "$pid" KILL
	[ -n "$sent" ] && [ "$sent" = "$(cat "$out")" ] && return
	echo "sent ${sent##*$'\n'}, received $(tail -n 1 "$out")"
	return 1
}

# transfer_moves FROM ADDRESS: it is connected. Requests of the shim to the same node are no transfer.
transfer_moves() {
	lab_wait 10 "lab_in $1 ss -Htn state established 'dst $2 and dport >= :20000' | grep -q ."
}
