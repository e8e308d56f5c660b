#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 150
#
# The logs of a network at debug level, through joins, refusals, hostile words, deaths and floods: each line
# is a line (in JSON an object with five members), a flood is some lines and a count, a reader that stops
# stops nobody, and no secret is in any.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init logs
warren_need

export WARREN_LOG_LEVEL=debug
lab_public_host rv $RV_ADDR
lab_public_host a 203.0.113.21
lab_public_host b 203.0.113.22
lab_public_host c 203.0.113.23
WARREN_LOG_FORMAT=json rv_start

"$WARREN" genkey >"$LAB_DIR/a.private"
node_start a WARREN_LOG_FORMAT=json TRINO_MODE=true WARREN_KEY=@"$LAB_DIR/a.private" TRINO_COORDINATOR_ID=a
node_start b
check_wait 20 "both have joined" 'node_up a && node_up b' "tail -qn 2 $LAB_DIR/[ab].log" || finish
check_wait 20 "they talk" 'reach a "$(node_ip b)"'

# A Trino whose words are not nice
cat >"$LAB_DIR/trino.py" <<-'PY'
	import json, sys
	from http.server import BaseHTTPRequestHandler, HTTPServer
	VERSION = "4\n76\r\x1b[2J\u202e\u2028\"},{\"level\":\"error\"\u0085"
	class Handler(BaseHTTPRequestHandler):
	    def do_GET(self):
	        facts = {"internalAddress": sys.argv[1], "nodeVersion": {"version": VERSION},
	                 "environment": "x\ny", "coordinator": True}
	        body = json.dumps(facts).encode()
	        self.send_response(200)
	        self.send_header("Content-Length", str(len(body)))
	        self.end_headers()
	        self.wfile.write(body)
	    def log_message(self, *ignored):
	        pass
	HTTPServer(("127.0.0.1", 8081), Handler).serve_forever()
PY
lab_spawn a /dev/null python3 "$LAB_DIR/trino.py" "$(node_ip a)"
TRINO=$LAB_PID
check_wait 15 "its words are in the log" "grep -q 'Trino on this node is up.*version 4?76' '$LAB_DIR/a.log'" "tail -n 3 '$LAB_DIR/a.log'"

# Requests: a slug that is as good as a key, a password, bytes of all kinds
SLUG=y2f8b1c0d9e7a6b5c4d3e2f1a0b9c8d7e PASSWORD=correct-horse-battery
requests() {
	lab_exec a curl -s -m 5 -o /dev/null "http://localhost:8080/v1/statement/executing/20260101_000000/$SLUG/1"
	lab_exec a curl -s -m 5 -o /dev/null "http://localhost:8080/v1/info?password=$PASSWORD"
	lab_exec a curl -s -m 5 -o /dev/null -u "u:$PASSWORD" http://localhost:8080/v1/info
	printf 'GET /\x1b[2J"\\\xe2\x80\xae%%0a HTTP/1.1\r\nHost: localhost\r\n\r\n' | lab_exec a timeout 5 nc -q 1 localhost 8080 >/dev/null
	head -c 300 /dev/urandom | lab_exec a timeout 5 nc -q 1 localhost 8080 >/dev/null
}
requests
check_wait 5 "a request is logged by its first parts" "grep -q 'GET /v1/statement\"' '$LAB_DIR/a.log'" "tail -n 3 '$LAB_DIR/a.log'"

# Refusals that have a secret at hand
PSK=$("$WARREN" genpsk)
PEER=$("$WARREN" genkey)
refusals() {
	lab_exec b wg set warren0 peer "$("$WARREN" pubkey <<<"$PEER")" preshared-key <(echo "$PSK") allowed-ips 10.98.0.0/24
	lab_exec b wg set warren0 private-key <(echo "$PEER")
	lab_exec b wg set warren0 peer "$(lab_exec b wg show warren0 peers | head -n 1)" preshared-key <(echo "$PSK")
	printf '[Interface]\nPrivateKey = %s\n[Peer]\nPresharedKey = %s\nAllowedIPs = nonsense\n' "$PEER" "$PSK" >"$LAB_DIR/c.conf"
	lab_exec c "$WARREN" up "$LAB_DIR/c.conf"
	printf 'WARREN_JOIN=%s\n%s\n' "$TOKEN" "$TOKEN" >"$LAB_DIR/c.settings"
	lab_exec c "$WARREN" up --config "$LAB_DIR/c.settings"
	lab_exec c env WARREN_JOIN="${TOKEN:0:-1}" "$WARREN" up
	lab_exec c env WARREN_LOG_FORMAT=json WARREN_JOIN="${TOKEN:0:-1}" "$WARREN" up
	lab_exec c env WARREN_LOG_FORMAT=json "$WARREN" up --no-such-option "$TOKEN"
	lab_exec c "$WARREN" up --key "$PEER" --join "$TOKEN" --port none
	lab_exec c timeout 20 env WARREN_JOIN="$TOKEN" WORKER_ID=b "$WARREN" up
	lab_exec c env WARREN_JOIN="$TOKEN" WORKER_ID=$'x\ny"}' WARREN_LOG_FORMAT=json "$WARREN" up
} >"$LAB_DIR/refusals.log" 2>&1
refusals
grep '^{' "$LAB_DIR/refusals.log" >"$LAB_DIR/refusals.json.log"
grep -v '^{' "$LAB_DIR/refusals.log" >"$LAB_DIR/refusals.text.log"
check "what is wrong with settings is JSON where JSON is asked for ($(wc -l <"$LAB_DIR/refusals.json.log") lines)" \
	test "$(wc -l <"$LAB_DIR/refusals.json.log")" = 3

