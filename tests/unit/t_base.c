/* t_base.c - error texts, the heap door, arenas, sizes, names, paths, mapped
 * files.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/arena.h"
#include "base/cancel.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/mapfile.h"
#include "base/notes.h"
#include "base/path.h"
#include "base/size.h"

/* -- errors ---------------------------------------------------------------- */

static void error_is_filled(void **state)
{
    (void)state;
    struct unstir_error err;
    memset(&err, 'x', sizeof err);
    assert_int_equal(error_set(&err, UNSTIR_ERR_FORMAT, "%s: %d", "a", 7),
                     UNSTIR_ERR_FORMAT);
    assert_int_equal(err.status, UNSTIR_ERR_FORMAT);
    assert_string_equal(err.field, "");
    assert_string_equal(err.detail, "a: 7");
    assert_int_equal(error_field(&err, "steps", "%d", 0), UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "steps");
    assert_string_equal(err.detail, "0");
    assert_int_equal(error_prefix(UNSTIR_ERR_ARG, "unet", &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.detail, "unet: 0");
}

static void error_may_be_null(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, UNSTIR_ERR_IO, "x"), UNSTIR_ERR_IO);
    assert_int_equal(error_field(NULL, "f", "x"), UNSTIR_ERR_ARG);
    assert_int_equal(error_prefix(UNSTIR_ERR_IO, "x", NULL), UNSTIR_ERR_IO);
    assert_int_equal(error_prefix(UNSTIR_OK, "x", NULL), UNSTIR_OK);
    assert_int_equal(error_within(UNSTIR_ERR_IO, "x", NULL), UNSTIR_ERR_IO);
}

/* Cut text stays UTF-8, whatever the character at the cut. */
static void error_is_cut_between_characters(void **state)
{
    (void)state;
    static const char *const letters[] = {"a", "\xc3\xa9", "\xe2\x82\xac",
                                          "\xf0\x9f\x98\x80"};
    for (size_t l = 0; l < ARRAY_LEN(letters); l++) {
        for (size_t shift = 0; shift < 4; shift++) {
            char text[1024] = "";
            struct unstir_error err;
            memset(text, '.', shift);
            size_t n = strlen(letters[l]), at = shift;
            for (; at + n < sizeof text - 1; at += n)
                memcpy(text + at, letters[l], n);
            text[at] = '\0';
            (void)error_set(&err, UNSTIR_ERR_IO, "%s", text);
            size_t got = strlen(err.detail);
            assert_true(got < sizeof err.detail);
            assert_true(got + 4 >= sizeof err.detail);
            if ((got - shift) % n != 0)
                fail_msg("letter of %zu bytes, shift %zu: cut at %zu", n, shift,
                         got);
            assert_memory_equal(err.detail, text, got);
            (void)error_prefix(UNSTIR_ERR_IO, "p", &err);
            assert_int_equal((strlen(err.detail) - 3 - shift) % n, 0);
        }
    }
}

/* -- notes ----------------------------------------------------------------- */

static void notes_have_a_ceiling(void **state)
{
    (void)state;
    struct notes notes = {.n = 0};
    for (unsigned i = 0; i < NOTES_MAX + 9; i++)
        assert_int_equal(notes_add(&notes, NULL, "note %u", i), UNSTIR_OK);
    assert_int_equal(notes.n, NOTES_MAX);
    assert_string_equal(notes.texts[0], "note 0");
    assert_string_equal(notes.texts[NOTES_MAX - 2], "note 254");
    assert_string_equal(notes.texts[NOTES_MAX - 1], "more, not listed");
    notes_fini(&notes);
    assert_int_equal(notes.n, 0);
    alloc_test_fail_after(2);
    assert_int_equal(notes_add(&notes, NULL, "x"), UNSTIR_ERR_NOMEM);
    alloc_test_fail_after(0);
    assert_int_equal(notes.n, 0);
    notes_fini(&notes);
}

