#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# Who gets in, and who is put out: a token for one id, tokens that expire, a rotation with an overlap, a
# member that is removed while it hears nothing of it, a lease that is freed, a disk that is full.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init admission
warren_need

# the state on a disk of its own, so that it can be full
cleanup() {
	umount -l "$LAB_DIR/rv-state" 2>/dev/null
	lab_cleanup
}
trap cleanup EXIT
mkdir "$LAB_DIR/rv-state"
mount -t tmpfs -o "size=1m,mode=700,uid=$(id -u nobody),gid=$(id -g nobody)" lab-state "$LAB_DIR/rv-state" ||
	lab_die "cannot mount a tmpfs"

lab_public_host rv $RV_ADDR
i=21
for n in c1 w1 w2 w3 x; do
	lab_public_host "$n" "203.0.113.$i"
	i=$((i + 1))
done

# rv_command COMMAND…: as the rendezvous' operator; what it says ends in one text
rv_command() {
	lab_exec rv "${AS_NOBODY[@]}" "$WARREN" "$@" --state "$RV_STATE"
}

# says PATTERN TEXT
says() {
	echo "$2"
	grep -q "$1" <<<"$2"
}

# x_says ID TOKEN PATTERN: host x, without any state, is refused as ID within 15 s, with these words
x_says() {
	local out rc
	out=$(lab_exec x timeout 15 env WARREN_JOIN="$2" WORKER_ID="$1" "$WARREN" up --state "$(mktemp -d "$LAB_DIR/x.XXXXXX")" 2>&1)
	rc=$?
	echo "status $rc: $(tail -n 2 <<<"$out")"
	[ "$rc" = 1 ] || [ "$rc" = 2 ] || return 1
	grep -q "$3" <<<"$out"
}

# x_waits TOKEN PATTERN: it is not told to end, and says this
x_waits() {
	local log=$LAB_DIR/x.log pid rc=1
	: >"$log"
	lab_spawn x "$log" env WARREN_JOIN="$1" WORKER_ID=late "$WARREN" up --state "$(mktemp -d "$LAB_DIR/x.XXXXXX")"
	pid=$LAB_PID
	lab_wait 15 "grep -q '$2' '$log'" && ! node_up x && rc=0
	lab_stop "$pid"
	cat "$log"
	return "$rc"
}

# x_joins ID TOKEN: it is up, and leaves
x_joins() {
	local log=$LAB_DIR/x.log pid rc
	: >"$log"
	lab_spawn x "$log" env WARREN_JOIN="$2" WORKER_ID="$1" "$WARREN" up --state "$(mktemp -d "$LAB_DIR/x.XXXXXX")"
	pid=$LAB_PID
	lab_wait 15 'node_up x'
	rc=$?
	lab_stop "$pid"
	cat "$log"
	return "$rc"
}

rv_start
node_start w1
node_start w2
check_wait 20 "w1 and w2 have joined" 'node_up w1 && node_up w2' "tail -qn 2 $LAB_DIR/w*.log" || finish

check "the rendezvous' log names who is new" \
	grep -qE 'member w1, 10\.77\.0\.[12], from 203\.0\.113\.[0-9:]+, key [0-9a-f]{8}\.\.\.: a new lease' "$LAB_DIR/rv.log"

# --- a token for one id
C1_TOKEN=$(rv_command token --for c1 2>/dev/null)
check "an id that is kept: not with another token" x_says c1 "$TOKEN" 'warren token --for c1'
check "a token for one id is not good for another" x_says w9 "$C1_TOKEN" 'c1 alone'
node_start c1 WARREN_JOIN="$C1_TOKEN"
check_wait 15 "c1 has joined with its own" 'node_up c1' "tail -n 3 $LAB_DIR/c1.log"
C1=$(node_ip c1)
check "at an address in the range" says '^10\.77\.' "$C1"
for pid in $(ip netns pids "${LAB}c1"); do kill -KILL "$pid" 2>/dev/null; done
wait "${NODE_PID[c1]}" 2>/dev/null
check "nor while its node is dead" x_says c1 "$TOKEN" 'warren token --for c1'
node_start c1 WARREN_JOIN="$C1_TOKEN"
check_wait 15 "c1 is back" '[ "$(node_ip c1)" = "$C1" ]'
C1_PID=${NODE_PID[c1]}
lab_spawn x "$LAB_DIR/x-c1.log" env WARREN_JOIN="$C1_TOKEN" WORKER_ID=c1 "$WARREN" up --state "$LAB_DIR/x-c1"
X_PID=$LAB_PID
check_wait 5 "another node with the token for c1 has the address at once" '[ "$(node_ip x)" = "$C1" ]' "tail -n 3 $LAB_DIR/x-c1.log"
wait "$C1_PID"
rc=$?
check "and the one before has ended with 75, in words" sh -c "[ $rc = 75 ] && grep -q 'held by another node now' '$LAB_DIR/c1.log'"
lab_stop "$X_PID"

# --- tokens that expire
BEGAN=$SECONDS
SHORT=$(rv_command token --expires 8s)
check "a token with an end admits before it" x_joins e1 "$SHORT"
lab_wait 12 "[ \$SECONDS -gt $((BEGAN + 9)) ]"
check "and not after it, in words" x_says e2 "$SHORT" 'join token has expired'
check "nor when its text says a later date" x_says e2 "$(lib/token_edit.py "$SHORT" expires 4000000000)" 'not of this rendezvous'

