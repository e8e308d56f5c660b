#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
# alone: it measures how soon a node is back
#
# What a node keeps: files and their modes; a start without any rendezvous, with its command; a node that
# lost its state; one that was replaced while it was cut off; members' keys that change, pinned or not.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init identity
warren_need

lab_public_host rv $RV_ADDR
lab_public_host c1 203.0.113.21
lab_site w1 portrestricted 203.0.113.22
lab_public_host other 203.0.113.23

state_of() { echo "$LAB_DIR/node/$1/lib/warren/$NETWORK"; }

# node_kill NODE: with all its processes, at once
node_kill() {
	local pid
	for pid in $(ip netns pids "$LAB$1"); do kill -KILL "$pid" 2>/dev/null; done
	lab_wait 5 "[ -z \"\$(ip netns pids $LAB$1)\" ]"
	wait "${NODE_PID[$1]}" 2>/dev/null
}

# command_ip NODE: the address that its command was started with, while that runs
command_ip() {
	local pid
	for pid in $(ip netns pids "$LAB$1"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sleep ] || continue
		tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^WARREN_IP=//p'
		return 0
	done
	return 1
}

# as NODE ID [VARIABLE=VALUE…]: a node of that id, with a command; its process is in LAB_PID
as() {
	local node=$1 id=$2
	shift 2
	lab_spawn "$node" "$LAB_DIR/$node.log" env WARREN_JOIN="$TOKEN" WORKER_ID="$id" "$@" \
		"$WARREN" run -- sleep 1000
	NODE_PID[$node]=$LAB_PID
}

# ends NODE SECONDS: it ends by itself; its status is in STATUS
ends() {
	STATUS=none
	lab_wait "$2" "! kill -0 ${NODE_PID[$1]}" || return 0
	wait "${NODE_PID[$1]}" 2>/dev/null
	STATUS=$?
}

