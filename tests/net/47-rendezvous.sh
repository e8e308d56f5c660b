#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
#
# The rendezvous' own supervision. Store and keeper are back within a second, however often they die, and
# what was being saved is saved; one that hangs is killed and ends in a way that something starts it
# again; none is killed for what it is not to blame for. Whoever dies at whatever moment, nothing is
# left, and the next start works at once.
# shellcheck disable=SC2016 # conditions are expanded later
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init rvsuper
warren_need
SEED=${SEED:-$((EPOCHSECONDS % 32768))}
RANDOM=$SEED
echo "SEED=$SEED"

# rv, as ever; on `more` some more, each on a port of its own; d joins one of these
MORE_ADDR=203.0.113.11
lab_public_host rv $RV_ADDR
lab_public_host more $MORE_ADDR
lab_public_host a 203.0.113.21
lab_public_host b 203.0.113.22
lab_public_host d 203.0.113.24

# more_start NAME PORT [WRAPPER…]: its first process is in FIRST[NAME]
declare -A FIRST=()
more_start() {
	local name=$1 port=$2 state=$LAB_DIR/more-$1
	shift 2
	[ -d "$state" ] || install -d -m 700 -o nobody -g nogroup "$state"
	lab_spawn more "$LAB_DIR/more-$name.log" "$@" "${AS_NOBODY[@]}" "$WARREN" rendezvous --listen "0.0.0.0:$port" \
		--network "$NETWORK" --public "$MORE_ADDR:$port" --state "$state"
	FIRST[$name]=$LAB_PID
}
more_status() {
	lab_exec more "${AS_NOBODY[@]}" "$WARREN" status --state "$LAB_DIR/more-$1" --json | jq -r "${2:-.role}"
}
more_log() {
	grep -q "$2" "$LAB_DIR/more-$1.log"
}
# part NAME PROCESS: of it; the word all: all four, the starter last
part() {
	local first=${FIRST[$1]}
	# the first of one with a wrapper is the wrapper
	[ "$(cat "/proc/$first/comm")" = warren ] || first=$(pgrep -P "$first" -x warren)
	case $2 in
	starter) echo "$first" ;;
	all) pgrep -P "$first"; echo "$first" ;;
	*) pgrep -P "$first" -x "warren-$2" ;;
	esac
}

# --- those that are held for long: looked at after all else

rv_start
more_start hung 7801 unshare -pf --mount-proc # where it hangs the first process of a container has to see it
more_start group 7802
more_start traced 7803
more_start stalled 7804
more_start headless 7805
MANY=(hung group traced stalled headless)
for n in "${MANY[@]}"; do check_wait 10 "$n runs" "more_status $n && [ \$(part $n all | wc -l) = 4 ]" "cat $LAB_DIR/more-$n.log"; done
declare -A RUNS=()
for n in "${MANY[@]}"; do RUNS[$n]=$(part "$n" rendezvo); done
kill -STOP "${RUNS[hung]}"
# shellcheck disable=SC2046 # four
kill -STOP $(part group all)
kill -STOP "$(part stalled store)" "$(part headless starter)"
python3 - "${RUNS[traced]}" "$LAB_DIR/let-go" >"$LAB_DIR/tracer" 2>&1 <<-'PY' &
	import ctypes, os, sys, time
	ATTACH, DETACH = 16, 17
	ptrace = ctypes.CDLL(None, use_errno=True).ptrace
	ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
	pid = int(sys.argv[1])
	assert ptrace(ATTACH, pid, None, None) == 0, os.strerror(ctypes.get_errno())
	os.waitpid(pid, 0)
	until = time.time() + 120
	while not os.path.exists(sys.argv[2]) and time.time() < until:
	    time.sleep(0.1)
	ptrace(DETACH, pid, None, None)
PY
TRACER=$!
HELD=$SECONDS
kill -STOP "$(process_of rv warren-keeper)"
TOKEN_OF_RV=$TOKEN
TOKEN=$(lab_exec more "${AS_NOBODY[@]}" "$WARREN" token --state "$LAB_DIR/more-stalled")
node_start d
TOKEN=$TOKEN_OF_RV
node_start a
node_start b
check_wait 20 "a and b have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish

# --- store and keeper of rv die

RENDEZVOUS=$(rv_process)
# back_again PROCESS: it is killed, and another is there within a second
back_again() {
	local old began=${EPOCHREALTIME/./} new
	old=$(process_of rv "warren-$1")
	kill -KILL "$old"
	while sleep 0.02; do
		new=$(process_of rv "warren-$1")
		[ -z "$new" ] || [ "$new" = "$old" ] || return 0
		[ $((${EPOCHREALTIME/./} - began)) -lt 1000000 ] || break
	done
	echo "$1 (process $old): '$new'"
	return 1
}
killed() {
	local i
	for ((i = 0; i < 10; i++)); do
		back_again "$1" || return 1
	done
}
check "the store, ten times: another is there within 1 s" killed store
check "the log says so" grep -q 'the store ended (signal 9, Killed): start number 11 in' "$LAB_DIR/rv.log"
lab_stop "${NODE_PID[b]}"
node_start b
check_wait 10 "and it keeps leases: b leaves and comes back" 'node_up b && reach a "$(node_ip b)"'

# --- a machine without time, for longer than one may leave questions unanswered

timeout 40 sh -c 'for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait' &
HOGS=$!
LAB_PIDS+=("$HOGS")

