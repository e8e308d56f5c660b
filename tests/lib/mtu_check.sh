# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# What the scripts about path MTU ask; to be sourced after lab.sh, check.sh and warren.sh.

MTU_LIB=$(cd "${BASH_SOURCE[0]%/*}" && pwd)

not() {
	! "$@"
}

# --- what passes between two hosts, by ping; no gateway needed

# ping_df FROM ADDRESS BYTES [MODE]: an IP packet of so many bytes with DF (MODE `dont`: without)
# goes there and is answered.
ping_df() {
	local head=28
	[[ $2 != *:* ]] || head=48
	lab_exec "$1" ping -c 1 -W 0.4 -M "${4:-do}" -s $(($3 - head)) "$2"
}

# ping_says FROM ADDRESS BYTES TEXT: the ping is not answered, and TEXT is why
ping_says() {
	if ping_df "$1" "$2" "$3" >"$LAB_DIR/ping" 2>&1 || ! grep -q "$4" "$LAB_DIR/ping"; then
		cat "$LAB_DIR/ping"
		return 1
	fi
}

# ping_lost FROM ADDRESS BYTES [MODE]: no answer, and nobody says why
ping_lost() {
	if ping_df "$@" >"$LAB_DIR/ping" 2>&1 || grep -qi -e error -e 'frag needed' -e 'too big' "$LAB_DIR/ping"; then
		cat "$LAB_DIR/ping"
		return 1
	fi
}

# --- datagrams of many sizes, and a connection that goes on

# echo_start NODE: the server of echo_sizes, on port 7007
echo_start() {
	lab_spawn "$1" "$LAB_DIR/$1.echo" python3 "$MTU_LIB/echo.py" serve 7007
	lab_wait 10 "lab_in $1 ss -Huln | grep -q ':7007 '" || lab_die "no echo: $(cat "$LAB_DIR/$1.echo")"
}

# echo_sizes FROM ADDRESS SIZES… (see echo.py, whose options may stand before the sizes)
echo_sizes() {
	local from=$1 to=$2
	shift 2
	lab_exec "$from" timeout 150 python3 "$MTU_LIB/echo.py" check "$to" 7007 "$@"
}

# flow_start FROM TO ADDRESS BYTES-PER-S: a TCP connection, until flow_end
flow_start() {
	FLOW_PORT=$((20000 + RANDOM % 20000)) FLOW_FROM=$1
	FLOW_LOG=$LAB_DIR/flow.$FLOW_PORT
	lab_spawn "$2" "$FLOW_LOG.received" python3 "$MTU_LIB/flow.py" receive $FLOW_PORT "$FLOW_LOG"
	FLOW_RECEIVER=$LAB_PID
	lab_wait 10 "lab_in $2 ss -Hltn | grep -q ':$FLOW_PORT '" || lab_die "no flow: $(cat "$FLOW_LOG.received")"
	lab_spawn "$1" "$FLOW_LOG.sent" python3 "$MTU_LIB/flow.py" send "$3" $FLOW_PORT "$4"
	FLOW_SENDER=$LAB_PID
	lab_wait 10 "[ -s '$FLOW_LOG' ]"
}

# flow_bytes: how many have arrived
flow_bytes() {
	awk 'NF == 2 { n = $2 } END { print n + 0 }' "$FLOW_LOG"
}

# flow_gap SINCE [UNTIL]: the longest silence, in seconds, between two moments (values of EPOCHREALTIME)
flow_gap() {
	python3 "$MTU_LIB/flow.py" gap "$FLOW_LOG" "$@"
}

# flow_mss: the MSS that the sender's kernel works with
flow_mss() {
	lab_in "$FLOW_FROM" ss -Htin "dport = :$FLOW_PORT" | sed -n 's/.* mss:\([0-9]*\).*/\1/p'
}

# flow_end: true when all that was sent has arrived
flow_end() {
	lab_stop "$FLOW_SENDER"
	lab_wait 30 "! kill -0 $FLOW_RECEIVER" || lab_stop "$FLOW_RECEIVER" KILL
	[ -s "$FLOW_LOG.sent" ] && cmp -s "$FLOW_LOG.sent" "$FLOW_LOG.received" && return
	echo "sent $(tail -n 1 "$FLOW_LOG.sent"), received $(tail -n 1 "$FLOW_LOG.received")"
	return 1
}

