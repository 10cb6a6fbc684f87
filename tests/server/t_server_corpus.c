/* t_server_corpus.c - the fuzzers' corpus of the service, replayed.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>

#include "server_fuzz.h"

#define MAX_BYTES 65536

typedef void (*entry_fn)(const uint8_t *bytes, size_t n);

static void replay(const char *name, entry_fn entry)
{
    char folder[80];
    char path[400];
    struct dirent *item;
    int n_files = 0;
    DIR *dir;

    (void)snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    dir = opendir(folder);
    if (!dir)
        fail_msg("%s: cannot be opened", folder);
    while ((item = readdir(dir)) != NULL) {
        uint8_t *bytes;
        FILE *file;
        size_t n;

        if (item->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, item->d_name);
        file = fopen(path, "rb");
        assert_non_null(file);
        bytes = malloc(MAX_BYTES);
        n = fread(bytes, 1, MAX_BYTES, file);
        (void)fclose(file);
        entry(bytes, n);
        free(bytes);
        n_files++;
    }
    (void)closedir(dir);
    if (n_files < 3)
        fail_msg("%s: wanted at least 3 files, got %d", folder, n_files);
}

static void test_framing(void **state)
{
    (void)state;
    replay("framing", fuzz_framing);
}

static void test_request_json(void **state)
{
    (void)state;
    replay("request_json", fuzz_request_json);
}

static void test_config(void **state)
{
    (void)state;
    replay("config", fuzz_config);
}

static void test_accept(void **state)
{
    (void)state;
    replay("accept", fuzz_accept);
}

static void test_upload(void **state)
{
    (void)state;
    replay("upload", fuzz_upload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing), cmocka_unit_test(test_request_json),
        cmocka_unit_test(test_config),  cmocka_unit_test(test_accept),
        cmocka_unit_test(test_upload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