# --- a rotation
OLD=$TOKEN BEGAN=$SECONDS
OUT=$(rv_command rendezvous rotate --overlap 10s)
check "a rotation with an overlap" says 'admit new nodes until' "$OUT"
NEW=$(rv_token)
check "prints another token" test "$NEW" != "$OLD"
check "the old one is good for a while" x_joins r1 "$OLD"
check "the new one as well" x_joins r2 "$NEW"
lab_wait 14 "[ \$SECONDS -gt $((BEGAN + 11)) ]"
check "then the old one is not, in words" x_waits "$OLD" 'does not know this join token'
check_wait 5 "members have not noticed" 'reach w1 "$(node_ip w2)"'
TOKEN=$NEW

# --- a member that is removed, which does not hear the rendezvous
W1=$(node_ip w1)
W2=$(node_ip w2)
check_wait 20 "w2 reaches w1 directly" '[ "$(path_of w2 w1)" = direct ]'
lab_block_direct w2 rv
check "also without the rendezvous" reach w2 "$W1"
OUT=$(rv_command rendezvous remove w2)
check "remove says that the token is to be rotated" says 'warren rendezvous rotate' "$OUT"
check_wait 30 "nothing of w2 is taken any more" '! reach w2 $W1'
check "though w2 still believes that it is in" node_up w2
check_wait 10 "w1 has dropped it" '[ -z "$(path_of w1 w2)" ]'
lab_unblock_direct w2 rv
check_wait 60 "w2 hears of it and ends in words" "grep -q 'out of the network.*removed' '$LAB_DIR/w2.log'" "tail -n 3 $LAB_DIR/w2.log"
wait "${NODE_PID[w2]}"
rc=$?
check "with 75" test $rc = 75
node_start w2
check_wait 15 "its key does not come back with the new token" "grep -q 'refuses this node.*removed' '$LAB_DIR/w2.log'" "tail -n 3 $LAB_DIR/w2.log"
check "a new key does not with the old one" x_waits "$OLD" 'does not know this join token'
check "but with the new one, under the same id" x_joins w2 "$NEW"
check "and at another address" test "$(rv_status '.members[] | select(.id == "w2") | .ip')" != "$W2"
check "status names the key" test "$(rv_status '.admission.removed[].id')" = w2

# --- a lease that is freed
check "forget leaves one that is online" says 'w1 is online' "$(rv_command rendezvous forget w1 2>&1)"
check "forget" rv_command rendezvous forget e1
check "it has no lease any more" test -z "$(rv_status '.members[] | select(.id == "e1") | .id')"
check "twice is once too often, in words" says 'has no lease' "$(rv_command rendezvous forget e1 2>&1)"

# --- a disk that is full
node_start w3
check_wait 15 "w3 has joined with the new token, and reaches w1" 'reach w3 $W1' "tail -n 3 $LAB_DIR/w3.log"
dd if=/dev/zero of="$RV_STATE/filler" bs=4k status=none 2>/dev/null
check "joins are refused in words" x_waits "$NEW" 'disk is full'
check "members do not notice" reach w1 "$(node_ip w3)"
check "removing one is refused in words" says 'cannot be written' "$(rv_command rendezvous remove w1 2>&1)"
check "and nothing has changed" test "$(rv_status '.members[] | select(.id == "w1") | .online')" = true
rm "$RV_STATE/filler"
check "with room again, joins are granted" x_joins f1 "$NEW"

# --- a rendezvous with settings that are wrong for this state
other_range() {
	rv_command rendezvous --listen 0.0.0.0:7778 --public "$RV_ADDR:7778" --network "$NETWORK" --prefix 10.99.0.0/16 2>&1
}
check "a second one with the same state is refused" says 'another rendezvous runs' "$(other_range)"
check "and has changed no token" test "$(rv_token)" = "$NEW"

# --- its keeper dies: it goes on, and says so
kill -KILL "$(process_of rv warren-keeper)"
check_wait 5 "a keeper that dies is missed" "grep -q 'the keeper ended' '$LAB_DIR/rv.log'"
check "and nothing else" reach w1 "$(node_ip w3)"

check_wait 70 "and who is refused is counted" \
	"grep -q 'refused: [0-9]* ' '$LAB_DIR/rv.log' && grep -q 'refused: .* with a token that is not good' '$LAB_DIR/rv.log'" \
	"grep refused $LAB_DIR/rv.log"

# --- without a rendezvous that runs
hang_up() {
	local pid
	for pid in $(rv_process) $(process_of rv warren-store); do kill -HUP "$pid"; done
	lab_stop "$RV_PID" HUP
}
hang_up
ENDED=$?
check "its terminal goes away: a clean end" test $ENDED = 0
check "another range than that of the tokens is refused, in words" says 'have addresses of 10.77.0.0/16' "$(other_range)"
check "rotate where none runs" says 'another one now' "$(rv_command rendezvous rotate 2>&1)"
check "remove where none runs" says 'is out' "$(rv_command rendezvous remove r1 2>&1)"
rv_start
check "the token from before is not good any more" x_waits "$NEW" 'does not know this join token'
check "the one from then is" x_joins f2 "$TOKEN"
check_wait 45 "w1 is a member as before" '[ "$(node_ip w1)" = "$W1" ] && [ "$(rv_status ".members[] | select(.id == \"w1\") | .online")" = true ]'
finish
