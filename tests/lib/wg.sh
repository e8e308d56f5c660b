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