# its keeper is stopped; and 40 s after its start the rendezvous hands it what has to be on the disk 20 s later
BEFORE=$(stat -c %Y.%i "$RV_STATE/identity")
identity_is_new() {
	[ "$(stat -c %Y.%i "$RV_STATE/identity")" != "$BEFORE" ]
}
has_work() {
	! identity_is_new && [ $((EPOCHSECONDS - STARTED)) -ge 52 ]
}
STARTED=$(stat -c %Y "$RV_STATE/identity")

# --- those that were held

check_wait 45 "a rendezvous that hangs is killed" "more_log hung 'the rendezvous hangs: no answer from it for 30 s; killing it'" \
	"cat $LAB_DIR/more-hung.log"
check "not before it has left half a minute of questions unanswered" test $((SECONDS - HELD)) -ge 29
wait "${FIRST[hung]}"
check "with the status of a killed one, so that it is started again" test $? = 137
check "that is said" more_log hung 'the rendezvous ended (signal 9, Killed): ending with it'
wait "$HOGS"
more_start hung 7801
check_wait 3 "and the next start works at once" 'more_status hung' "tail -n 3 $LAB_DIR/more-hung.log"
lab_wait 20 '[ $((SECONDS - HELD)) -ge 46 ]' # as long as nine questions take, and some
# shellcheck disable=SC2046 # four, the starter first
kill -CONT $(part group all | tac)
touch "$LAB_DIR/let-go"
wait $TRACER
check "a debugger could hold one" test ! -s "$LAB_DIR/tracer"
check "the store has written nothing, and the log says so" more_log stalled 'the store has written no lease for'
check "so d was not let in" test "$(status d .state)" != up
kill -CONT "$(part stalled store)"
kill -CONT "$(part headless starter)"
check_wait 15 "it is once the store goes on" 'node_up d' "tail -n 2 $LAB_DIR/d.log"
sleep 6 # one question more
for n in group traced stalled headless; do
	check "$n: the same process as before, and it answers" eval \
		"[ \"\$(part $n rendezvo)\" = ${RUNS[$n]} ] && more_status $n && ! more_log $n 'hangs\|ended'"
done
check "a machine without time killed nobody: rv is the same" test "$(rv_process)" = "$RENDEZVOUS"

# --- what was being saved when the keeper died

check_wait 20 "rv has handed its state to a keeper that does not write it" 'has_work'
check "the keeper dies: another is there within 1 s" back_again keeper
check "the log says so" grep -q 'the keeper ended (signal 9, Killed): start number 2 in' "$LAB_DIR/rv.log"
check_wait 2 "and has written what the one before had not" 'identity_is_new' "ls -l $RV_STATE"
check "ten times more: another is there within 1 s" killed keeper
check "it is the same rendezvous" test "$(rv_process)" = "$RENDEZVOUS"
check "which has let go of what belonged to the dead" test "$(find "/proc/$RENDEZVOUS/fd" -mindepth 1 | wc -l)" -le 14

# --- ends

ended() {
	[ -z "$(ip netns pids "${LAB}rv")" ]
}
lab_stop "$RV_PID" TERM
check "a clean end has status 0" test $? = 0
check "nothing is left" eval 'ended && [ ! -e "$RV_STATE/control.sock" ] && [ ! -e "$RV_STATE/leases.db-wal" ]'
rv_start
# shellcheck disable=SC2046 # all of them
kill -TERM $(ip netns pids "${LAB}rv")
wait "$RV_PID"
check "nor where all get SIGTERM, and the status is 0, too" test "$?$(ip netns pids "${LAB}rv")" = 0

rv_start
kill -STOP "$(rv_process)"
lab_stop "$RV_PID" TERM
check "one that hangs when it is to end is killed, and has the status of that" test $? = 137
check "the others had nothing to be killed for" test "$(grep -c 'did not end in time' "$LAB_DIR/rv.log")" = 1
check "nothing is left of it" ended

# Any of them die at some moment of a start, then the first one; each sixth start after that has to work at once.
strike() {
	local i part pids first pid
	for ((i = 0; i < 24; i++)); do
		lab_spawn rv "$LAB_DIR/rv.log" "${AS_NOBODY[@]}" "$WARREN" rendezvous --listen "0.0.0.0:$RV_PORT" \
			--network "$NETWORK" --public "$RV_ADDR:$RV_PORT" --state "$RV_STATE"
		first=$LAB_PID
		sleep 0.$((RANDOM % 2))$((RANDOM % 10))
		pids=()
		for part in warren warren-rendezvo warren-store warren-keeper; do
			pid=$(process_of rv "$part")
			[ -z "$pid" ] || [ $((RANDOM % 2)) = 0 ] || pids+=("$pid")
		done
		[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
		sleep 0.$((RANDOM % 3))
		kill -KILL "$first" 2>/dev/null # as the one who is to start it again
		wait "$first" 2>/dev/null
		[ $((i % 6)) != 5 ] || rv_works || { echo "start $i: $(tail -n 2 "$LAB_DIR/rv.log")"; return 1; }
	done
}
rv_works() {
	rv_start
	lab_wait 3 '[ "$(rv_status .role)" = rendezvous ]' || return 1
	lab_stop "$RV_PID" KILL
	lab_wait 2 ended
}
: >"$LAB_DIR/rv.log"
check "any of them, at any moment of a start, and the next one works at once" strike
check "no start found anything in its way" eval "! grep -i 'in use\|another rendezvous\|error: cannot\|damaged' $LAB_DIR/rv.log"
rv_start
check_wait 60 "after all that a and b are members as before" \
	'[ "$(rv_status "[.members[] | select(.online).id] | sort | join(\" \")")" = "a b" ] && reach a "$(node_ip b)"'
finish
