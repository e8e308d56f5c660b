/* SPDX-License-Identifier: Apache-2.0 */
#include "route/resolv.h"

static const char *skip_blanks(const char *s)
{
	return s + strspn(s, " \t");
}

bool resolv_line(const char *line, struct addr *out)
{
	static const char word[] = "nameserver";
	char text[ADDR_STRLEN];
	const char *s = skip_blanks(line);
	if (strncmp(s, word, sizeof(word) - 1) != 0)
		return false;
	s += sizeof(word) - 1;
	if (*s != ' ' && *s != '\t')
		return false;
	s = skip_blanks(s);
	/* a link-local server is written with its interface: fe80::1%eth0 */
	size_t len = strcspn(s, " \t\r\n%#;");
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = 0;
	return addr_parse(text, out);
}
