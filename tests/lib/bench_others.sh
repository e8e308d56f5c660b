# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# `tests/bench.sh others`: nebula and boringtun beside warren and wireguard-go; to be sourced after
# bench_variants.sh. Each comes by its language's own client into ${WARREN_CACHE:-/var/cache/warren}/bin,
# where it stays; where it cannot be had the run says why and goes on without it.

BENCH_OTHERS_NAMES=bare,warren,wireguard-go,nebula,boringtun
OTHERS_BIN=${WARREN_CACHE:-/var/cache/warren}/bin

# nebula_find: NEBULA, of the newest release that installs with this Go
nebula_find() {
	local version module=github.com/slackhq/nebula
	NEBULA=$OTHERS_BIN/nebula
	[ ! -x "$NEBULA-cert" ] || return 0
	command -v go >/dev/null || { echo "no Go here" && return 1; }
	export GOTOOLCHAIN=local GOBIN=$OTHERS_BIN
	mkdir -p "$GOBIN"
	for version in $(cd / && go list -m -versions "$module" 2>/dev/null | tr ' ' '\n' | grep '^v' | tac | head -n 6); do
		# the second one last: it is what says that both are there
		timeout 600 go install "$module/cmd/nebula@$version" >&2 &&
			timeout 600 go install "$module/cmd/nebula-cert@$version" >&2 && return
	done
	echo "no release of it installs with $(go version | cut -d' ' -f3)"
	return 1
}

# boringtun_find: BORINGTUN
boringtun_find() {
	BORINGTUN=$OTHERS_BIN/boringtun-cli
	[ ! -x "$BORINGTUN" ] || return 0
	command -v cargo >/dev/null || { echo "no cargo here" && return 1; }
	timeout 900 cargo install -q --locked --root "${OTHERS_BIN%/bin}" boringtun-cli >&2 && return
	echo "it does not install with $(cargo --version)"
	return 1
}

others_start() {
	local name why
	for name in nebula boringtun; do
		wanted $name || continue
		"${name}_find" >"$LAB_DIR/why" && continue
		why=$(cat "$LAB_DIR/why")
		echo "skip - $name: $why"
		without $name
	done
	start_all
	memory_watch
}

others_round() {
	local name
	# shellcheck disable=SC2086 # a list
	measure_ping ${ONLY//,/ }
	for name in ${ONLY//,/ }; do
		measure_tcp "$name" 1
		measure_tcp "$name" 4
	done
}

others_end() {
	memory_note
}

# others_tables: and the picture, of the same figures
others_tables() {
	local name ratios=()
	for name in ${ONLY//,/ }; do
		[ "$name" = bare ] || [ "$name" = warren ] || ratios+=("warren/$name")
	done
	python3 lib/bench_table.py "$OUT" "${ratios[@]}"
	[ -z "$BENCH_SVG" ] || python3 lib/bench_svg.py "$OUT" "$BENCH_SVG" \
		"$(the_machine); median of $ROUNDS rounds of $SECS s, with the least and the largest" \
		"$(what_they_are | sed 's/^[^:]*: //' | paste -sd ';' | sed 's/;/; /g')"
}
