# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# What the bench measures; to be sourced after lab.sh. A variant is known by its name: FROM is the
# machine that sends, TARGET the address that it sends to, PIDS are the processes whose CPU time counts.
# Each figure is one line of OUT: name, measure, value.

declare -A FROM=() TARGET=() PIDS=() IS=() # IS: which release, which AEAD
UDP_SECS=3 UDP_BYTES=1472 UDP_LEAST=20 UDP_MOST=5120 UDP_STEPS=8
UDP_AS=udp # the measures' names begin so
LOAD=$(cut -d' ' -f1 /proc/loadavg) # of all else that goes on

# tree PID…: these processes and all their descendants
tree() {
	local p
	for p in "$@"; do
		echo "$p"
		# shellcheck disable=SC2046 # a list
		tree $(cat "/proc/$p/task/$p/children" 2>/dev/null)
	done
}

# cpu_ticks NAME: what its processes on both sides have used so far (the fields after the name in
# parentheses: utime and stime are the 12th and 13th of those)
cpu_ticks() {
	local p
	# shellcheck disable=SC2086 # a list
	for p in $(tree ${PIDS[$1]:-}); do
		sed 's/.*) //' "/proc/$p/stat"
	done 2>/dev/null | awk '{ n += $12 + $13 } END { print n + 0 }'
}

# busy_ticks: what the whole machine has worked so far: user, nice, system, interrupts. It counts what
# the kernel does for the tunnel in nobody's name, both ends of iperf3, and all else that goes on.
busy_ticks() {
	awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 }' /proc/stat
}

