# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# The gateway in the lab; to be sourced after lab.sh.

WARREN_ROOT=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
WARREN=${WARREN:-$WARREN_ROOT/build/gateway/warren}
RV_NODE=rv
RV_ADDR=203.0.113.10
RV_PORT=7777
NETWORK=lab
AS_NOBODY=(setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all)

# warren_need: this script cannot say anything without the program. A copy of it, because a checkout
# below somebody's home is closed to the user nobody.
warren_need() {
	[ -x "$WARREN" ] || lab_die "no $WARREN: build it (meson setup build && ninja -C build) or name it in WARREN"
	install -D -m 755 "$WARREN" "$LAB_DIR/bin/warren"
	WARREN=$LAB_DIR/bin/warren
}

# rv_start [ARG…]: the rendezvous on RV_NODE, as the user nobody, whose state outlives it; its
# first process is RV_PID, the token for the others in TOKEN.
rv_start() {
	RV_STATE=$LAB_DIR/$RV_NODE-state
	[ -d "$RV_STATE" ] || install -d -m 700 -o nobody -g nogroup "$RV_STATE"
	lab_spawn $RV_NODE "$LAB_DIR/rv.log" "${AS_NOBODY[@]}" "$WARREN" rendezvous --listen "0.0.0.0:$RV_PORT" \
		--network "$NETWORK" --public "$RV_ADDR:$RV_PORT" --state "$RV_STATE" "$@"
	RV_PID=$LAB_PID
	lab_wait 10 'rv_token' || lab_die "the rendezvous does not start: $(cat "$LAB_DIR/rv.log")"
	TOKEN=$(rv_token)
}

rv_token() {
	lab_exec $RV_NODE "${AS_NOBODY[@]}" "$WARREN" token --state "$RV_STATE"
}

# rv_status_of NODE STATE FILTER: a value of a rendezvous' status, by a jq filter.
rv_status_of() {
	lab_exec "$1" "${AS_NOBODY[@]}" "$WARREN" status --state "$2" --json | jq -rc "$3"
}

# rv_status FILTER: of that of rv_start
rv_status() {
	rv_status_of $RV_NODE "$RV_STATE" "$1"
}

# node_start NODE [VARIABLE=VALUE…] [-- CMD…]: a gateway that joins by the token; with a command,
# `warren run`, else `warren up`. Its process is in LAB_PID and NODE_PID[NODE].
declare -A NODE_PID=()
node_start() {
	local node=$1 vars=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		vars+=("$1")
		shift
	done
	if [ $# -gt 0 ]; then set -- run "$@"; else set -- up; fi
	lab_spawn "$node" "$LAB_DIR/$node.log" env WARREN_JOIN="$TOKEN" WORKER_ID="$node" \
		"${vars[@]}" "$WARREN" "$@"
	NODE_PID[$node]=$LAB_PID
}

# status NODE FILTER: a value of a gateway's status, by a jq filter.
status() {
	lab_exec "$1" "$WARREN" status --json | jq -r "$2"
}

node_up() {
	[ "$(status "$1" .state)" = up ]
}

node_ip() {
	status "$1" .ip
}

# path_of NODE PEER: direct, relay or none
path_of() {
	status "$1" ".peers[] | select(.id == \"$2\") | .path"
}

# process_of NODE PATTERN: the processes of that name there (warren-gateway; launcher and starter have the program's)
process_of() {
	local pid
	for pid in $(ip netns pids "$LAB$1"); do
		# shellcheck disable=SC2053 # a pattern
		[[ $(cat "/proc/$pid/comm" 2>/dev/null) != $2 ]] || echo "$pid"
	done
}

# segments_of NODE: the most that a super-packet for its tunnel may have
segments_of() {
	lab_in "$1" ip -d link show warren0 | sed -n 's/.*gso_max_segs \([0-9]*\).*/\1/p'
}

# rv_process: the rendezvous' own, which RV_PID has started
rv_process() {
	process_of $RV_NODE warren-rendezvo
}

# reach NODE IP: one ping over the tunnel
reach() {
	lab_exec "$1" ping -c 1 -W 1 -q "$2"
}
