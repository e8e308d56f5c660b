#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 280
#
# Gateway, shim, helper and keeper of both ends, killed at random moments (KILLS times, 60 unless said; by hand
# 1,000) under a transfer of 1 GiB and under HTTP requests: another is there within a second, all bytes
# arrive, no request is answered wrongly, and nothing is left of those that died.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/transfer.sh
lab_init kills
warren_need
KILLS=${KILLS:-60}
SEED=${SEED:-$((EPOCHSECONDS % 32768))}
RANDOM=$SEED
echo "SEED=$SEED"

lab_public_host rv $RV_ADDR
lab_site c1 portrestricted 203.0.113.21
lab_site w1 portrestricted 203.0.113.22
rv_start
node_start c1 TRINO_MODE=true -- python3 "$PWD/lib/slow_http.py" 8081
node_start w1 TRINO_MODE=true TRINO_COORDINATOR_ID=c1 -- sleep 100000
check_wait 20 "both have joined" 'node_up c1 && node_up w1' "tail -qn 3 $LAB_DIR/[cw]1.log" || finish
C1=$(node_ip c1) W1=$(node_ip w1)

ask() {
	lab_exec w1 curl -sf -m "${2:-10}" "http://localhost:8080/v1/query/$1"
}

# picture NODE: what could leak: routes, addresses, rules, tables, links, files, sockets, children, and the
# descriptors of those that stay and of those that were made anew
picture() {
	local name
	lab_in "$1" ip -o link show | sed 's/^[0-9]*: //; s/@.*//; s/:* .*//'
	lab_in "$1" ip -o addr show | awk '{ print $2, $4 }' | grep -v 'fe80::'
	lab_in "$1" ip -4 route show table all | sed 's/ \(mtu\|advmss\) [0-9]*//g'
	lab_in "$1" ip -6 route show table all | grep -v 'fe80::\|ff00::' | sed 's/ \(mtu\|advmss\) [0-9]*//g'
	lab_in "$1" ip rule show
	lab_in "$1" nft list ruleset | sed 's/packets.*//; s/# .*//'
	(cd "$LAB_DIR/node/$1/run" && find . | sort)
	(cd "$LAB_DIR/node/$1/lib" && find . | sort)
	for name in $(ip netns pids "$LAB$1"); do cat "/proc/$name/comm" 2>/dev/null; done | sort
	lab_in "$1" ss -Haunlp | awk '{ print $4 }' | sort
	for name in gateway shim helper keeper; do
		echo "$name $(find "/proc/$(process_of "$1" "warren-$name")/fd" -mindepth 1 | wc -l)"
	done
	echo "launcher $(find "/proc/${NODE_PID[$1]}/fd" -mindepth 1 | wc -l)"
	find "/proc/${NODE_PID[$1]}/task/${NODE_PID[$1]}" -name children -exec cat {} + | wc -w
}

# namespaces: those of this script's warrens (others on the machine may come and go)
namespaces() {
	local exe
	for exe in /proc/[0-9]*/exe; do
		[ "$(readlink "$exe")" != "$WARREN" ] || find "${exe%/exe}/ns" -printf '%l\n'
	done 2>/dev/null | sort -u | wc -l
}

# pictures FILE: of both, once they are as before, and within 20 s
pictures() {
	picture w1 >"$1.w1"
	picture c1 >"$1.c1"
}
same_pictures() {
	pictures "$LAB_DIR/now"
	diff "$LAB_DIR/before.w1" "$LAB_DIR/now.w1" && diff "$LAB_DIR/before.c1" "$LAB_DIR/now.c1"
}

launcher_memory() {
	awk '/^RssAnon/ { print $2 }' "/proc/${NODE_PID[w1]}/status"
}

# In ms: what the clock of uptime says; when a process began.
uptime_now() {
	awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}
began_at() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return
	# shellcheck disable=SC2086 # fields; the name in brackets has no space
	set -- $stat
	echo $((${22} * 10))
}

