#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 700
# alone: Java machines fill two cores
#
# What a real Trino 476 makes of the shim: no coordinator is named and it is found; a worker that
# would announce another address than its virtual one is held back, in words that reach its log; its
# link dies for a while; a launcher that goes into the background is told what to do instead.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
. lib/trino.sh
lab_init shim
warren_need
trino_fetch || lab_die "no Trino"

lab_public_host rv $RV_ADDR
lab_site c1 portrestricted 203.0.113.21
lab_site w1 portrestricted 203.0.113.22
rv_start
trino_node "$LAB_DIR/c1" coordinator
node_start c1 TRINO_MODE=true -- "${TRINO_CMD[@]}"
trino_node "$LAB_DIR/w1" worker
W1_CMD=("${TRINO_CMD[@]}")
sed -i 's/^node.internal-address=.*/node.internal-address=192.168.1.10/; /bind-ip/d' "$LAB_DIR/w1/etc/node.properties"
node_start w1 TRINO_MODE=true -- "${W1_CMD[@]}"
check_wait 30 "both have joined" 'node_up c1 && node_up w1' "tail -qn 2 $LAB_DIR/[cw]1.log" || finish

shim() {
	lab_exec "$1" curl -s -m 5 -o "$LAB_DIR/body" -w '%{http_code}' "${@:2}"
}
check_wait 10 "before Trino is up, /v1/info says starting" \
	"lab_in w1 curl -s -m 5 http://localhost:8080/v1/info | grep -q '\"starting\":true'"
check_wait 240 "the coordinator is found without being named" \
	'[ "$(shim w1 -H "X-Trino-User: warren" http://localhost:8080/v1/query)" = 200 ]' "cat $LAB_DIR/body"
check_wait 60 "w1's own Trino is up" \
	'lab_exec w1 curl -s -m 5 http://localhost:8080/v1/status | grep -q 192.168.1.10'
check_wait 60 "its wrong address is held back in words that reach its log" \
	"grep -hqE 'node.internal-address' $LAB_DIR/w1.log $LAB_DIR/w1/data/var/log/*.log" \
	"grep -ih announce $LAB_DIR/w1.log | tail -n 2"
services() {
	lab_exec c1 curl -s -m 5 -H 'X-Trino-User: warren' http://localhost:8080/v1/service/trino/general
}
check_wait 30 "the coordinator knows itself" 'services | grep -q "\"nodeId\":\"c1\""' services
check "and not the worker" test "$(services | grep -c '"nodeId":"w1"')" = 0

lab_stop "${NODE_PID[w1]}"
trino_node "$LAB_DIR/w1" worker
node_start w1 TRINO_MODE=true -- "${W1_CMD[@]}"
check_wait 240 "with the right address it is" '[ "$(trino_active c1)" = 2 ]' "tail -n 3 $LAB_DIR/w1.log"
check "its uri is its virtual address" grep -q "w1,http://$(node_ip w1):8081" <(trino_sql w1 "$TRINO_NODES")
check "the listing of the shim" grep -q "$(node_ip w1)" <(lab_exec w1 curl -s -m 5 http://localhost:8080/v1/announcement)
check "a foreign host name is refused" test "$(shim w1 -H 'Host: evil.example' http://127.0.0.1:8080/v1/info)" = 421
check "/v1/info is the local Trino's" grep -q '"coordinator":false' <(lab_exec w1 curl -s -m 5 http://localhost:8080/v1/info)

# The rows of a query cross while the rendezvous is gone; only its relay would be missed.
lab_stop "$RV_PID" KILL
check "a query without the rendezvous" test "$(trino_sql w1 'SELECT count(*) FROM tpch.tiny.lineitem')" = 60175
rv_start
check_wait 45 "both are known to it again" '[ "$(rv_status "[.members[] | select(.online)] | length")" = 2 ]'

# The coordinator's gateway ends: a clear 503, and back again
lab_stop "${NODE_PID[c1]}"
check "no coordinator: 503 at once, in words" sh -c "
	code=\$(ip netns exec ${LAB}w1 curl -s -m 5 -o $LAB_DIR/body -w '%{http_code}' -X POST -d 'SELECT 1' http://localhost:8080/v1/statement)
	cat $LAB_DIR/body; [ \$code = 503 ] && [ -s $LAB_DIR/body ]"
node_start c1 TRINO_MODE=true -- "$TRINO_HOME/server/bin/launcher" start --etc-dir "$LAB_DIR/c1/etc" --data-dir "$LAB_DIR/c1/data"
check_wait 30 "launcher start gets a message" "grep -q 'launcher run' $LAB_DIR/c1.log" "tail -n 3 $LAB_DIR/c1.log"
finish
