#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# Nothing that belongs into the tunnel ever leaves beside it: not before a link is up, not over the
# relay, not while a peer, the rendezvous or the gateway itself is dead, was killed under load, or has lost
# its interface; nor what is for a peer that has left, or that nobody knows yet. Captures on every outer
# side of every host run all the time and must hold nothing but messages of the protocol.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
lab_init closed
warren_need

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site b portrestricted 203.0.113.22
lab_site c none 203.0.113.23
lab_site d none 203.0.113.24
MARKER=THIS-MUST-NEVER-BE-SEEN-OUTSIDE-
outside=()
captures=()
watch() {
	lab_as_wire "$1"
	lab_capture "$1" eth0 "$LAB_DIR/$1.pcap"
	captures+=("$LAB_PID")
	outside+=(--outside "$LAB_DIR/$1.pcap")
}
for where in rv a b c d a-nat b-nat; do watch $where; done

# Pings and UDP with a marker, from a to everybody's address and to free ones, for as long as it runs
chatter() {
	cat >"$LAB_DIR/chatter.py" <<-PY
		import itertools, socket, time
		u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		u.setblocking(False)
		for n in itertools.count():
		    for host in ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.200.200"):
		        try:
		            u.sendto(b"$MARKER%d" % n, (host, 9999))
		        except OSError:
		            pass
		    time.sleep(0.01)
	PY
	lab_spawn a "$LAB_DIR/chatter.log" python3 "$LAB_DIR/chatter.py"
	CHATTER=$LAB_PID
}

# Captures and chatter of the same namespace go on.
kill_node() {
	kill -KILL "${NODE_PID[$1]}"
	check_wait 5 "nothing of warren's is left on $1" "[ -z \"\$(process_of $1 'warren*')\" ]"
}

# under_load NAME CMD…: while bytes flow from a to c, and go on when it is over
under_load() {
	local name=$1 moving
	shift
	transfer a c "$C" 40000000 8000000 >"$LAB_DIR/transfer" 2>&1 &
	moving=$!
	transfer_moves a "$C"
	sleep 1
	"$@"
	if wait $moving; then ok "$name"; else not_ok "$name" "$(tail -n 1 "$LAB_DIR/transfer")"; fi
}
kill_gateway() {
	kill -KILL "$(process_of "$1" warren-gateway)"
}
delete_tun() {
	lab_in "$1" ip link del warren0
}

all_alive() {
	local pid
	for pid in "$@"; do kill -0 "$pid" || return 1; done
}

# Before there is a rendezvous, and so before there is an address: the command does not run yet.
rv_start
kill -KILL "$RV_PID"
node_start a -- sh -c "touch $LAB_DIR/ran; sleep 1000"
check_wait 10 "without an address the range is closed" "lab_in a ip route show type unreachable | grep -q 10.77.0.0/16"
chatter
sleep 2
check "and no command runs" test ! -e "$LAB_DIR/ran"
lab_stop $CHATTER KILL
kill_node a
lab_wait 5 "! lab_in a ip link show warren0"

rv_start
lab_block_direct a b
for n in a b c; do node_start $n; done
lab_wait 10 "lab_in a ip route show type unreachable | grep -q 10.77.0.0/16"
check "the range is closed before anything else" grep -q '10.77.0.0/16' <(lab_in a ip route show type unreachable)
chatter
for n in a b c; do check_wait 20 "$n has joined" "node_up $n" "tail -n 2 $LAB_DIR/$n.log"; done
B=$(node_ip b) C=$(node_ip c) INNER6=$(status a .ip6 | sed 's,::.*,::/64,')
check_wait 20 "over the relay" "reach a $B"
lab_unblock_direct a b
check_wait 60 "and directly" '[ "$(path_of a b)" = direct ]'
check "two ends of one 1 MiB ping train" lab_exec a ping -q -c 50 -i 0.01 -s 1300 -W 2 "$C"
under_load "the gateway is killed under a transfer, which goes on" kill_gateway a
under_load "the other end's too" kill_gateway c
under_load "the interface is deleted under a transfer, which goes on" delete_tun a
under_load "the other end's too" delete_tun c
check_wait 20 "a peer that nobody knew yet" 'node_start d && lab_wait 10 "node_up d"' "tail -n 3 $LAB_DIR/d.log"
D=$(node_ip d)
check_wait 10 "can be reached now" "reach a $D"
lab_stop "${NODE_PID[d]}" TERM
lab_exec a ping -q -c 10 -i 0.1 -W 1 "$D" >/dev/null
check_wait 90 "one that has left: its route goes" "! lab_in a ip route show | grep -q '^$D '"
lab_exec a ping -q -c 10 -i 0.1 -W 1 "$D" >/dev/null
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

check "all were listened to, and a spoke, to the end" all_alive "${captures[@]}" $CHATTER
for pid in "${captures[@]}"; do lab_stop "$pid"; done
check "all that time, nothing but the protocol was seen outside" \
	lib/pcap_check.py "${outside[@]}" --marker "$MARKER" --clean --inner 10.77.0.0/16 --inner "$INNER6" \
	--need initiation,response,data,ping,pong,relay:data
finish