# kill_one: somebody, at a random moment; prints what was not back within a second
kill_one() {
	local node=c1 name=gateway old new killed took=none
	[ $((RANDOM % 3)) = 0 ] || node=w1
	case $((RANDOM % 6)) in
	0 | 1) name=shim ;;
	2) name=helper ;;
	3) name=keeper ;;
	esac
	old=$(process_of $node "warren-$name")
	[ -n "$old" ] || { echo "$node has no $name"; return; }
	[ "$node $name" != "w1 shim" ] || echo "$EPOCHREALTIME" >>"$LAB_DIR/shim-kills"
	killed=$(uptime_now)
	kill -KILL "$old"
	lab_wait 5 "new=\$(process_of $node warren-$name) && [ -n \"\$new\" ] && [ \"\$new\" != $old ]"
	[ -z "$new" ] || took=$(($(began_at "$new") - killed))
	echo "$took" >>"$LAB_DIR/times"
	[ "$took" != none ] && [ $took -le 1000 ] || echo "another $name of $node came after $took ms"
	sleep 0.$((RANDOM % 6))
}

# Requests one after the other: each is answered whole, or cut by a shim that died under it. What finds no
# shim is refused by the kernel, what finds no way to the coordinator by a 50x; both are no wrong answer.
requests() {
	local code n=0
	while [ ! -e "$LAB_DIR/done" ]; do
		n=$((n + 1))
		code=$(lab_exec w1 curl -s -m 30 -o "$LAB_DIR/answer" -w '%{http_code} %{exitcode}' http://localhost:8080/v1/query/2)
		if [ "$code" = "200 0" ] && ! diff -q "$LAB_DIR/answer" <(seq -f %09.0f 0 19) >/dev/null; then
			echo "request $n has a wrong answer"
		fi
		echo "$code" >>"$LAB_DIR/codes"
	done
}

# A connection lives through all of it; a new one finds no route while there is no gateway.
moving() {
	local n=0
	until [ $n -gt 0 ] && [ -e "$LAB_DIR/done" ]; do
		n=$((n + 1))
		transfer w1 c1 "$C1" 1073741824 "${RATE:-16000000}" 10 || return 1
	done
}

check_wait 20 "they talk directly, and by the shim, and have noted each other" "[ -s $LAB_DIR/node/c1/lib/warren/lab/members ] &&
	[ -s $LAB_DIR/node/w1/lib/warren/lab/members ] && reach w1 $C1 && [ \"\$(path_of w1 c1)\" = direct ] && ask 0"
pictures "$LAB_DIR/before"
NAMESPACES=$(namespaces) MEMORY=$(launcher_memory)
moving >"$LAB_DIR/transfer" 2>&1 &
MOVING=$!
requests >"$LAB_DIR/wrong" 2>&1 &
ASKING=$!
transfer_moves w1 "$C1"
for ((i = 0; i < KILLS; i++)); do kill_one; done >"$LAB_DIR/late"
touch "$LAB_DIR/done"
check "$KILLS kills: each time another was there within 1 s (at most $(sort -n "$LAB_DIR/times" | tail -n 1) ms)" diff /dev/null "$LAB_DIR/late"
if wait $MOVING; then
	ok "1 GiB under them arrived with the right hash"
else
	not_ok "1 GiB under them arrived with the right hash" "$(tail -n 3 "$LAB_DIR/transfer")"
fi
wait $ASKING
check "no request was answered wrongly" diff /dev/null "$LAB_DIR/wrong"
check "some were answered whole" grep -qx '200 0' "$LAB_DIR/codes"
check "no more were cut than shims died" test \
	"$(grep -vc '^200 0\|^50[0-9] 0\|^000 7' "$LAB_DIR/codes")" -le "$(wc -l <"$LAB_DIR/shim-kills")"
check_wait 20 "everything is as before: routes, links, tables, files, sockets, children, descriptors" same_pictures same_pictures
check "no namespace more" test "$(namespaces)" -le "$NAMESPACES"
check "the launcher has not grown" test "$(launcher_memory)" -le $((MEMORY + 256))
check "the addresses are the same, and it works" test "$(node_ip w1) $(node_ip c1) $(reach w1 "$C1" >/dev/null && echo yes)" = "$W1 $C1 yes"
sort "$LAB_DIR/codes" | uniq -c | sed 's/^/    /'
lab_stop "${NODE_PID[w1]}" TERM
check "a clean end after all that leaves nothing" test \
	-z "$(ip netns pids "${LAB}w1")$(lab_in w1 ip route show type unreachable)$(lab_in w1 nft list ruleset)"
finish
