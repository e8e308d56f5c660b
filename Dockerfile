# SPDX-License-Identifier: Apache-2.0
#
# docker build -t warren .
# docker run --cap-add NET_ADMIN --device /dev/net/tun -e WARREN_JOIN=… -e WORKER_ID=w1 \
#     -v warren:/var/lib/warren warren up
#
# For a Trino node, copy /usr/local/bin/warren and the libraries named below into an image of Trino, and
# start it as: warren run -- /usr/lib/trino/bin/launcher run

FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
	gcc libc6-dev meson ninja-build pkg-config \
	libsodium-dev libssl-dev libev-dev libnl-3-dev libnl-route-3-dev libhttp-parser-dev \
	libjansson-dev libsqlite3-dev libcap-ng-dev libseccomp-dev \
	$([ "$(dpkg --print-architecture)" != amd64 ] || echo libipsec-mb-dev)
COPY . /src
RUN meson setup -Dtests=false -Dstrip=true --prefix=/usr/local /build /src \
	&& ninja -C /build gateway/warren \
	&& install -D -s -m 755 /build/gateway/warren /out/warren

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
	libsodium23 libssl3 libev4 libnl-3-200 libnl-route-3-200 libhttp-parser2.9 \
	libjansson4 libsqlite3-0 libcap-ng0 libseccomp2 \
	$([ "$(dpkg --print-architecture)" != amd64 ] || echo libipsec-mb1) \
	&& rm -rf /var/lib/apt/lists/*
COPY --from=build /out/warren /usr/local/bin/warren
VOLUME /var/lib/warren
ENTRYPOINT ["warren"]
CMD ["--help"]