# memory_watch: from now on what the variants' processes have at most is watched, on the larger side
memory_watch() {
	local name pids sides=()
	for name in ${ONLY//,/ }; do
		[ -n "${PIDS[$name]:-}" ] || continue
		read -ra pids <<<"${PIDS[$name]}"
		sides+=("$name=$(IFS=, && echo "${pids[*]}")")
	done
	[ ${#sides[@]} -gt 0 ] || return 0
	lib/bench_memory.py "$LAB_DIR/memory" "${sides[@]}" &
	WATCHER=$!
	LAB_PIDS+=("$WATCHER")
}

# memory_note: what it was
memory_note() {
	[ -n "${WATCHER:-}" ] || return 0
	lab_stop "$WATCHER"
	cat "$LAB_DIR/memory" >>"$OUT"
}

# note NAME MEASURE VALUE
note() {
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$OUT"
}

# serve NODE: the other end of all of it
serve() {
	lab_spawn "$1" "$LAB_DIR/$1.iperf3.log" iperf3 -s
	lab_wait 10 "lab_in $1 ss -Hltn | grep -q ':5201 '" || lab_die "no iperf3: $(cat "$LAB_DIR/$1.iperf3.log")"
}

# iperf NAME SECONDS OPTION…: one run; sets RATE (Gbit/s that arrived), LOSS (%), and CPU and BUSY
# (seconds for each gigabit that arrived: of the variant's processes, of the whole machine).
iperf() {
	local name=$1 time=$2 json=$LAB_DIR/iperf.json cpu busy
	shift 2
	RATE='' LOSS='' CPU='' BUSY=''
	cpu=$(cpu_ticks "$name") busy=$(busy_ticks)
	lab_in "${FROM[$name]}" timeout $((time + 20)) iperf3 -c "${TARGET[$name]}" -t "$time" -J "$@" >"$json" 2>"$json.err" ||
		return 1
	cpu=$(($(cpu_ticks "$name") - cpu)) busy=$(($(busy_ticks) - busy))
	read -r RATE LOSS CPU BUSY < <(jq -r --argjson cpu $cpu --argjson busy $busy --argjson hz "$(getconf CLK_TCK)" \
		--argjson bytes $UDP_BYTES '
		(if .start.test_start.protocol == "UDP"
			then .end.sum | [(.packets - .lost_packets) * $bytes, .seconds, .lost_percent]
			else .end.sum_received | [.bytes, .seconds, 0] end) as [$arrived, $seconds, $loss]
		| ($arrived * 8 / 1e9) as $gbit | select($gbit > 0)
		| "\($gbit / $seconds) \($loss) \($cpu / $hz / $gbit) \($busy / $hz / $gbit)"' "$json")
	[ -n "$BUSY" ]
}

iperf_failed() {
	lab_die "iperf3 over $1: $(tail -qn 3 "$LAB_DIR"/iperf.json*)"
}

# measure_tcp NAME STREAMS
measure_tcp() {
	iperf "$1" "$SECS" -P "$2" -C "$TCP" || iperf_failed "$1"
	note "$1" "tcp$2" "$RATE"
	note "$1" "cpu$2" "$CPU"
	note "$1" "busy$2" "$BUSY"
}

# round_trips NAME COUNT SHARE: of so many pings, 25 ms apart, the time that SHARE (%) of them keep to, ms.
# ping waits for less than 10 ms by spinning, which is a third of a core that the tunnel then has not.
round_trips() {
	lab_in "${FROM[$1]}" ping -c "$2" -i 0.025 "${TARGET[$1]}" | sed -n 's/.* time=\([0-9.]*\) ms/\1/p' |
		sort -g | awk -v share="$3" '{ t[NR] = $1 } END { if (NR) print t[int((NR - 1) * share / 100) + 1] }'
}

# measure_ping NAME…: the median of idle round trips; and what each has more of it than the bare wire
measure_ping() {
	local name bare=
	for name in "$@"; do
		idle=$(round_trips "$name" 100 50)
		note "$name" ping "$idle"
		[ "$name" != bare ] || bare=$idle
		[ -z "$bare" ] || [ "$name" = bare ] || note "$name" added "$(awk "BEGIN { print $idle - $bare }")"
	done
}

# measure_loaded NAME: the 99th percentile of round trips while a TCP stream fills the way
measure_loaded() {
	local streaming
	lab_in "${FROM[$1]}" timeout 20 iperf3 -c "${TARGET[$1]}" -t 7 -C "$TCP" >/dev/null 2>&1 &
	streaming=$!
	lab_wait 5 "lab_in ${FROM[$1]} ss -Htn state established dst ${TARGET[$1]} | grep -q ."
	note "$1" loaded "$(round_trips "$1" 200 99)"
	wait $streaming
}

# udp_passes NAME MBIT: at most 1 % is lost at that rate; the machine's hiccups get a second chance
udp_passes() {
	udp_once "$@" || udp_once "$@"
}

# The buffers are large, so that a receiver that has to wait for a core loses nothing.
udp_once() {
	local room
	room=$(sort -g /proc/sys/net/core/[rw]mem_max | head -n 1)
	iperf "$1" $UDP_SECS -u -l $UDP_BYTES -b "$2M" -w $((room < 2097152 ? room : 2097152)) && awk "BEGIN { exit !($LOSS <= 1) }"
}

# measure_udp NAME…: for each the highest rate of large datagrams that loses at most 1 %, by bisection
# of the rate's logarithm, step by step in turns; then all at half of the lowest of these.
measure_udp() {
	local name step rate half
	local -A low=() high=() best=() cpu=() busy=()
	for ((step = 0; step < UDP_STEPS; step++)); do
		for name in "$@"; do
			rate=$(awk "BEGIN { printf \"%.1f\", sqrt(${low[$name]:=$UDP_LEAST} * ${high[$name]:=$UDP_MOST}) }")
			if udp_passes "$name" "$rate"; then
				low[$name]=$rate
				[ "$(awk "BEGIN { print ($RATE > ${best[$name]:-0}) }")" = 0 ] ||
					best[$name]=$RATE cpu[$name]=$CPU busy[$name]=$BUSY
				# the sender cannot offer what was asked for, and so nothing above
				awk "BEGIN { exit !($RATE < 0.0009 * $rate) }" && high[$name]=$rate
			else
				high[$name]=$rate
			fi
		done
	done
	for name in "$@"; do
		[ -n "${best[$name]:-}" ] || lab_die "not even $UDP_LEAST Mbit/s of UDP over $name"
		note "$name" "$UDP_AS" "${best[$name]}"
		note "$name" "${UDP_AS}cpu" "${cpu[$name]}"
		note "$name" "${UDP_AS}busy" "${busy[$name]}"
	done
	[ "$UDP_AS" = udp ] || return 0
	half=$(printf '%s\n' "${best[@]}" | sort -g | awk 'NR == 1 { printf "%.1f", $1 * 500 }')
	for name in "$@"; do
		udp_passes "$name" "$half"
		[ -n "$CPU" ] || continue # else what arrived counts
		note "$name" halfcpu "$CPU"
		note "$name" halfbusy "$BUSY"
	done
}

# the_machine: what the figures depend on
the_machine() {
	echo "$(date -u +%F); $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores for all" \
		"of it; kernel $(uname -r); load average $LOAD before the run"
}

what_they_are() {
	local name
	for name in ${ONLY//,/ }; do
		[ -z "${IS[$name]:-}" ] || echo "$name: ${IS[$name]}"
	done
}
