# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The one list of what building and testing needs, by Debian's package names.

PACKAGES=(
	# to build
	gcc clang meson ninja-build pkg-config libc6-dev
	libsodium-dev libssl-dev libev-dev libnl-3-dev libnl-route-3-dev libhttp-parser-dev libjansson-dev
	libsqlite3-dev libcap-ng-dev libseccomp-dev libcmocka-dev
	# to look at the code
	clang-format shellcheck man-db
	# the lab
	bash iproute2 nftables procps util-linux ethtool tcpdump iputils-ping iperf3 jq python3 socat
	netcat-openbsd ca-certificates curl git strace wireguard-tools wireguard-go
	# the image
	debootstrap buildah
	# Trino's archives come by Maven, the Java runtime as a Python wheel
	maven default-jre-headless python3-pip
)
# Intel's library is made for x86 alone; elsewhere libcrypto does its work.
[ "$(uname -m)" != x86_64 ] || PACKAGES+=(libipsec-mb-dev)

# need_packages: installs what is missing; asks nothing, prints little.
need_packages() {
	local missing
	missing=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${PACKAGES[@]}" 2>/dev/null |
		awk '$2 == "installed" { print $1 }' | sort | comm -23 <(printf '%s\n' "${PACKAGES[@]}" | sort) -)
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "please install: ${missing//$'\n'/ }" >&2
		return 1
	fi
	echo "installing: ${missing//$'\n'/ }" >&2
	# shellcheck disable=SC2086 # a list
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends $missing; } </dev/null >"${TMPDIR:-/tmp}/warren-apt.$$.log" 2>&1 || {
		cat "${TMPDIR:-/tmp}/warren-apt.$$.log" >&2
		return 1
	}
	rm -f "${TMPDIR:-/tmp}/warren-apt.$$.log"
}