# remembers NODE OTHER: the key that OTHER has now is in NODE's members file
remembers() {
	local key
	key=$(status "$2" .key | base64 -d | od -An -tx1 -v | tr -d ' \n')
	[ ${#key} = 64 ] && od -An -tx1 -v "$(state_of "$1")/members" | tr -d ' \n' | grep -q "$key"
}

mode() { stat -c %a "$1"; }

rv_start
as c1 c1
as w1 w1
check_wait 20 "both have joined, their commands run" 'command_ip c1 && command_ip w1' "tail -qn 3 $LAB_DIR/[cw]1.log" || finish
C1=$(command_ip c1) W1=$(command_ip w1)
check_wait 20 "they talk directly" "reach w1 $C1 && [ \"\$(path_of w1 c1)\" = direct ] && [ \"\$(path_of c1 w1)\" = direct ]" || finish

# --- files
S=$(state_of w1)
check_wait 70 "the members file is written while the node runs" "[ -s $S/members ] && grep -q c1 $S/members"
check "0700 for the directory, 0600 for the files" test "$(mode "$S") $(mode "$S/identity") $(mode "$S/members")" = "700 600 600"
check_wait 70 "and on the other side" "grep -q w1 $(state_of c1)/members"

# --- no rendezvous at all
kill -KILL "$RV_PID"
node_kill w1
BEGAN=${EPOCHREALTIME/./}
as w1 w1
check_wait 15 "a node starts without a rendezvous, and its command with the address of before" \
	"[ \"\$(command_ip w1)\" = $W1 ]" "tail -n 5 $LAB_DIR/w1.log"
check_wait 5 "it reaches the other" "reach w1 $C1"
echo "# $(((${EPOCHREALTIME/./} - BEGAN) / 1000)) ms after its start"
check "and is reached" reach c1 "$W1"
check "the log says why" grep -q "no rendezvous answers" "$LAB_DIR/w1.log"
check "and of no route that could not be set" sh -c "! grep 'no route to' '$LAB_DIR/w1.log'"
node_kill w1
node_kill c1
as w1 w1
as c1 c1
check_wait 25 "so do all of them at once" "reach w1 $C1 && reach c1 $W1" "tail -qn 3 $LAB_DIR/[cw]1.log"

# --- the rendezvous is back
rv_start
check_wait 40 "both register with it again" '[ "$(rv_status "[.members[] | select(.online)] | length")" = 2 ]'
check "with the same addresses, and the commands went on" test "$(command_ip c1) $(command_ip w1)" = "$C1 $W1"

# --- a host without IPv6
lab_in c1 sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
node_kill c1
as c1 c1
check_wait 20 "a host without IPv6 is a member" "reach c1 $W1" "tail -n 3 $LAB_DIR/c1.log"
check "and nobody there is told of an IPv6 address" test "$(status c1 .ip6) $(cat "$LAB_DIR/node/c1/run/warren/env")" = "null WARREN_IP=$C1
WORKER_ID=c1"
lab_in c1 sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0

# --- its directories are removed under it, and then its gateway dies
COMMAND=$(pgrep -P "${NODE_PID[w1]}" -x sleep)
rm -r "$S" "$LAB_DIR/node/w1/run/warren"
kill -KILL "$(process_of w1 warren-gateway)"
check_wait 15 "without state and run directory a gateway starts again" 'node_up w1 && [ "$(node_ip w1)" = "$W1" ] && reach c1 "$W1"' "tail -n 5 $LAB_DIR/w1.log"
check "and the command goes on" kill -0 "$COMMAND"

# --- lost state, and a released id
node_kill w1
rm -r "$S"
BEGAN=${EPOCHREALTIME/./}
as w1 w1
check_wait 15 "a node that lost its state gets its address back" "[ \"\$(command_ip w1)\" = $W1 ]" "tail -n 3 $LAB_DIR/w1.log"
MS=$(((${EPOCHREALTIME/./} - BEGAN) / 1000))
check "within 10 s: $MS ms" test "$MS" -le 10000
check "nothing is warned of: the old key is gone" sh -c "! grep -q 'still answers' $LAB_DIR/c1.log"
kill -TERM "$(pgrep -P "${NODE_PID[w1]}" -x sleep)"
ends w1 20
check "a command's end is the node's: $STATUS" test "$STATUS" = 143
BEGAN=${EPOCHREALTIME/./}
as other w1
check_wait 15 "a released id goes to the next at once" "[ \"\$(command_ip other)\" = $W1 ]"
MS=$(((${EPOCHREALTIME/./} - BEGAN) / 1000))
check "without the 5 s of a silent holder: $MS ms" test "$MS" -le 3500

# --- replaced while it was cut off from everybody
lab_in other ip link set eth0 down
as w1 w1
check_wait 20 "a holder that nobody hears is replaced" "[ \"\$(command_ip w1)\" = $W1 ]" "tail -n 3 $LAB_DIR/w1.log"
lab_in other ip link set eth0 up
lab_in other ip route replace default via 203.0.113.1
ends other 40
check "it says so, stops its command and exits with 75: $STATUS" test "$STATUS" = 75
check "in words" grep -q "worker id w1 is held by another node now" "$LAB_DIR/other.log"

# --- keys that are pinned
check_wait 20 "a new key is on the disk within seconds" "remembers c1 w1"
node_kill c1
as c1 c1 WARREN_PIN_MEMBERS=true
check_wait 20 "a node that pins its members' keys" "reach c1 $W1"
kill -TERM "$(pgrep -P "${NODE_PID[w1]}" -x sleep)"
lab_wait 10 "! kill -0 ${NODE_PID[w1]}"
rm -r "$S"
as w1 w1
check_wait 20 "a member comes back with another key" "[ \"\$(command_ip w1)\" = $W1 ]"
check_wait 10 "and is refused, in words that say what to do" "grep -q 'warren accept w1' $LAB_DIR/c1.log" "tail -n 3 $LAB_DIR/c1.log"
check "once" test "$(grep -c "warren accept w1" "$LAB_DIR/c1.log")" = 1
accept_wrong() {
	local out
	out=$(lab_exec c1 "$WARREN" accept "$1" "$2" 2>&1) && return 1
	echo "$out"
	[[ $out == *"$3"* ]]
}
check "counted" test "$(status c1 '.drops.member_key_refused')" -ge 1
check "and not reached" sh -c "! ip netns exec $LAB""c1 ping -q -c 1 -W 1 $W1"
OFFERED=$(grep -o 'warren accept w1 .*' "$LAB_DIR/c1.log" | cut -d ' ' -f 4)
check "the line names the key that is listed" test "$OFFERED" = "$(status w1 .key)"
check "another key is not accepted" accept_wrong w1 "$("$WARREN" genkey | "$WARREN" pubkey)" "another key"
check "accepted on purpose" lab_exec c1 "$WARREN" accept w1 "$OFFERED"
check_wait 15 "it is reached" "reach c1 $W1" "tail -n 3 $LAB_DIR/c1.log"
check "nothing to accept is said so" accept_wrong w1 "$OFFERED" "nothing to accept"
check "and who is not there" accept_wrong nobody "$OFFERED" "no member of this id"

# --- a state directory that was copied, as with a virtual machine: one of the two goes on
mkdir -p "$LAB_DIR/node/other/lib/warren"
rm -rf "$(state_of other)"
cp -a "$(state_of w1)" "$(state_of other)"
as other w1
check_wait 20 "a copy of the state has the address as well" "[ \"\$(command_ip other)\" = $W1 ]" "tail -n 3 $LAB_DIR/other.log"
# its handshakes are refused until the clock passes what the copy has reserved of it: a minute
ends w1 110
check "who had it before stops its command, with 75: $STATUS" test "$STATUS" = 75
check "in words that name the cause" grep -q "was its state directory copied" "$LAB_DIR/w1.log"
check "and the copy goes on" test "$(command_ip other)" = "$W1"
check_wait 20 "and is reached" "reach c1 $W1" "tail -n 3 $LAB_DIR/c1.log"

# --- a members file that is none
node_kill c1
echo rubbish >"$(state_of c1)/members"
as c1 c1 WARREN_PIN_MEMBERS=true
ends c1 20
check "damaged, and pinned: no start, status $STATUS" test "$STATUS" = 1
check "in words" grep -q "move it away, and this node learns the keys anew" "$LAB_DIR/c1.log"
chmod 777 "$(state_of c1)"
chmod 644 "$(state_of c1)/identity"
as c1 c1
check_wait 20 "damaged, and not pinned: it goes on without" "reach c1 $W1" "tail -n 3 $LAB_DIR/c1.log"
check "and says so" grep -q "is not used (damaged" "$LAB_DIR/c1.log"
check "a directory and a key that are open to others are warned of" test \
	"$(grep -c "chmod 700 it\|chmod 600 it" "$LAB_DIR/c1.log")" = 2

# --- a key that is damaged under a running node: the next gateway says what to do, less and less often, and goes on when it
# is done; and one that finds its helper hung: a rendezvous that is known by its address needs none
echo rubbish >"$(state_of c1)/identity"
kill -KILL "$(process_of c1 warren-gateway)"
check_wait 10 "a damaged key: the gateway says what to do" "grep -q 'identity is damaged.*: move it away' $LAB_DIR/c1.log"
check_wait 20 "and says it less and less often" "grep -q 'start number .* in [2-9][0-9][0-9][0-9] ms' $LAB_DIR/c1.log"
mv "$(state_of c1)/identity" "$LAB_DIR/damaged"
check_wait 20 "moved away, it is back with its address" "reach c1 $W1" "tail -n 3 $LAB_DIR/c1.log"
kill -STOP "$(process_of c1 warren-helper)"
kill -KILL "$(process_of c1 warren-gateway)"
check_wait 10 "without a helper the rendezvous' address is enough" "[ \"\$(status c1 .state)\" = up ] && reach c1 $W1" "tail -n 3 $LAB_DIR/c1.log"
kill -CONT "$(process_of c1 warren-helper)"
finish
