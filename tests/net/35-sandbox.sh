#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# The live processes' sandboxes: what the kernel says of each, and what happens to one that is made to do
# what it may not, as if it had been taken over: it dies with a line that names the system call, and is
# started again. Nothing is written outside its directories, and no core file.
# shellcheck disable=SC2016 # conditions are expanded later
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init sand
warren_need

# x86-64's numbers
SOCKET=41 CONNECT=42 FORK=57 EXECVE=59 PTRACE=101 MOUNT=165 OPENAT=257
AF_PACKET=17 O_RDWR_CREAT=66 O_RDONLY=0 AT_FDCWD=-100
EACCES=-13

if [ "$(uname -m)" != x86_64 ]; then
	skip "the sandboxes of live processes" "lib/inject.py knows x86-64 alone"
	finish
fi
mkdir "$LAB_DIR/cores"
chmod 1777 "$LAB_DIR/cores"
cd "$LAB_DIR/cores" || exit 1
ulimit -c unlimited
LIB=$WARREN_ROOT/tests/lib

lab_public_host rv $RV_ADDR
lab_public_host w1 203.0.113.21
lab_public_host bare 203.0.113.22
rv_start
node_start w1 TRINO_MODE=true -- sleep 1000
lab_spawn bare "$LAB_DIR/bare.log" "$WARREN" -f wg0
LAUNCHER_PID=${NODE_PID[w1]}
check_wait 20 "a member, a rendezvous and a bare interface" 'node_up w1 && lab_in bare ip link show wg0' || finish

# which NODE PROCESS: `process_of`, as two words; a rendezvous' starter and a bare interface have the program's name
GATEWAY="w1 warren-gateway" SHIM="w1 warren-shim" HELPER="w1 warren-helper" KEEPER="w1 warren-keeper"
STORE="rv warren-store" RVKEEPER="rv warren-keeper" RENDEZVOUS="rv warren-rendezvo" STARTER="rv warren" BARE="bare warren"
ALL=("$GATEWAY" "$SHIM" "$HELPER" "$KEEPER" "$STORE" "$RENDEZVOUS" "$RVKEEPER" "$BARE")
log_of() {
	case $1 in
	rv) echo "$LAB_DIR/rv.log" ;;
	*) echo "$LAB_DIR/$1.log" ;;
	esac
}

# --- what the kernel says

# says NODE PROCESS FIELD: of /proc/PID/status
says() {
	sed -n "s/^$3:[[:space:]]*//p" "/proc/$(process_of "$1" "$2")/status"
}
confined() {
	[ "$(says "$1" "$2" Seccomp) $(says "$1" "$2" NoNewPrivs)" = "2 1" ]
}
NONE=0000000000000000
for p in "${ALL[@]}"; do
	check_wait 5 "$p: a filter, no new privileges" "confined $p"
	case $p in
	"$GATEWAY" | "$BARE") caps=0000000000001400 ;; # CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
	*) caps=$NONE ;;
	esac
	# shellcheck disable=SC2086 # two words
	check "$p: its capabilities" test "$(says $p CapEff) $(says $p CapPrm) $(says $p CapInh) $(says $p CapAmb)" = \
		"$caps $caps $NONE $NONE"
	# shellcheck disable=SC2086
	check "$p: no core file, no child" test \
		"$(awk '/^Max (core file size|processes)/ { print $(NF - 2), $(NF - 1) }' "/proc/$(process_of $p)/limits" | tr '\n' ' ')" = \
		"0 0 0 0 "
done
for p in "$SHIM" "$HELPER"; do
	# shellcheck disable=SC2086
	check "$p: nobody" test "$(says $p Uid)" = "$(printf '65534\t65534\t65534\t65534')"
done
# shellcheck disable=SC2086
check "the starter has no capability and no new privileges" test \
	"$(says $STARTER CapPrm) $(says $STARTER NoNewPrivs)" = "$NONE 1"

# --- what it may not

