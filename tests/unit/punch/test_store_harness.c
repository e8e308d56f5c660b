/* SPDX-License-Identifier: Apache-2.0 */
#include "test_store.h"

#include <dirent.h>
#include <unistd.h>

char store_dir[256], store_path[300];
struct lease_record store_rows[STORE_ROWS];
size_t store_nrows;

int store_setup(void **state)
{
	(void)state;
	snprintf(store_dir, sizeof(store_dir), "/tmp/warren-store-XXXXXX");
	if (!mkdtemp(store_dir))
		return -1;
	snprintf(store_path, sizeof(store_path), "%s/leases.db", store_dir);
	return 0;
}

int store_teardown(void **state)
{
	char path[600];
	DIR *d = opendir(store_dir);
	(void)state;
	for (struct dirent *de; d && (de = readdir(d));) {
		snprintf(path, sizeof(path), "%s/%s", store_dir, de->d_name);
		if (de->d_name[0] != '.')
			unlink(path);
	}
	if (d)
		closedir(d);
	return rmdir(store_dir);
}

struct lease_store *store_open(void)
{
	char err[300] = "";
	struct lease_store *s = lease_store_open(store_path, err, sizeof(err));
	if (!s)
		fail_msg("%s", err);
	return s;
}

struct lease_record store_record(member_number number, const char *id)
{
	struct lease_record rec = { .number = number, .granted = 1000 + number, .seen = 5 };
	snprintf(rec.id, sizeof(rec.id), "%s", id);
	memset(rec.key, (int)(1 + number % 255), 32);
	return rec;
}

static int add(void *ctx, const struct lease_record *rec)
{
	(void)ctx;
	assert_true(store_nrows < STORE_ROWS);
	store_rows[store_nrows++] = *rec;
	return 0;
}

size_t store_read(struct lease_store *s)
{
	store_nrows = 0;
	assert_int_equal(lease_store_each(s, add, NULL), 0);
	return store_nrows;
}

bool store_has(member_number number, const char *id)
{
	for (size_t i = 0; i < store_nrows; i++) {
		const struct lease_record *a = &store_rows[i];
		struct lease_record b = store_record(number, id ? id : a->id);
		if (a->number != number)
			continue;
		return !id || (strcmp(a->id, b.id) == 0 && memcmp(a->key, b.key, 32) == 0 &&
			       a->granted == b.granted && a->seen == b.seen);
	}
	return false;
}
