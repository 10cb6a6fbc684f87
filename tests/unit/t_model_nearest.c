/* t_model_nearest.c - which model of a folder a name may have meant.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "scratch.h"
#include "unstir.h"

static void make(char folder[SCRATCH_PATH])
{
    static const char *const folders[] = {"fashion", "score", "notes"};

    scratch_make(folder);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        scratch_mkdir(folder, folders[i]);
    scratch_write(folder, "fashion/model_index.json", "{}", 2);
    scratch_write(folder, "score/config.json", "{}", 2);
    scratch_write(folder, "sd15.safetensors", "", 0);
    scratch_write(folder, "boats-q8.gguf", "", 0);
    scratch_write(folder, "readme.txt", "", 0);
    scratch_write(folder, ".hidden.gguf", "", 0);
}

static void test_nearest(void **state)
{
    static const struct {
        const char *name, *wanted;
    } rows[] = {
        {"fashon", "fashion"},
        {"FASHION", "fashion"},
        {"scores", "score"},
        {"sd15", "sd15.safetensors"},
        {"sd14.safetensors", "sd15.safetensors"},
        {"boat-q8.gguf", "boats-q8.gguf"},
        {"notes", ""},
        {"readme.txt", ""},
        {".hidden.gguf", ""},
        {"elephant", ""},
        {"", ""},
    };
    char folder[SCRATCH_PATH], near[64];

    make(folder);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool is_near =
            unstir_model_nearest(near, sizeof near, folder, rows[i].name);

        if (strcmp(near, rows[i].wanted) != 0)
            fail_msg("%s: \"%s\", wanted \"%s\"", rows[i].name, near,
                     rows[i].wanted);
        assert_int_equal(is_near, near[0] != '\0');
    }
    scratch_remove(folder);
}

/* What does not fit is not told in part; a folder that is not there is none. */
static void test_no_room(void **state)
{
    char folder[SCRATCH_PATH], near[8];

    make(folder);
    assert_true(unstir_model_nearest(near, 8, folder, "fashon"));
    assert_string_equal(near, "fashion");
    assert_false(unstir_model_nearest(near, 7, folder, "fashon"));
    assert_string_equal(near, "");
    assert_false(unstir_model_nearest(near, 8, "/nowhere", "fashon"));
    scratch_remove(folder);
}

/* What was given with its folder is looked for there and told with it. */
static void test_own_folder(void **state)
{
    char folder[SCRATCH_PATH], given[2 * SCRATCH_PATH],
        wanted[2 * SCRATCH_PATH], near[2 * SCRATCH_PATH];

    make(folder);
    snprintf(given, sizeof given, "%s/fashon", folder);
    snprintf(wanted, sizeof wanted, "%s/fashion", folder);
    assert_true(unstir_model_nearest(near, sizeof near, "/nowhere", given));
    assert_string_equal(near, wanted);
    assert_false(unstir_model_nearest(near, strlen(wanted), "/nowhere", given));
    assert_false(unstir_model_nearest(near, sizeof near, folder, "no/fashon"));
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_own_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