/* -- names and paths ------------------------------------------------------ */

static void affixes_are_cut_whole(void **state)
{
    (void)state;
    const char *rest = "as it was";
    assert_false(affix_strip("unit.x", "unet.", &rest));
    assert_string_equal(rest, "as it was");
    assert_true(affix_strip("unet.x", "unet.", &rest));
    assert_string_equal(rest, "x");
    assert_true(affix_strip("unet.", "unet.", &rest));
    assert_string_equal(rest, "");
    assert_true(affix_begins("a", "") && affix_ends("a", ""));
    assert_false(affix_begins("un", "unet") || affix_ends("et", "unet"));
    assert_true(affix_ends("x.png", ".png"));
    assert_false(affix_ends("x.png.", ".png"));
}

/* The longest path is taken, one byte more is refused with both numbers. */
static void a_path_has_its_ceiling(void **state)
{
    (void)state;
    char folder[PATH_BYTES], path[PATH_BYTES];
    struct unstir_error err;
    memset(folder, 'f', sizeof folder);
    folder[PATH_BYTES - 3] = '\0'; /* and "/", one letter, the NUL */
    assert_int_equal(path_join(path, folder, "n", &err), UNSTIR_OK);
    assert_int_equal(strlen(path), PATH_BYTES - 1);
    assert_string_equal(path + PATH_BYTES - 3, "/n");
    assert_int_equal(path_join(path, folder, "na", &err), UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "4096 bytes, at most 4095"));
}

static void every_status_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(unstir_status_name(UNSTIR_OK), "UNSTIR_OK");
    assert_string_equal(unstir_status_name(UNSTIR_ERR_MISMATCH),
                        "UNSTIR_ERR_MISMATCH");
    for (int s = 0; s <= UNSTIR_ERR_INTERNAL; s++)
        assert_memory_equal(unstir_status_name((enum unstir_status)s),
                            "UNSTIR_", 7);
    assert_non_null(unstir_status_name((enum unstir_status)999));
}

/* -- heap ------------------------------------------------------------------ */

static void memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4097};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        void *a, *b;
        assert_int_equal(alloc_zero(&a, sizes[i], 1, NULL), UNSTIR_OK);
        assert_int_equal(alloc_aligned(&b, 1, sizes[i], NULL), UNSTIR_OK);
        assert_int_equal((uintptr_t)b % 64, 0);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(((char *)a)[j] | ((char *)b)[j], 0);
        /* padded to whole cache lines: the rest may be touched */
        memset(b, 1, size_align(sizes[i] ? sizes[i] : 1, 64));
        alloc_free(a);
        alloc_free(b);
    }
    alloc_free(NULL);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    struct unstir_error err;
    void *p = &err;
    assert_int_equal(alloc_zero(&p, SIZE_MAX / 2, 3, &err), UNSTIR_ERR_NOMEM);
    assert_null(p);
    assert_non_null(strstr(err.detail, "3 bytes"));
    p = &err;
    assert_int_equal(alloc_aligned(&p, SIZE_MAX, 1, &err), UNSTIR_ERR_NOMEM);
    assert_null(p);
}

static void the_nth_allocation_fails(void **state)
{
    (void)state;
    void *p[3];
    uint64_t before = alloc_test_count();
    alloc_test_fail_after(2);
    assert_int_equal(alloc_zero(&p[0], 1, 1, NULL), UNSTIR_OK);
    assert_int_equal(alloc_zero(&p[1], 1, 1, NULL), UNSTIR_ERR_NOMEM);
    assert_int_equal(alloc_aligned(&p[2], 1, 1, NULL), UNSTIR_OK);
    alloc_test_fail_after(1);
    size_t capacity = 0;
    void *array = NULL;
    assert_int_equal(alloc_grow(&array, &capacity, 1, 4, NULL),
                     UNSTIR_ERR_NOMEM);
    assert_null(array);
    assert_int_equal(capacity, 0);
    alloc_test_fail_after(0);
    assert_int_equal(alloc_test_count() - before, 4);
    alloc_free(p[0]);
    alloc_free(p[2]);
}

