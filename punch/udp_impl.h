/* SPDX-License-Identifier: Apache-2.0 */
/* The socket's insides, shared by udp*.c alone. */
#ifndef WARREN_UDP_IMPL_H
#define WARREN_UDP_IMPL_H

#include "punch/udp.h"
#include <netinet/in.h>
#include <sys/socket.h>

/* Room for the three that we ask for or add: packet info, segment size, DS field. */
union udp_control {
	struct cmsghdr align;
	char b[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
};

/* For one family. Costs nothing where it is so already. */
void udp_set_df(struct udp_socket *s, bool v4, bool clear);

/* One that an ICMP message may have left on the socket, so that it says nothing about this call. */
bool udp_error_of_another(int err);

/* Throws away what nobody asks for. */
void udp_errors_discard(struct udp_socket *s);

#endif
