#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
#
# Nothing that belongs into the tunnel ever leaves beside it: not before a link is up, not over the
# relay, not while a peer, the rendezvous or the gateway itself is dead. Captures on every outer
# side run all the time and must hold nothing but messages of the protocol.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init closed
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site b portrestricted 203.0.113.22
lab_site c none 203.0.113.23
MARKER=THIS-MUST-NEVER-BE-SEEN-OUTSIDE-
outside=()
captures=()
watch() {
	[ "$1" = a ] || [ "$1" = b ] || lab_as_wire "$1"
	lab_capture "$1" eth0 "$LAB_DIR/$1.pcap"
	captures+=("$LAB_PID")
	outside+=(--outside "$LAB_DIR/$1.pcap")
}
lab_as_wire a-nat
lab_as_wire b-nat
for where in a b c a-nat b-nat; do watch $where; done

# Pings and UDP with a marker, from a to everybody's address and to free ones, for as long as it runs
chatter() {
	cat >"$LAB_DIR/chatter.py" <<-PY
		import itertools, socket, time
		u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		for n in itertools.count():
		    for host in ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.200.200"):
		        try:
		            u.sendto(b"$MARKER%d" % n, (host, 9999))
		        except OSError:
		            pass
		    time.sleep(0.01)
	PY
	lab_spawn a "$LAB_DIR/chatter.log" python3 "$LAB_DIR/chatter.py"
}

kill_node() {
	local pid
	for pid in $(ip netns pids "$LAB$1"); do
		grep -qa warren "/proc/$pid/cmdline" 2>/dev/null && kill -KILL "$pid" 2>/dev/null
	done
}

rv_start
lab_block_direct a b
for n in a b c; do node_start $n; done
lab_wait 10 "lab_in a ip route show type unreachable | grep -q 10.77.0.0/16"
check "the range is closed before anything else" grep -q '10.77.0.0/16' <(lab_in a ip route show type unreachable)
chatter
for n in a b c; do check_wait 20 "$n has joined" "node_up $n" "tail -n 2 $LAB_DIR/$n.log"; done
B=$(node_ip b) C=$(node_ip c)
check_wait 20 "over the relay" "reach a $B"
lab_unblock_direct a b
check_wait 60 "and directly" '[ "$(path_of a b)" = direct ]'
check "two ends of one 1 MiB ping train" lab_exec a ping -q -c 50 -i 0.01 -s 1300 -W 2 "$C"
kill_node b
lab_exec a ping -q -c 10 -i 0.2 -W 1 "$B" >/dev/null
check "a dead peer is dead" sh -c "! ip netns exec ${LAB}a ping -q -c 1 -W 1 $B"
kill -KILL "$RV_PID"
lab_exec a ping -q -c 10 -i 0.2 -W 1 "$B" >/dev/null
kill_node a
check_wait 5 "the gateway is dead and its interface gone" "! lab_in a ip link show warren0"
lab_exec a ping -q -c 10 -i 0.1 -W 1 "$B" >/dev/null
check "no peer answers any more" sh -c "! ip netns exec ${LAB}a ping -q -c 1 -W 1 $C"
check "a packet to the range is refused at once" grep -qiE 'unreachable|invalid|no route' <(lab_in a ip route get "$C" 2>&1)
rv_start
node_start a
check_wait 30 "it comes back" "reach a $C" "tail -n 3 $LAB_DIR/a.log"

for pid in "${captures[@]}"; do lab_stop "$pid"; done
check "all that time, nothing but the protocol was seen outside" \
	lib/pcap_check.py "${outside[@]}" --marker "$MARKER" --clean --need initiation,response,data,ping,pong,relay:data
finish