static void arrays_grow_and_keep_their_contents(void **state)
{
    (void)state;
    void *memory = NULL;
    size_t capacity = 0, n_moves = 0, last = 0;
    for (size_t n = 1; n <= 1000; n++) {
        assert_int_equal(alloc_grow(&memory, &capacity, n, 8, NULL), UNSTIR_OK);
        assert_true(capacity >= n);
        n_moves += capacity != last;
        last = capacity;
        assert_int_equal(((uint64_t *)memory)[n - 1], 0);
        ((uint64_t *)memory)[n - 1] = n;
    }
    for (size_t n = 1; n <= 1000; n++)
        assert_int_equal(((uint64_t *)memory)[n - 1], n);
    assert_true(n_moves <= 9); /* doubling from 8 */
    assert_int_equal(alloc_grow(&memory, &capacity, SIZE_MAX, 8, NULL),
                     UNSTIR_ERR_NOMEM);
    assert_int_equal(((uint64_t *)memory)[999], 1000);
    alloc_free(memory);
}

static void strings_are_copied(void **state)
{
    (void)state;
    char *s;
    assert_int_equal(alloc_strdup(&s, "ink", NULL), UNSTIR_OK);
    assert_string_equal(s, "ink");
    alloc_free(s);
}

static void sizes_never_wrap(void **state)
{
    (void)state;
    size_t n;
    assert_true(size_mul(3, 5, &n) && n == 15);
    assert_true(size_mul(0, SIZE_MAX, &n) && n == 0);
    assert_true(size_mul(SIZE_MAX, 1, &n) && n == SIZE_MAX);
    assert_false(size_mul(SIZE_MAX / 2 + 1, 2, &n));
    assert_int_equal(n, SIZE_MAX);
    assert_true(size_add(SIZE_MAX - 1, 1, &n) && n == SIZE_MAX);
    assert_false(size_add(SIZE_MAX, 1, &n));
    assert_int_equal(size_align(1, 64), 64);
    assert_int_equal(size_align(64, 64), 64);
}

/* -- arena ----------------------------------------------------------------- */

static void arena_grows(void **state)
{
    struct arena a = {0};
    unsigned char *base;

    (void)state;
    assert_int_equal(arena_reserve(&a, 1000, NULL), UNSTIR_OK);
    assert_int_equal((uintptr_t)a.base % 64, 0);
    base = a.base;
    assert_int_equal(arena_reserve(&a, 100, NULL), UNSTIR_OK);
    assert_ptr_equal(a.base, base);
    assert_int_equal(a.size, 1000);
    alloc_test_fail_after(1);
    assert_int_equal(arena_reserve(&a, 2000, NULL), UNSTIR_ERR_NOMEM);
    alloc_test_fail_after(0);
    assert_null(a.base);
    assert_int_equal(a.size, 0);
    assert_int_equal(arena_reserve(&a, 64, NULL), UNSTIR_OK);
    arena_fini(&a);
    assert_null(a.base);
}

/* -- files ----------------------------------------------------------------- */

static char folder[] = "/tmp/t_base.XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* fails if a test left anything behind */
}

static const char *in_folder(const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void files_are_written_mapped_and_read(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4096, 100000};
    const char *path = in_folder("file");
    char bytes[100000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct mapfile m;
        char *text;
        size_t n;
        assert_int_equal(mapfile_write(path, bytes, sizes[i], NULL), UNSTIR_OK);
        assert_int_equal(mapfile_open(&m, path, 0, NULL), UNSTIR_OK);
        assert_int_equal(m.n_bytes, sizes[i]);
        assert_non_null(m.bytes);
        assert_memory_equal(m.bytes, bytes, sizes[i]);
        mapfile_close(&m);
        mapfile_close(&m);
        assert_int_equal(mapfile_read(&text, &n, path, 100000, NULL),
                         UNSTIR_OK);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(text, bytes, sizes[i]);
        assert_int_equal(text[n], 0);
        alloc_free(text);
    }
    assert_int_equal(unlink(path), 0);
}

