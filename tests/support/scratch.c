/* scratch.c - a folder of a test's own.
 *
 * SPDX-License-Identifier: MIT
 */
#include "scratch.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void scratch_make(char path[SCRATCH_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, SCRATCH_PATH, "%s/unstir-test-XXXXXX",
             base && base[0] ? base : "/tmp");
    if (!mkdtemp(path))
        fail_msg("cannot make a folder like %s", path);
}

static int remove_one(const char *path, const struct stat *st, int kind,
                      struct FTW *walk)
{
    (void)st;
    (void)kind;
    (void)walk;
    return remove(path);
}

void scratch_remove(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void scratch_path(char out[SCRATCH_PATH], const char *folder, const char *name)
{
    int n = snprintf(out, SCRATCH_PATH, "%s/%s", folder, name);
    assert_true(n > 0 && n < SCRATCH_PATH);
}

void scratch_write(const char *folder, const char *name, const void *bytes,
                   size_t n)
{
    char path[SCRATCH_PATH];
    scratch_path(path, folder, name);
    FILE *f = fopen(path, "wb");
    if (!f)
        fail_msg("cannot write %s", path);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

void scratch_mkdir(const char *folder, const char *name)
{
    char path[SCRATCH_PATH];
    scratch_path(path, folder, name);
    assert_int_equal(mkdir(path, 0777), 0);
}
