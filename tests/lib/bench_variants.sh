# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# Two machines and one cable for each variant, and what makes a tunnel of it; to be sourced after
# bench_measure.sh. Each has machines of its own: warren would take the way through another's tunnel
# for one more path, and may prefer it. NAME's are NAME-a, which sends, and NAME-b.

# wire NAME
wire() {
	lab_ns "$1-a"
	lab_ns "$1-b"
	lab_node "$1-a"
	lab_node "$1-b"
	ip -n "$LAB$1-a" link add eth0 type veth peer name eth0 netns "$LAB$1-b"
	ip -n "$LAB$1-a" addr add 203.0.113.10/24 dev eth0
	ip -n "$LAB$1-b" addr add 203.0.113.20/24 dev eth0
	ip -n "$LAB$1-a" link set eth0 up
	ip -n "$LAB$1-b" link set eth0 up
	serve "$1-b"
	FROM[$1]=$1-a
}

# start_all: every variant of ONLY, up and reached
start_all() {
	local name
	for name in ${ONLY//,/ }; do
		wire "$name"
		"start_${name//-/_}" "$name"
		lab_wait 20 "lab_in ${FROM[$name]} ping -c1 -W1 ${TARGET[$name]}" || lab_die "no ping over $name"
	done
}

# without NAME: takes it off the list
without() {
	ONLY=,$ONLY,
	ONLY=${ONLY/,$1,/,}
	ONLY=${ONLY#,} ONLY=${ONLY%,}
}

start_bare() {
	TARGET[$1]=203.0.113.20
}

# --- warren, joined by a token as anybody would, with the rendezvous beside one of the two

start_warren() {
	local n
	RV_NODE=$1-a NETWORK=bench
	rv_start
	for n in a b; do
		node_start "$1-$n" "${@:2}"
		PIDS[$1]+=" $LAB_PID"
	done
	lab_wait 20 "node_up $1-a && node_up $1-b" || lab_die "$1 does not come up: $(tail -n 3 "$LAB_DIR/$1"-[ab].log)"
	lab_wait 30 "[ \$(path_of $1-a $1-b)\$(path_of $1-b $1-a) = directdirect ]" ||
		lab_die "no direct path: $(status "$1-a" '.peers')"
	lab_wait 30 "[ \$(mtu_known $1-a)\$(mtu_known $1-b) = 15001500 ]" || lab_die "no path MTU: $(status "$1-a" '.peers')"
	TARGET[$1]=$(node_ip "$1-b")
	IS[$1]="warren $(status "$1-a" .release): $(status "$1-a" .aead)"
}

# What warren is where there is no libipsec-mb, or no AVX-512 for it
start_warren_libcrypto() {
	start_warren "$1" WARREN_AEAD=libcrypto
}

# mtu_known NODE: the MTU of its path in use, once the search is over
mtu_known() {
	status "$1" '.peers[].paths[] | select(.in_use and .mtu_state == "complete") | .mtu'
}

# --- what wg(8) sets

start_wireguard_go() {
	wg_go_find || lab_die "no wireguard-go"
	wg_start() { wg_go_start "$@"; }
	start_wg_pair "$1"
	IS[$1]=$WG_GO_IS
}

start_boringtun() {
	wg_start() {
		lab_spawn "$1" "$LAB_DIR/$1.$2.log" "$BORINGTUN" --foreground --disable-drop-privileges "$2"
		lab_wait 10 "[ -S '$LAB_DIR/node/$1/run/wireguard/$2.sock' ]" ||
			lab_die "boringtun does not start: $(cat "$LAB_DIR/$1.$2.log")"
	}
	start_wg_pair "$1"
	IS[$1]=$("$BORINGTUN" --version)
}

# start_wg_pair NAME: an interface of wg_start NODE INTERFACE at each end, with the same settings
start_wg_pair() {
	local n
	for n in a b; do
		wg_pair "$LAB_DIR/$1-$n.key"
		wg_start "$1-$n" wgbench0
		PIDS[$1]+=" $LAB_PID"
	done
	wg_end "$1-a" 1 "$1-b" 203.0.113.20 2
	wg_end "$1-b" 2 "$1-a" 203.0.113.10 1
	TARGET[$1]=10.66.0.2
}

# wg_end NODE NUMBER PEER ENDPOINT NUMBER
wg_end() {
	lab_exec "$1" wg set wgbench0 listen-port 51820 private-key "$LAB_DIR/$1.key" \
		peer "$(wg_pub "$3")" endpoint "$4:51820" allowed-ips "10.66.0.$5/32"
	ip -n "$LAB$1" addr add "10.66.0.$2/24" dev wgbench0
	ip -n "$LAB$1" link set wgbench0 mtu 1420 up
}

# --- nebula: certificates instead of keys; the largest MTU that fits, and not its default of 1300

start_nebula() {
	local dir=$LAB_DIR/nebula n
	mkdir "$dir"
	"$NEBULA-cert" ca -name bench -out-crt "$dir/ca.crt" -out-key "$dir/ca.key"
	nebula_end "$1" a 1
	nebula_end "$1" b 2
	for n in a b; do
		lab_spawn "$1-$n" "$LAB_DIR/$1-$n.log" "$NEBULA" -config "$dir/$n.yml"
		PIDS[$1]+=" $LAB_PID"
	done
	TARGET[$1]=10.66.0.2
	IS[$1]="nebula $("$NEBULA" -version | sed -n 's/^Version: *//p'), AES-256-GCM"
}

# nebula_end NAME SIDE NUMBER
nebula_end() {
	local dir=$LAB_DIR/nebula
	"$NEBULA-cert" sign -name "$2" -networks "10.66.0.$3/24" -ca-crt "$dir/ca.crt" -ca-key "$dir/ca.key" \
		-out-crt "$dir/$2.crt" -out-key "$dir/$2.key"
	cat >"$dir/$2.yml" <<-YML
		pki: { ca: $dir/ca.crt, cert: $dir/$2.crt, key: $dir/$2.key }
		static_host_map: { "10.66.0.1": ["203.0.113.10:4242"], "10.66.0.2": ["203.0.113.20:4242"] }
		lighthouse: { am_lighthouse: false }
		listen: { host: 0.0.0.0, port: 4242 }
		tun: { dev: nebula1, mtu: 1440 }
		logging: { level: warning }
		firewall:
		  outbound: [{ port: any, proto: any, host: any }]
		  inbound: [{ port: any, proto: any, host: any }]
	YML
}