/* An old mapping keeps the old contents; the mode of the old file stays. */
static void writing_replaces_whole_files(void **state)
{
    (void)state;
    const char *path = in_folder("file");
    struct mapfile old;
    struct stat st;
    assert_int_equal(mapfile_write(path, "old", 3, NULL), UNSTIR_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(mapfile_open(&old, path, 0, NULL), UNSTIR_OK);
    assert_int_equal(mapfile_write(path, "newer", 5, NULL), UNSTIR_OK);
    assert_memory_equal(old.bytes, "old", 3);
    mapfile_close(&old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(unlink(path), 0);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    struct unstir_error err;
    struct mapfile m;
    char *text = folder;
    size_t n = 1;
    assert_int_equal(mapfile_open(&m, in_folder("none"), 0, &err),
                     UNSTIR_ERR_IO);
    assert_non_null(strstr(err.detail, "none"));
    assert_null(m.bytes);
    assert_int_equal(mapfile_read(&text, &n, folder, 0, &err), UNSTIR_ERR_IO);
    assert_non_null(strstr(err.detail, "not a regular file"));
    assert_null(text);
    assert_int_equal(n, 0);
    const char *fifo = in_folder("fifo"); /* must not hang */
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(mapfile_open(&m, fifo, 0, &err), UNSTIR_ERR_IO);
    assert_int_equal(unlink(fifo), 0);
    const char *path = in_folder("file");
    assert_int_equal(mapfile_write(path, "12345", 5, NULL), UNSTIR_OK);
    assert_int_equal(mapfile_open(&m, path, 4, &err), UNSTIR_ERR_LIMIT);
    assert_non_null(strstr(err.detail, "5 bytes, at most 4"));
    assert_int_equal(mapfile_open(&m, path, 5, &err), UNSTIR_OK);
    mapfile_close(&m);
    alloc_test_fail_after(1);
    assert_int_equal(mapfile_read(&text, &n, path, 0, &err), UNSTIR_ERR_NOMEM);
    alloc_test_fail_after(1);
    assert_int_equal(mapfile_write(path, "x", 1, &err), UNSTIR_ERR_NOMEM);
    alloc_test_fail_after(0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mapfile_write(in_folder("none/file"), "x", 1, &err),
                     UNSTIR_ERR_IO);
}

/* -- small things ---------------------------------------------------------- */

static void cancel_is_a_flag(void **state)
{
    (void)state;
    struct cancel c = {false};
    assert_false(cancel_is_raised(NULL));
    assert_false(cancel_is_raised(&c));
    cancel_set(&c, true);
    assert_true(cancel_is_raised(&c));
    cancel_set(&c, false);
    assert_false(cancel_is_raised(&c));
}

static void cpu_agrees_with_itself(void **state)
{
    (void)state;
    struct cpu a = cpu_detect(), b = cpu_detect();
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.has_avx512 || !a.has_avx512_bf16);
    assert_true(a.has_avx512 || !a.has_avx512_vnni);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_filled),
        cmocka_unit_test(error_may_be_null),
        cmocka_unit_test(error_is_cut_between_characters),
        cmocka_unit_test(notes_have_a_ceiling),
        cmocka_unit_test(affixes_are_cut_whole),
        cmocka_unit_test(a_path_has_its_ceiling),
        cmocka_unit_test(every_status_has_its_name),
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(arrays_grow_and_keep_their_contents),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(sizes_never_wrap),
        cmocka_unit_test(arena_grows),
        cmocka_unit_test(files_are_written_mapped_and_read),
        cmocka_unit_test(writing_replaces_whole_files),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(cancel_is_a_flag),
        cmocka_unit_test(cpu_agrees_with_itself),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