# again NODE PROCESS OLD: another one is there, and confined: it has its name some moments before that
again() {
	local now
	now=$(process_of "$1" "$2")
	[ -n "$now" ] && [ "$now" != "$3" ] && confined "$1" "$2"
}

# dies NODE PROCESS CALL NUMBER [ARGUMENT…]
dies() {
	local node=$1 process=$2 call=$3 pid got lines log
	shift 3
	log=$(log_of "$node")
	lines=$(wc -l <"$log")
	pid=$(process_of "$node" "$process")
	got=$("$LIB/inject.py" "$pid" "$@" 2>&1)
	[ "$got" = SIGSYS ] || { echo "$call gave $got"; return 1; }
	tail -n "+$((lines + 1))" "$log" | grep -q "may not make: $call " || { echo "the log does not name $call"; return 1; }
	lab_wait 3 "again $node $process $pid" || { echo "it is not started again"; return 1; }
}

# dies_for_good: the same of one that nobody starts again
dies_for_good() {
	local node=$1 process=$2 call=$3 got
	shift 3
	got=$("$LIB/inject.py" "$(process_of "$node" "$process")" "$@" 2>&1)
	[ "$got" = SIGSYS ] || { echo "$call gave $got"; return 1; }
	grep -q "may not make: $call " "$(log_of "$node")"
}

for p in "$GATEWAY" "$SHIM" "$HELPER" "$KEEPER" "$STORE" "$RVKEEPER"; do
	# shellcheck disable=SC2086
	check "$p: execve kills it, says so, and it is back" dies $p execve $EXECVE /bin/true 0 0
	# shellcheck disable=SC2086
	check "$p: a socket of another family" dies $p socket $SOCKET $AF_PACKET 3 0
done
check "the member is up" lab_wait 15 'node_up w1'
check "the gateway may not connect" dies w1 warren-gateway connect $CONNECT 0 0 0
check "the shim may not open a file" dies w1 warren-shim openat $OPENAT $AT_FDCWD /etc/passwd $O_RDONLY 0
check "the helper may not write one" dies w1 warren-helper openat $OPENAT $AT_FDCWD /tmp/warren-forbidden $O_RDWR_CREAT 384
check "the store may not fork" dies rv warren-store fork $FORK
check_wait 15 "and it is up again" "node_up w1"
check "elsewhere than in its directories the gateway opens nothing" test \
	"$("$LIB/inject.py" "$(process_of w1 warren-gateway)" $OPENAT $AT_FDCWD /tmp/warren-forbidden $O_RDWR_CREAT 384)" = $EACCES
check "nor the rendezvous" test \
	"$("$LIB/inject.py" "$(rv_process)" $OPENAT $AT_FDCWD /tmp/warren-forbidden $O_RDWR_CREAT 384)" = $EACCES
check "nor does it read there" test \
	"$("$LIB/inject.py" "$(rv_process)" $OPENAT $AT_FDCWD /etc/passwd $O_RDONLY 0)" = $EACCES
check "nothing was made" test ! -e /tmp/warren-forbidden
check "both live" eval '[ "$(says w1 warren-gateway Seccomp)" = 2 ] && rv_status .network'

# --- no core file, whatever ends them

check "cores would be files here" grep -q '^core' /proc/sys/kernel/core_pattern
for p in "$GATEWAY" "$SHIM" "$HELPER" "$KEEPER" "$STORE" "$RVKEEPER"; do
	# shellcheck disable=SC2086
	kill -SEGV "$(process_of $p)"
done
# these two have nobody who starts them again
check "the rendezvous dies, too" dies_for_good rv warren-rendezvo mount $MOUNT none /tmp tmpfs 0 0
check_wait 5 "and all that it was started with" '[ -z "$(ip netns pids "${LAB}rv")" ]'
check "and a bare interface" dies_for_good bare warren ptrace $PTRACE 16 1 0 0
kill -ABRT "$LAUNCHER_PID"
check_wait 5 "all of w1 has ended" '[ -z "$(ip netns pids "${LAB}w1")" ]'
check "there is no core file" test -z "$(ls "$LAB_DIR/cores")"
finish
