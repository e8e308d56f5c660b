# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# wireguard-go as a peer to talk to and to be measured against; to be sourced after lab.sh.

# wg_go_find: the newest wireguard-go that there is to have, in WG_GO, and what it is in WG_GO_IS.
# Newest: the Go module, where a Go of 1.23 or later is installed; else Debian's package.
wg_go_find() {
	local bin=${WARREN_CACHE:-/var/cache/warren}/bin minor
	minor=$(go version 2>/dev/null | sed -n 's/.*go1\.\([0-9]*\).*/\1/p')
	if [ ! -x "$bin/wireguard" ] && [ "${minor:-0}" -ge 23 ]; then
		mkdir -p "$bin"
		GOTOOLCHAIN=local GOBIN=$bin go install golang.zx2c4.com/wireguard@latest >&2
	fi
	if [ -x "$bin/wireguard" ]; then
		WG_GO=$bin/wireguard
		WG_GO_IS="wireguard-go $(go version -m "$WG_GO" 2>/dev/null | awk '$1 == "mod" { print $3 }')"
	elif WG_GO=$(command -v wireguard-go); then
		WG_GO_IS="$("$WG_GO" --version 2>/dev/null | head -n 1) (Debian's)"
	else
		return 1
	fi
}

# wg_go_start NODE INTERFACE: brings a bare interface up; the process is in LAB_PID.
wg_go_start() {
	local sock=$LAB_DIR/node/$1/run/wireguard/$2.sock
	lab_spawn "$1" "$LAB_DIR/$1.$2.log" env LOG_LEVEL=error WG_PROCESS_FOREGROUND=1 "$WG_GO" -f "$2"
	lab_wait 10 "[ -S '$sock' ]" || lab_die "wireguard-go does not start: $(cat "$LAB_DIR/$1.$2.log")"
}

# wg_pair PRIVATE-FILE: makes a key pair: the private key in FILE, the public one in FILE.pub.
wg_pair() {
	(umask 077 && wg genkey >"$1")
	wg pubkey <"$1" >"$1.pub"
}

# wg_bare NODE INTERFACE PROGRAM: a bare interface of `go` or `warren`; the process is in LAB_PID.
wg_bare() {
	if [ "$3" = go ]; then
		wg_go_start "$1" "$2"
		return
	fi
	lab_spawn "$1" "$LAB_DIR/$1.$2.log" "$WARREN" --foreground "$2"
	lab_wait 10 "[ -S '$LAB_DIR/node/$1/run/wireguard/$2.sock' ]" ||
		lab_die "warren does not start: $(cat "$LAB_DIR/$1.$2.log")"
}

# wg_of NODE ARG…: wg(8) there. A node's keys are in $LAB_DIR/NODE.key and NODE.key.pub.
wg_of() {
	local node=$1
	shift
	lab_exec "$node" wg "$@"
}

wg_pub() {
	cat "$LAB_DIR/$1.key.pub"
}

# wg_field NODE INTERFACE WHAT PEER: a column of `wg show INTERFACE WHAT`
wg_field() {
	wg_of "$1" show "$2" "$3" | awk -v k="$(wg_pub "$4")" '$1 == k { $1 = ""; sub(/^ /, ""); print }'
}

# wg_stamp NODE INTERFACE: the time of the latest handshake with its first peer in milliseconds
wg_stamp() {
	printf 'get=1\n\n' | lab_exec "$1" timeout 5 socat -t 2 - "UNIX-CONNECT:/var/run/wireguard/$2.sock" |
		awk -F= '/^last_handshake_time_sec/ { s = $2 } /^last_handshake_time_nsec/ { printf "%.0f\n", s * 1000 + $2 / 1000000; exit }'
}

# wg_packets NODE INTERFACE: packets that came out of the tunnel there
wg_packets() {
	lab_in "$1" cat "/sys/class/net/$2/statistics/rx_packets"
}

# wg_drops NODE INTERFACE REASON: how many a warren has dropped for it
wg_drops() {
	lab_exec "$1" env WARREN_INTERFACE="$2" "$WARREN" status --json | jq ".drops.$3 // 0"
}

# wg_replay NODE CAPTURE FROM ADDRESS PORT: sends each UDP payload that FROM sent in CAPTURE anew.
wg_replay() {
	lab_exec "$1" python3 - "${@:2}" <<-'PY'
		import socket, struct, sys
		capture, sender, address, port = sys.argv[1:]
		data, at, sent = open(capture, "rb").read(), 24, 0
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		while at < len(data):
		    (size,) = struct.unpack("<I", data[at + 8 : at + 12])
		    frame, at = data[at + 16 : at + 16 + size], at + 16 + size
		    if frame[26:30] == socket.inet_aton(sender) and frame[23] == 17:
		        s.sendto(frame[42:], (address, int(port)))
		        sent += 1
		sys.exit(sent == 0)
	PY
}
