#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
# alone: what is waiting, and so what a call moves, depends on what else runs
#
# What the data path asks of the kernel, in system calls: the counts are the gateway's own, and those are
# compared with strace's, under which each call takes so long that less is waiting for it. Bulk TCP: at most one
# for 16 KiB, at either end. UDP: at most one read of the
# TUN for each packet, and all else in batches, which a gateway that is held for a moment has to show.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
lab_init calls
warren_need

BULK=268435456 TRACED=201326592 EACH=16384
BURST=300  # datagrams, less than a TUN's queue holds (500)
PACED=400  # datagrams, each after the one before has arrived
SIZE=1000
FEW=20     # datagrams that a call has to move at least, on the average of a burst

lab_public_host rv $RV_ADDR
lab_public_host a 203.0.113.21
lab_public_host b 203.0.113.22
rv_start
for n in a b; do node_start $n; done
check_wait 20 "both have joined" 'node_up a && node_up b' || finish
B=$(node_ip b)
check_wait 20 "the path is direct" '[ "$(path_of a b)$(path_of b a)" = directdirect ]'
# the search for the MTU has calls of its own
check_wait 60 "and known" '[ "$(status a ".peers[].paths[] | select(.in_use) | .mtu_state")" = complete ] &&
	[ "$(status b ".peers[].paths[] | select(.in_use) | .mtu_state")" = complete ]'

TRACER=() OURS=()
declare -A GATEWAY=() # the process that has the socket
for n in a b; do
	GATEWAY[$n]=$(lab_in $n ss -Hulnp | sed -n 's/.*"warren[^"]*",pid=\([0-9]*\).*/\1/p' | head -n 1)
done

# taken NODE: its calls so far: TUN reads, of these empty, writes; UDP sends, receives, of these empty; waits
taken() {
	status "$1" '"\(.tun.reads) \(.tun.empty_reads) \(.tun.writes) \(.udp.tx_calls) \(.udp.rx_calls) \(.udp.rx_empty) \(.cpu.turns)"'
}

# mark: what is counted from here on
declare -A MARK=()
mark() {
	for n in a b; do MARK[$n]=$(taken $n); done
}

# since NODE: sets READS EMPTY WRITES SENDS RECEIVES VOID TURNS since the mark, and ALL of them
since() {
	local -a was now
	read -ra was <<<"${MARK[$1]}"
	read -ra now < <(taken "$1")
	READS=$((now[0] - was[0])) EMPTY=$((now[1] - was[1])) WRITES=$((now[2] - was[2]))
	SENDS=$((now[3] - was[3])) RECEIVES=$((now[4] - was[4])) VOID=$((now[5] - was[5]))
	TURNS=$((now[6] - was[6]))
	ALL=$((READS + WRITES + SENDS + RECEIVES + TURNS))
	SAID="$READS reads ($EMPTY found nothing) and $WRITES writes of the TUN, $SENDS sends, $RECEIVES receives ($VOID found nothing), $TURNS waits"
}

# --- bulk TCP

mark
check "a transfer of $((BULK >> 20)) MiB" transfer a b "$B" $BULK
for n in a b; do
	since $n
	check "bulk TCP on $n: one call for $((BULK / ALL)) bytes: $SAID" test $((BULK / ALL)) -ge $EACH
done

# on a path of 1500 bytes a super-packet is one message, and not one and a rest
for n in a b; do check "super-packets fit one message on $n: $(segments_of $n) segments" test "$(segments_of $n)" = 44; done

# used NODE: CPU time of its gateway in seconds, as the kernel has it
used() {
	sed 's/.*) //' "/proc/${GATEWAY[$1]}/stat" | awk -v hz="$(getconf CLK_TCK)" '{ print ($12 + $13) / hz }'
}
before=$(used a) said=$(status a .cpu.seconds) after=$(used a)
check "a says what CPU time it has used: $said s, of $before to $after" \
	awk "BEGIN { exit !($before > 0 && $said >= $before - 0.02 && $said <= $after + 0.02) }"
check "and its share of a core: $(status a '"\(.cpu.share) since the start, \(.cpu.share_minute) of late"')" \
	test "$(status a '.cpu | .share > 0 and .share <= 1 and .share_minute > 0 and .share_minute <= 1')" = true
check "for people, too" grep -q '^CPU: [0-9.]* % of a core' <(lab_exec a "$WARREN" status)

# --- and what strace says

