# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# How a test script speaks: one line "ok - name", "not ok - name: reason" or "skip - name: reason"
# for each thing it tested, and an exit status that is not 0 when one was red. tests/run.sh counts
# the lines.

CHECK_FAILED=0

ok() {
	echo "ok - $1"
}

not_ok() {
	echo "not ok - $1: ${2:-failed}"
	CHECK_FAILED=1
	return 1
}

# Where CI is true a machine must be able to run everything, so there a skip is a failure.
skip() {
	if [ "${CI:-}" = true ]; then
		not_ok "$1" "skipped: $2"
	else
		echo "skip - $1: $2"
	fi
}

# check NAME CMD…: one test that is a command; what it printed is the reason when it fails.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		ok "$name"
	else
		not_ok "$name" "$(tail -n 3 <<<"$out" | tr '\n' ' ')"
	fi
}

# check_wait SECONDS NAME CONDITION [REASON-CMD]: becomes true in time (see lab_wait).
check_wait() {
	if lab_wait "$1" "$3"; then
		ok "$2"
	else
		not_ok "$2" "not within $1 s: $3 ${4:+[$(eval "$4" 2>&1 | tail -n 5 | tr '\n' ' ')]}"
	fi
}

# side_by_side FUNCTION…: all at once; what each said comes in one piece
side_by_side() {
	local part running=()
	for part in "$@"; do
		$part >"$LAB_DIR/result.$part" 2>&1 &
		running+=($!)
	done
	wait "${running[@]}"
	cat "$LAB_DIR"/result.*
	! grep -q '^not ok' "$LAB_DIR"/result.* || CHECK_FAILED=1
}

finish() {
	exit $CHECK_FAILED
}
