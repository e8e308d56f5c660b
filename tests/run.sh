#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: tests/run.sh [NAME…]
#
# Every test, or those named: a part (lint build unit net trino), a build (gcc clang asan), a script
# (02-interop, or interop), or one test of the unit suites (its name in meson). Run as root on
# Debian 12 or later; what is missing is installed. docs/testing.md says what is tested where.
#
# The last line is "N passed, N failed" over everything; the status is not 0 when something failed.
# A skipped test says why; where CI=true a skip is a failure.
cd "$(dirname "$0")" || exit 1
TESTS=$PWD
ROOT=$(dirname "$TESTS")
. lib/packages.sh

BUILDS=${WARREN_BUILDS:-$ROOT/build-tests}
LOGS=$BUILDS/logs
PASSED=0 FAILED=0 SKIPPED=0
NAMES=("$@")
declare -A NAMED=()
RED_LINES=()
BEGAN=$SECONDS
JOBS=() # process ids of the scripts under way

# wanted NAME…: does the command line ask for any of these?
wanted() {
	local have name hit=1
	[ ${#NAMES[@]} -gt 0 ] || return 0
	for have in "$@"; do
		for name in "${NAMES[@]}"; do
			[ "$have" = "$name" ] || continue
			NAMED[$name]=1
			hit=0
		done
	done
	return $hit
}

# count LINE: one line of a test's; others are passed over.
count() {
	case $1 in
	*'not ok - '*)
		FAILED=$((FAILED + 1))
		RED_LINES+=("$1")
		;;
	*'ok - '*) PASSED=$((PASSED + 1)) ;;
	*'skip - '*)
		SKIPPED=$((SKIPPED + 1))
		if [ "${CI:-}" = true ]; then
			FAILED=$((FAILED + 1))
			RED_LINES+=("$1")
		fi
		;;
	*) return ;;
	esac
	echo "$1"
}

# one NAME LOG CMD…: a test that is one command; the end of its log is shown when it fails.
one() {
	local name=$1 log=$LOGS/$2
	shift 2
	if "$@" </dev/null >"$log" 2>&1; then
		count "ok - $name"
	else
		count "not ok - $name"
		tail -n 30 "$log" | sed 's/^/    /'
		return 1
	fi
}

# --- the code itself

sources() {
	git -C "$ROOT" ls-files -co --exclude-standard -- "$@" | sed "s|^|$ROOT/|" | while read -r f; do
		[ ! -f "$f" ] || echo "$f"
	done
}

scripts() {
	sources '*.sh' .ci/run
}

shellcheck_all() {
	local list
	mapfile -t list < <(scripts)
	shellcheck -x "${list[@]}"
}

clang_format_all() {
	local list
	mapfile -t list < <(sources '*.c' '*.h')
	clang-format --dry-run -Werror "${list[@]}"
}

man_pages() {
	local page bad=0
	while read -r page; do
		man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null | grep . && bad=1
	done < <(sources 'docs/*.[1-8]')
	return $bad
}

lint() {
	wanted lint || return
	one 'shellcheck finds nothing in the scripts' shellcheck.log shellcheck_all
	one 'clang-format would change nothing' clang-format.log clang_format_all
	one 'the man pages format without a warning' man.log man_pages
}

# --- the builds and their suites

# build NAME CC ARG…
build() {
	local dir=$BUILDS/$1 cc=$2
	shift 2
	if [ ! -f "$dir/build.ninja" ]; then
		rm -rf "$dir"
		CC=$cc meson setup "$dir" "$ROOT" "$@" || return
	else
		meson configure "$dir" "$@" || return
	fi
	ninja -C "$dir" ${TARGET:+"$TARGET"}
}

