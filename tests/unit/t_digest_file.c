/* t_digest_file.c - digests of files that are remembered: right whatever the
 * memo says.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/mapfile.h"
#include "format/digest_file.h"
#include "scratch.h"

/* sha256sum of "abc" and of "abd". */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABD "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9"

static char folder[SCRATCH_PATH], memos[SCRATCH_PATH];

static int setup(void **state)
{
    scratch_make(folder);
    scratch_path(memos, folder, "memos/of/files"); /* is made */
    return 0;
}

static int teardown(void **state)
{
    scratch_remove(folder);
    return 0;
}

/* A file of these bytes that has not changed for long. */
static struct mapfile old_file(const char *bytes)
{
    struct mapfile m = {.bytes = (const unsigned char *)bytes,
                        .n_bytes = strlen(bytes),
                        .stamp = {7, 11, 1000000007, 1000000009}};

    return m;
}

static void check(const struct mapfile *m, const char *where, const char *want,
                  const char *what)
{
    struct unstir_error err = {0};
    char hex[65];

    if (!digest_file_recall(hex, m, where) &&
        digest_file_anew(hex, m, where, NULL, &err) != UNSTIR_OK)
        fail_msg("%s: %s", what, err.detail);
    if (strcmp(hex, want) != 0)
        fail_msg("%s: got %s, wanted %s", what, hex, want);
}

/* The memo of old_file(); its place follows from the numbers. */
static void memo_path(char path[SCRATCH_PATH])
{
    for (int i = 0; i < 256; i++) {
        char name[16];

        snprintf(name, sizeof name, "%02x.digest", i);
        scratch_path(path, memos, name);
        if (access(path, F_OK) == 0)
            return;
    }
    fail_msg("no memo in %s", memos);
}

static void test_remembered(void **state)
{
    struct mapfile abc = old_file("abc"), abd = old_file("abd");

    check(&abc, NULL, ABC, "no memos");
    check(&abd, NULL, ABD, "no memos");
    check(&abc, memos, ABC, "first");
    check(&abc, memos, ABC, "again");
    /* Other bytes under the very same numbers cannot be; they show that the
     * memo is what answers. */
    check(&abd, memos, ABC, "from the memo");
}

static void test_every_number_counts(void **state)
{
    struct mapfile other[5];

    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        other[i] = old_file("abd");
    other[0].stamp.device++;
    other[1].stamp.inode++;
    other[2].stamp.mtime_ns++;
    other[3].stamp.ctime_ns++;
    other[4] = old_file("abd ");
    other[4].n_bytes = 3;
    other[4].stamp.inode = 0; /* of no file */
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        check(&other[i], memos, ABD, "another file");
}

static void test_damaged(void **state)
{
    struct mapfile abc = old_file("abc"), abd = old_file("abd");
    char path[SCRATCH_PATH], *text;
    size_t n;

    check(&abc, memos, ABC, "before");
    memo_path(path);
    assert_int_equal(mapfile_read(&text, &n, path, 0, NULL), UNSTIR_OK);
    for (size_t i = 0; i <= n; i++) {
        size_t cut = i < n ? n : n - 1; /* at last cut off */

        if (i < n)
            text[i] ^= 1;
        assert_int_equal(mapfile_write(path, text, cut, NULL), UNSTIR_OK);
        check(&abd, memos, ABD, "damaged");
        if (i < n)
            text[i] ^= 1;
    }
    check(&abc, memos, ABD, "written anew");
    alloc_free(text);
    assert_int_equal(unlink(path), 0);
}

static void test_of_others(void **state)
{
    struct mapfile abc = old_file("abc"), abd = old_file("abd");
    char path[SCRATCH_PATH];

    check(&abc, memos, ABC, "before");
    memo_path(path);
    assert_int_equal(chmod(path, 0666), 0);
    check(&abd, memos, ABD, "writable by all");
    check(&abc, memos, ABD, "written anew");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    check(&abd, memos, ABD, "a link");
}

/* What changed just now may change again within a tick. */
static void test_young(void **state)
{
    char path[SCRATCH_PATH], young[SCRATCH_PATH];
    struct mapfile m;

    scratch_write(folder, "file", "abc", 3);
    scratch_path(path, folder, "file");
    scratch_path(young, folder, "young");
    assert_int_equal(mapfile_open(&m, path, 0, NULL), UNSTIR_OK);
    assert_true(m.stamp.inode != 0);
    check(&m, young, ABC, "young");
    assert_int_equal(access(young, F_OK), -1);
    m.stamp.ctime_ns -= INT64_C(60000000000);
    check(&m, young, ABC, "old");
    assert_int_equal(access(young, F_OK), 0);
    mapfile_close(&m);
}

static void test_no_place(void **state)
{
    struct mapfile abc = old_file("abc");
    char path[SCRATCH_PATH];

    scratch_write(folder, "plain", "x", 1);
    scratch_path(path, folder, "plain/below");
    check(&abc, path, ABC, "below a file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembered),
        cmocka_unit_test(test_every_number_counts),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_of_others),
        cmocka_unit_test(test_young),
        cmocka_unit_test(test_no_place),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