# --- what the gateway and the kernel say

# peer_status NODE PEER FILTER
peer_status() {
	status "$1" ".peers[] | select(.id == \"$2\") | $3"
}

# path_mtu NODE PEER direct|direct6|relay: the outer packet that passes, once the search is over
path_mtu() {
	peer_status "$1" "$2" ".paths[] | select($(path_is "$2" "$3")) |
		select(.mtu_state == \"complete\" or .mtu_state == \"error\") | .mtu"
}

# path_is PEER KIND: a jq condition: the relay's path, or the one to the outer address of the peer's site
path_is() {
	case $2 in
	direct) echo ".kind == \"direct\" and (.endpoint | startswith(\"${LAB_PUBLIC[$1]}:\"))" ;;
	direct6) echo ".kind == \"direct\" and (.endpoint | startswith(\"[${MTU_ADDR6[$1]}]\"))" ;;
	relay) echo '.kind == "relay"' ;;
	esac
}

# paths_of NODE PEER: all of that in one line
paths_of() {
	peer_status "$1" "$2" '.paths[] |
		"\(.kind)\(if .in_use then "*" else "" end) \(.endpoint) \(.mtu) \(.mtu_state), \(.mtu_reason);"' |
		tr '\n' ' '
	echo "route $(route_mtu "$1" "$(peer_status "$1" "$2" .ip)"), IPv6 $(route_mtu "$1" "$(status "$2" .ip6)")"
}

# route_mtu NODE ADDRESS: the MTU that the kernel goes by. "mtu lock 516": a segment was on its way down when the
# route shrank, and the kernel has told itself; less than net.ipv4.route.min_pmtu, it goes by it without DF.
route_mtu() {
	lab_in "$1" ip route get "$2" | sed -n 's/.* mtu \(lock \)\?\([0-9]*\).*/\2/p'
}

# inner_of PATH-MTU KIND: the largest packet in one piece inside
inner_of() {
	case $2 in
	direct) echo $(($1 - 60)) ;;
	direct6) echo $(($1 - 80)) ;;
	relay) echo $(($1 - 88)) ;;
	esac
}

# --- checks, each a line or some

# check_found SECONDS FROM TO KIND N WHAT: the search finds N, and it becomes the routes' MTU
check_found() {
	local from=$2 to=$3 kind=$4 n=$5 what=$6 inner ip ip6
	inner=$(inner_of "$n" "$kind")
	ip=$(node_ip "$to") ip6=$(status "$to" .ip6)
	check_wait "$1" "$what: $from → $to: $n bytes pass, exactly" \
		"[ \"\$(path_mtu $from $to $kind)\" = $n ]" "paths_of $from $to" || return 1
	check_wait 5 "$what: $from → $to: MTU $inner in the kernel" "[ \"\$(route_mtu $from $ip)\" = $inner ] &&
		[ \"\$(route_mtu $from $ip6)\" = $((inner < 1280 ? 1280 : inner)) ]" "paths_of $from $to"
}

# check_pings FROM ADDRESS INNER WHAT: what fits, what the kernel refuses, and what it cuts up
check_pings() {
	local what="$4: ping from $1"
	check "$what: $3 bytes with DF" ping_often "$1" "$2" "$3"
	check "$what: one more is refused here" ping_says "$1" "$2" $(($3 + 1)) "message too long, mtu=$3"
	check "$what: 9000 without DF" ping_often "$1" "$2" 9000 dont
}

# ping_often: ping_df, up to three times: one may be under way while a path changes
ping_often() {
	ping_df "$@" || ping_df "$@" || ping_df "$@"
}

# check_carries FROM TO SIZES… : datagrams of these sizes, and TCP both ways by hash (CARRY_WHAT says where)
check_carries() {
	local from=$1 to=$2 ip back
	shift 2
	ip=$(node_ip "$to") back=$(node_ip "$from")
	check "$CARRY_WHAT: UDP $from ⇄ $to, sizes $*" echo_sizes "$from" "$ip" "$@"
	check "$CARRY_WHAT: TCP $from → $to" transfer "$from" "$to" "$ip" 8388608
	check "$CARRY_WHAT: TCP $to → $from" transfer "$to" "$from" "$back" 8388608
}
