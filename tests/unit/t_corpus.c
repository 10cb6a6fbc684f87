/* t_corpus.c - replays the fuzzers' corpus through their entry points.
 *
 * The functions abort on a broken promise, so reaching the end is the test;
 * each also checks that its folder was not empty.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "fuzz.h"
#include "base/alloc.h"
#include "base/mapfile.h"

typedef void (*entry_fn)(const uint8_t *bytes, size_t n);

static void replay(const char *name, entry_fn entry)
{
    char folder[100];
    size_t count = 0;
    snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name);
    DIR *dir = opendir(folder);
    if (!dir)
        fail_msg("%s: missing (run from the top of the project)", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        char path[400];
        char *bytes;
        size_t n;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        assert_int_equal(mapfile_read(&bytes, &n, path, 1 << 20, NULL),
                         UNSTIR_OK);
        entry((const uint8_t *)bytes, n);
        alloc_free(bytes);
        count++;
    }
    (void)closedir(dir);
    if (count < 5)
        fail_msg("%s: %zu files, wanted at least 5", folder, count);
}

static void test_json(void **state)
{
    replay("json", fuzz_json);
}

static void test_safetensors(void **state)
{
    replay("safetensors", fuzz_safetensors);
}

static void test_lora(void **state)
{
    replay("lora", fuzz_lora);
}

static void test_adapter(void **state)
{
    replay("adapter", fuzz_adapter);
}

static void test_gguf(void **state)
{
    replay("gguf", fuzz_gguf);
}

static void test_png(void **state)
{
    replay("png", fuzz_png);
}

static void test_image(void **state)
{
    replay("image", fuzz_image);
}

static void test_folder_config(void **state)
{
    replay("folder_config", fuzz_folder_config);
}

static void test_idx(void **state)
{
    replay("idx", fuzz_idx);
}

static void test_pack_file(void **state)
{
    replay("pack_file", fuzz_pack_file);
}

static void test_state(void **state)
{
    replay("state", fuzz_state);
}

static void test_bpe(void **state)
{
    replay("bpe", fuzz_bpe);
}

static void test_single_file(void **state)
{
    replay("single_file", fuzz_single_file);
}

static void test_sampler(void **state)
{
    replay("sampler", fuzz_sampler);
}

static void test_prompt(void **state)
{
    replay("prompt", fuzz_prompt);
}

static void test_latents(void **state)
{
    replay("latents", fuzz_latents);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_lora),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_latents),
        cmocka_unit_test(test_png),
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_folder_config),
        cmocka_unit_test(test_idx),
        cmocka_unit_test(test_pack_file),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_bpe),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_single_file),
        cmocka_unit_test(test_sampler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