for n in a b; do
	lab_spawn $n "$LAB_DIR/$n.strace.log" strace -qq -f -c -U name,calls,errors -o "$LAB_DIR/$n.strace" -p "${GATEWAY[$n]}"
	TRACER[${#TRACER[@]}]=$LAB_PID
done
for n in a b; do
	check_wait 10 "strace looks at $n" 'grep -q "^TracerPid:[[:space:]]*[1-9]" /proc/${GATEWAY[$n]}/status' 'cat $LAB_DIR/$n.strace.log'
done
mark
check "a transfer of $((TRACED >> 20)) MiB while it does" transfer a b "$B" $TRACED
for n in a b; do
	since $n
	OURS[${#OURS[@]}]="$READS $WRITES $SENDS $RECEIVES $TURNS"
done
for pid in "${TRACER[@]}"; do lab_stop "$pid" INT; done

# traced NODE CALL…: how many of these strace has seen there; of all of them without a name
traced() {
	local node=$1
	shift
	awk -v want=" $* " 'NR > 2 && $1 != "total" && $2 + 0 > 0 && (want == "  " || index(want, " " $1 " ")) { n += $2 } END { print n + 0 }' \
		"$LAB_DIR/$node.strace"
}

# alike OURS STRACE: but for what happens between a trace's ends and our looks
alike() {
	awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d <= 20 + b / 100) }'
}
i=0
for n in a b; do
	read -r READS WRITES SENDS RECEIVES TURNS <<<"${OURS[i]}"
	i=$((i + 1))
	seen="$(traced $n readv) readv, $(traced $n writev) writev, $(traced $n sendmmsg) sendmmsg, $(traced $n recvmmsg) recvmmsg, $(traced $n epoll_wait) epoll_wait"
	check "on $n strace counts as we do: $seen; $READS, $WRITES, $SENDS, $RECEIVES, $TURNS" eval \
		"alike $READS $(traced $n readv) && alike $WRITES $(traced $n writev) && alike $SENDS $(traced $n sendmmsg) && alike $RECEIVES $(traced $n recvmmsg) && alike $TURNS $(traced $n epoll_wait)"
	counted=$((READS + WRITES + SENDS + RECEIVES + TURNS)) others=$(($(traced $n) - READS - WRITES - SENDS - RECEIVES - TURNS))
	check "others are few: $others beside $counted" test $others -le $((counted / 50 + 50))
	awk -v n=$n 'NR > 2 && $1 != "total" && $2 + 0 > 0 { s = s " " $1 "=" $2 } END { print "# strace on " n ":" s }' "$LAB_DIR/$n.strace"
done

# --- UDP

lab_spawn b "$LAB_DIR/sink" python3 -u -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind(('$B', 7))
n = 0
print('ready')
while True:
    data, who = s.recvfrom(65536)
    if data[:1] == b'e':
        s.sendto(data[:4], who)
    else:
        n += 1
        print(n)
"
check_wait 10 "a sink" 'grep -q ready $LAB_DIR/sink'

# handed: packets that the kernel has handed to a's gateway
handed() {
	lab_in a cat /sys/class/net/warren0/statistics/tx_packets
}
arrived() {
	[ "$(tail -n 1 "$LAB_DIR/sink")" -ge "$1" ]
}

# One at a time: nothing to batch, and nothing is read for nothing.
mark
at=$(handed)
check "$PACED datagrams, one at a time, each echoed" lab_exec a python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect(('$B', 7))
for i in range($PACED):
    s.send(b'e' * $SIZE)
    s.recv(100)
"
since a
packets=$(($(handed) - at))
check "one at a time: $packets packets: $SAID" test $READS -le $packets

# A gateway that is held finds them all in its queue when it goes on: a its packets, then b its datagrams.
mark
at=$(handed) sent=$(status a .udp.tx_datagrams)
kill -STOP "${GATEWAY[a]}" "${GATEWAY[b]}"
lab_exec a python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('$B', 7))
for i in range($BURST):
    s.send(b'x' * $SIZE)
"
kill -CONT "${GATEWAY[a]}"
check_wait 20 "$BURST datagrams in one burst leave" '[ $(($(status a .udp.tx_datagrams) - sent)) -ge $BURST ]'
since a
packets=$(($(handed) - at))
# the end of a queue shows by one read that finds nothing
check "a burst: $packets packets: $SAID" test $READS -le $((packets + 1))
check "a burst leaves in batches" test $SENDS -le $((BURST / FEW))
kill -CONT "${GATEWAY[b]}"
check_wait 20 "and arrive" "arrived $BURST" 'tail -n 1 $LAB_DIR/sink'
since b
check "it is received in batches: $SAID" test $RECEIVES -le $((BURST / FEW))
if [ "$(status b .tun.uso)" = true ]; then
	check "and given to the kernel in batches" test $WRITES -le $((BURST / FEW))
else
	skip "and given to the kernel in batches" "this kernel takes no merged UDP (Linux 6.2 does)"
fi
finish
