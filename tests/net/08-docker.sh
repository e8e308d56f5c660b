#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
#
# The Dockerfile, built for real, and its image run in a namespace. No image is pulled: the base is
# made by debootstrap (once, kept in the cache), and buildah builds without a daemon.
cd "$(dirname "$0")/.." || exit 1
. lib/lab.sh
. lib/check.sh
. lib/warren.sh
lab_init docker
warren_need

CACHE=${WARREN_CACHE:-/var/cache/warren}
BASE=$CACHE/debian-bookworm.tar
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
BUILDAH=(buildah --root "$LAB_DIR/images" --runroot "$LAB_DIR/runroot" --registries-conf "$LAB_DIR/registries.conf")
: >"$LAB_DIR/registries.conf"

make_base() {
	local dir=$LAB_DIR/base
	[ -s "$BASE" ] && return
	mkdir -p "$CACHE"
	debootstrap --variant=minbase bookworm "$dir" && copy_sources "$dir/etc/apt" &&
		tar -C "$dir" -cf "$BASE.new" . && mv "$BASE.new" "$BASE" && rm -rf "$dir"
}

# Where this machine finds Debian's packages, the build inside finds them too.
copy_sources() {
	if [ -f /etc/apt/sources.list.d/debian.sources ]; then
		cp /etc/apt/sources.list.d/debian.sources "$1/sources.list.d/"
		: >"$1/sources.list"
	fi
}

base_image() {
	local c
	c=$("${BUILDAH[@]}" from scratch) && "${BUILDAH[@]}" add -q "$c" "$BASE" / &&
		"${BUILDAH[@]}" commit -q --rm "$c" debian:bookworm-slim
}

build_image() {
	"${BUILDAH[@]}" bud --pull=never -q -t warren -f "$WARREN_ROOT/Dockerfile" "$WARREN_ROOT"
}

check "a base without a registry" make_base || finish
check "the base is an image" base_image || finish
check "the Dockerfile builds" build_image || finish
CONTAINER=$("${BUILDAH[@]}" from --pull-never warren)
run=("${BUILDAH[@]}" run --cap-add CAP_NET_ADMIN)
check "its program says its version" grep -q '^warren ' <("${run[@]}" "$CONTAINER" -- warren --version)
check "every library is there" sh -c "! $(printf '%q ' "${run[@]}" "$CONTAINER") -- ldd /usr/local/bin/warren | grep 'not found'"

lab_public_host rv $RV_ADDR
lab_site a portrestricted 203.0.113.21
lab_site box portrestricted 203.0.113.22
rv_start
node_start a
lab_spawn box "$LAB_DIR/box.log" "${run[@]}" --env "WARREN_JOIN=$TOKEN" --env WORKER_ID=box \
	"$CONTAINER" -- warren up
check_wait 20 "a joins" 'node_up a' "tail -n 3 $LAB_DIR/a.log"
A=$(node_ip a)
check_wait 30 "a member in the container reaches the other" "lab_in box ping -q -c 1 -W 1 $A" "tail -n 3 $LAB_DIR/box.log"
check "and is reached" lab_exec a ping -q -c 1 -W 2 "$(status a '.peers[] | select(.id == "box") | .ip')"
finish
