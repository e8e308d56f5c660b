# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
#
# Trino for the demo and the tests; to be sourced after lab.sh.

TRINO_TESTS=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)

# The query to check against, and its answer on any right cluster of any size. lineitem and part are
# joined on partkey, so that both are exchanged between the workers (orders would not be: the tpch
# connector places it beside lineitem), and the sums are of decimals, which do not depend on order.
TRINO_QUERY="SELECT count(*), sum(cast(l.extendedprice AS decimal(18,2))), sum(p.partkey),
 to_hex(checksum(l.comment)) FROM tpch.sf1.lineitem l JOIN tpch.sf1.part p ON l.partkey=p.partkey"
TRINO_ANSWER=6001215,229577310901.20,600229457837,9132EBE21039B639
TRINO_NODES="SELECT node_id, http_uri, coordinator, state FROM system.runtime.nodes ORDER BY 1"

# trino_fetch: the server, the client and a Java runtime; sets TRINO_HOME.
trino_fetch() {
	TRINO_HOME=$("$TRINO_TESTS/trino/fetch.sh")
}

# trino_node DIR coordinator|worker: writes the files; sets TRINO_CMD to what starts that node.
trino_node() {
	"$TRINO_TESTS/trino/node.sh" "$1" "$2"
	TRINO_CMD=(env JAVA_HOME="$TRINO_HOME/java" PATH="$TRINO_HOME/java/bin:$PATH"
		"$TRINO_HOME/server/bin/launcher" run --etc-dir "$1/etc" --data-dir "$1/data")
}

# trino_sql NODE SQL [ARG…]: asks by the node's own localhost:8080, prints bare CSV.
trino_sql() {
	local node=$1 sql=$2
	shift 2
	lab_exec "$node" timeout "${TRINO_PATIENCE:-180}" "$TRINO_HOME/java/bin/java" --enable-native-access=ALL-UNNAMED \
		-Dorg.jline.terminal.dumb=true -jar "$TRINO_HOME/trino" \
		--server http://localhost:8080 --user warren --output-format CSV_UNQUOTED \
		--session join_distribution_type=PARTITIONED --execute "$sql" "$@"
}

# trino_active NODE: how many nodes are active, as that node's localhost:8080 says. A query waits as
# long as there is no worker; this one does not.
trino_active() {
	TRINO_PATIENCE=15 trino_sql "$1" "$TRINO_NODES" 2>/dev/null | grep -c ',active$'
}

# trino_query_info NODE SOURCE FILTER: a value of what the coordinator says of the query that was sent
# with --source SOURCE, by a jq filter; asked at that node's own localhost:8080.
trino_query_info() {
	lab_exec "$1" curl -s -m 30 -H 'X-Trino-User: warren' http://localhost:8080/v1/query |
		jq -r --arg source "$2" ".[] | select(.session.source == \$source) | $3"
}