# Deaths: the gateway of a, the rendezvous
GATEWAY=$(lab_in a ss -Hulnp | sed -n 's/.*"warren[^"]*",pid=\([0-9]*\).*/\1/p' | head -n 1)
kill -KILL "$GATEWAY"
check_wait 10 "a killed gateway is back, and the log says so" "grep -q 'the gateway ended (signal 9, Killed)' '$LAB_DIR/a.log' && node_up a"
lab_stop "$RV_PID" KILL
WARREN_LOG_FORMAT=json rv_start
# both: whoever joins before b is back learns of b only then
check_wait 60 "a and b are known again after a new start of the rendezvous" '[ "$(rv_status "[.members[] | select(.online).id] | sort | join(\" \")")" = "a b" ]'

# A flood of one kind: the coordinator's Trino is gone, and everybody asks for it
lab_stop "$TRINO" KILL
flood() {
	lab_exec a sh -c 'for i in 1 2 3 4 5 6; do for k in 1 2 3 4 5 6 7 8 9 10; do
		curl -s -m 5 -o /dev/null "http://localhost:8080/v1/query/$k" & done; wait; done'
}
flood
check "sixty refusals are one line" test "$(grep -c 'refused a request: ' "$LAB_DIR/a.log")" = 1

# A reader that has stopped: the log waits for nobody
mkfifo "$LAB_DIR/pipe"
python3 -c 'import fcntl, os, sys, time
fcntl.fcntl(os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK), fcntl.F_SETPIPE_SZ, 4096)
time.sleep(60)' "$LAB_DIR/pipe" &
SLEEPER=$!
LAB_PIDS+=("$SLEEPER")
lab_spawn c "$LAB_DIR/pipe" env WARREN_JOIN="$TOKEN" WORKER_ID=c TRINO_MODE=true "$WARREN" up
check_wait 20 "a gateway whose log nobody reads has joined" 'node_up c' "ls -l $LAB_DIR/pipe"
lab_exec c sh -c 'for i in $(seq 1500); do echo "GET /v1/info/$i HTTP/1.1\r\nHost: localhost\r\n\r"; done | timeout 20 nc -q 1 localhost 8080 | wc -c' \
	>/dev/null
c_talks() {
	reach c "$(node_ip b)" && [ "$(lab_exec c curl -s -m 5 -o /dev/null -w '%{http_code}' http://localhost:8080/warren/status)" = 200 ]
}
check_wait 10 "its shim and its tunnel go on" c_talks
kill "$SLEEPER"

# The ends, too
lab_stop "$RV_PID"
for node in a b c; do
	pid=${NODE_PID[$node]:-$LAB_PID}
	[ "$node" = c ] || lab_stop "$pid"
done
check "the end tells how many were left out" grep -qE '… and 59 more like this in [0-9]+ s: refused a request' "$LAB_DIR/a.log"

JSON_LOGS=("$LAB_DIR/a.log" "$LAB_DIR/rv.log" "$LAB_DIR/refusals.json.log")
TEXT_LOGS=("$LAB_DIR/b.log" "$LAB_DIR/refusals.text.log")
json_lines() {
	jq -es 'all(.[]; (keys == ["level", "message", "process", "time", "worker"]) and (.message | type == "string")
		and (.time | test("^20[0-9-]{8}T[0-9:.]{12}Z$")) and (.level | IN("debug", "info", "warning", "error")))' "$1" >/dev/null
}
for log in "${JSON_LOGS[@]}"; do
	check "$(basename "$log"): $(wc -l <"$log") lines, each an object of five members" json_lines "$log"
	check "$(basename "$log"): as many objects as lines" test "$(jq -c . "$log" | wc -l)" = "$(wc -l <"$log")"
done
processes() {
	[ "$(jq -r .process "$LAB_DIR/a.log" | sort -u | tr '\n' ' ')" = 'gateway launcher shim ' ] &&
		[ "$(jq -r .worker "$LAB_DIR/a.log" | sort -u)" = a ] && [ "$(jq -r .worker "$LAB_DIR/rv.log" | sort -u)" = null ]
}
check "a's say which process, and a; the rendezvous' no worker" processes
text_lines() {
	! grep -nvE '^(20[0-9-]{8}T[0-9:.]{12}Z [A-Za-z0-9_-]+ (debug|info|warning|error): |warren: )' "$LAB_DIR/b.log"
}
check "b.log: each line begins with time, worker id and level" text_lines
no_control() {
	! LC_ALL=C grep -lP '[\x00-\x08\x0b-\x1f\x7f]' "${JSON_LOGS[@]}" "${TEXT_LOGS[@]}"
}
check "no control character in any" no_control

SECRETS=("$RV_STATE" "$LAB_DIR/node/a/lib/warren/$NETWORK" "$LAB_DIR/node/b/lib/warren/$NETWORK" -- "$TOKEN" "${TOKEN:0:40}" "$PSK" "$PEER"
	"$(cat "$LAB_DIR/a.private")" "$SLUG" "$PASSWORD" --)
check "no secret in any log" lib/log_secrets.py "${SECRETS[@]}" "${JSON_LOGS[@]}" "${TEXT_LOGS[@]}"
# and the search finds one that is there, whatever it is written in
leak() {
	python3 -c 'import base64, sys; k = base64.b64decode(sys.argv[1]); print("key", k.hex() if sys.argv[2] == "hex" else base64.urlsafe_b64encode(k).decode())' \
		"$(cat "$LAB_DIR/a.private")" "$1" >"$LAB_DIR/leak.log"
	lib/log_secrets.py "${SECRETS[@]}" "$LAB_DIR/leak.log" | grep 'leak.log: the private key in'

}
check "the search would find one in hex" leak hex
check "and in base64" leak base64
finish
