/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over each file of its corpus, so that the corpus is a test without a fuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *dir, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "rb");
	if (!f)
		return -1;
	/* exactly as large as the file, so that ASan sees one byte too many */
	fseek(f, 0, SEEK_END);
	long size = ftell(f);
	rewind(f);
	uint8_t *bytes = malloc(size > 0 ? (size_t)size : 1);
	size_t got = bytes && size > 0 ? fread(bytes, 1, (size_t)size, f) : 0;
	fclose(f);
	if (!bytes || got != (size_t)size) {
		free(bytes);
		return -1;
	}
	LLVMFuzzerTestOneInput(bytes, got);
	free(bytes);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned files = 0;
	DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
	if (!d) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		if (replay_file(argv[1], e->d_name) < 0) {
			fprintf(stderr, "%s: cannot read %s\n", argv[0], e->d_name);
			closedir(d);
			return 1;
		}
		files++;
	}
	closedir(d);
	printf("%u inputs replayed\n", files);
	return files ? 0 : 1; /* an empty corpus proves nothing */
}
