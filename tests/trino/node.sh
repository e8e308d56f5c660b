#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: node.sh DIR coordinator|worker
#
# Writes Trino's configuration into DIR/etc. Nothing in it names this node: the id and the address
# come from the environment that `warren run` gives its command, so the files are the same on every
# node, but for the two lines that make a coordinator a coordinator and for the workers' bind-ip.
# Start it with: server/bin/launcher run --etc-dir DIR/etc --data-dir DIR/data
set -euo pipefail

[ $# = 2 ] || { sed -n '4p' "$0" >&2; exit 2; }
mkdir -p "$1/etc/catalog" "$1/data"
cd "$1/etc"

cat >node.properties <<'EOT'
node.environment=warren
node.id=${ENV:WORKER_ID}
node.internal-address=${ENV:WARREN_IP}
EOT

cat >config.properties <<'EOT'
http-server.http.port=8081
discovery.uri=http://localhost:8080
query.max-memory=512MB
query.max-memory-per-node=256MB
memory.heap-headroom-per-node=256MB
EOT

case $2 in
coordinator) printf 'coordinator=true\nnode-scheduler.include-coordinator=false\n' >>config.properties ;;
worker)
	echo 'coordinator=false' >>config.properties
	# shellcheck disable=SC2016 # Trino expands it
	echo 'node.bind-ip=${ENV:WARREN_IP}' >>node.properties
	;;
*) echo "node.sh: coordinator or worker, not $2" >&2; exit 2 ;;
esac

cat >jvm.config <<'EOT'
-server
-Xmx1G
-XX:G1HeapRegionSize=16M
-XX:+ExitOnOutOfMemoryError
-XX:ReservedCodeCacheSize=256M
-XX:+EnableDynamicAgentLoading
-Djdk.attach.allowAttachSelf=true
-Djdk.nio.maxCachedBufferSize=2000000
-Dfile.encoding=UTF-8
--enable-native-access=ALL-UNNAMED
EOT

printf 'connector.name=tpch\ntpch.splits-per-node=2\n' >catalog/tpch.properties
printf 'connector.name=memory\n' >catalog/memory.properties