# suite NAME: the unit, simulated and corpus tests of a build. Each cmocka case counts; a program
# that is not cmocka's counts once.
suite() {
	local name=$1 log=$BUILDS/$1/meson-logs/testlog.json only=()
	[ ${#NAMES[@]} -eq 0 ] || wanted unit "$name" || only=("${NAMES[@]}")
	rm -f "$log"
	ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		meson test -C "$BUILDS/$name" --no-rebuild --print-errorlogs --num-processes "$(nproc)" \
		--timeout-multiplier 3 "${only[@]}" </dev/null >"$LOGS/unit-$name.log" 2>&1
	if [ ! -s "$log" ]; then
		[ ${#only[@]} -gt 0 ] || count "not ok - unit ($name): no test ran"
		return
	fi
	while IFS= read -r line; do
		count "$line"
		line=${line#*ok - }
		NAMED[${line%% *}]=1
	done < <(python3 lib/meson_log.py "$name" "$log")
	! grep -q '"result": "\(FAIL\|ERROR\|TIMEOUT\|INTERRUPT\)"' "$log" || tail -n 60 "$LOGS/unit-$name.log"
}

builds() {
	if wanted build unit gcc || unit_named; then
		one 'builds with gcc, strict' build-gcc.log build gcc gcc -Dwerror=true && suite gcc
	fi
	if wanted build unit clang; then
		one 'builds with clang, strict' build-clang.log build clang clang -Dwerror=true && suite clang
	fi
	if wanted build unit asan; then
		# Not strict: the checks that gcc adds here make its -Wconversion see things.
		one 'builds with ASan and UBSan' build-asan.log build asan gcc -Dwerror=false \
			-Db_sanitize=address,undefined -Db_lundef=false && suite asan
	fi
}

# A name that is neither a part nor a script is one of meson's.
unit_named() {
	local name
	for name in "${NAMES[@]}"; do
		case $name in
		lint | build | unit | gcc | clang | asan | net | trino) ;;
		*) [ -n "$(script_of "$name")" ] || return 0 ;;
		esac
	done
	return 1
}

# --- the scripts

# script_of NAME: the file that a name means, with or without its number
script_of() {
	local f
	for f in net/*.sh trino/[0-9]*.sh; do
		[ -x "$f" ] || continue
		[ "$(basename "$f" .sh)" != "$1" ] && [ "$(basename "$f" .sh | sed 's/^[0-9]*-//')" != "$1" ] || echo "$f"
	done
}

# field FILE KEY DEFAULT: what a script says of itself ("# timeout: 300", "# alone: it measures")
field() {
	local v
	v=$(sed -n "1,30s/^# $2: *//p" "$1" | head -n 1)
	echo "${v:-$3}"
}

script_name() {
	basename "$1" .sh
}

start_script() {
	local log
	log=$LOGS/$(script_name "$1").log
	# shellcheck disable=SC2094 # the status goes behind what the script printed
	{
		WARREN=$BUILDS/gcc/gateway/warren WARREN_REKEY=$BUILDS/rekey/gateway/warren \
			timeout -k 20 "$(field "$1" timeout 300)" "./$1"
		echo "status $?"
	} </dev/null >"$log" 2>&1 &
	JOBS+=("$!:$1")
}

# report_script FILE: counts its lines; says what else is wrong with it.
report_script() {
	local name log status line red=$FAILED seen=$((PASSED + FAILED + SKIPPED))
	name=$(script_name "$1") log=$LOGS/$(script_name "$1").log
	status=$(sed -n 's/^status //p' "$log" | tail -n 1)
	while IFS= read -r line; do
		case $line in
		'ok - '* | 'not ok - '* | 'skip - '*) count "${line/ - / - $name: }" ;;
		esac
	done <"$log"
	if [ "$status" = 124 ] || [ "$status" = 137 ]; then
		count "not ok - $name: not done after $(field "$1" timeout 300) s"
	elif [ "$status" != 0 ] && [ "$red" = $FAILED ]; then
		count "not ok - $name: ended with status ${status:-unknown}"
	elif [ $((PASSED + FAILED + SKIPPED)) = $seen ]; then
		count "not ok - $name: tested nothing"
	fi
	[ "$red" = $FAILED ] || { echo "    --- the end of $log"; tail -n 25 "$log" | sed 's/^/    /'; }
}

# wait_scripts N: until at most N are under way
wait_scripts() {
	local job left pid
	while [ ${#JOBS[@]} -gt "$1" ]; do
		wait -n 2>/dev/null
		left=()
		for job in "${JOBS[@]}"; do
			pid=${job%%:*}
			if kill -0 "$pid" 2>/dev/null; then
				left+=("$job")
			else
				report_script "${job#*:}"
			fi
		done
		JOBS=("${left[@]}")
	done
}

# Two at a time, except those that measure, or that fill the machine by themselves.
run_scripts() {
	local f
	for f in "$@"; do
		wait_scripts 1
		[ -z "$(field "$f" alone '')" ] || wait_scripts 0
		start_script "$f"
		[ -z "$(field "$f" alone '')" ] || wait_scripts 0
	done
	wait_scripts 0
}

namespace_tests() {
	local part=$1 f list=()
	shift
	for f in "$@"; do
		[ -x "$f" ] || continue
		! wanted "$part" "$(script_name "$f")" "$(script_name "$f" | sed 's/^[0-9]*-//')" || list+=("$f")
	done
	[ ${#list[@]} -gt 0 ] || return
	if [ "$(id -u)" != 0 ]; then
		count "skip - $part: needs root (network namespaces)"
		return
	fi
	one_build_for_scripts || return
	run_scripts "${list[@]}"
}

# The scripts drive the strict gcc build, and one whose sessions rekey after seconds.
one_build_for_scripts() {
	[ -z "${BUILT:-}" ] || return "$BUILT"
	BUILT=1
	TARGET=gateway/warren one 'the gateway for the scripts' build-net.log build gcc gcc -Dwerror=true || return
	TARGET=gateway/warren one 'the gateway that rekeys after 5 s' build-rekey.log \
		build rekey gcc -Dwerror=true -Dtests=false -Dtest_rekey_seconds=5 || return
	BUILT=0
}

stop_all() {
	local job
	for job in "${JOBS[@]}"; do
		# shellcheck disable=SC2046 # a list
		kill -TERM $(cat "/proc/${job%%:*}/task/${job%%:*}/children" 2>/dev/null) 2>/dev/null
	done
	wait
	exit 130
}

trap stop_all HUP INT TERM
need_packages || exit 1
mkdir -p "$LOGS"
lint
builds
namespace_tests net net/*.sh
namespace_tests trino trino/[0-9]*.sh
for name in "${NAMES[@]}"; do
	[ -n "${NAMED[$name]:-}" ] || count "not ok - $name: there is no such test"
done
[ $((PASSED + FAILED)) -gt 0 ] || count "not ok - nothing was tested"
echo
[ ${#RED_LINES[@]} -eq 0 ] || printf '%s\n' "Red:" "${RED_LINES[@]}"
[ $SKIPPED -eq 0 ] || echo "$SKIPPED skipped, for the reasons above"
echo "in $((SECONDS - BEGAN)) s; the logs are in $LOGS"
echo "$PASSED passed, $FAILED failed"
[ $FAILED -eq 0 ]
