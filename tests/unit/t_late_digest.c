/* t_late_digest.c - digests whose files are hashed by a thread: the digits of
 * digest.h, whoever hashes and whoever waits.
 *
 * Meant for the thread sanitizer as well.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/mapfile.h"
#include "endless.h"
#include "format/digest.h"
#include "format/late_digest.h"
#include "must.h"
#include "scratch.h"

/* sha256sum of "abc" and of "abd". */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABD "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9"

/* More than two pieces. */
#define LARGE_BYTES (((size_t)70 << 20) + 123)

static char folder[SCRATCH_PATH], memos[SCRATCH_PATH];

static int setup(void **state)
{
    scratch_make(folder);
    scratch_path(memos, folder, "memos");
    return 0;
}

static int teardown(void **state)
{
    scratch_remove(folder);
    return 0;
}

/* A file of these bytes that has not changed for long. */
static struct mapfile old_file(const char *bytes, uint64_t inode)
{
    struct mapfile m = {.bytes = (const unsigned char *)bytes,
                        .n_bytes = strlen(bytes),
                        .stamp = {7, inode, 1000000007, 1000000009}};

    return m;
}

static struct late_digest *new_late(void)
{
    struct unstir_error err;
    struct late_digest *d;

    must(late_digest_new(&d, &err), &err);
    return d;
}

static void start(struct late_digest *d, const char *where)
{
    struct unstir_error err;

    must(late_digest_start(d, where, &err), &err);
}

static void check_wait(struct late_digest *d, const char *want)
{
    struct unstir_error err;
    char hex[65];

    must(late_digest_wait(d, hex, &err), &err);
    assert_string_equal(hex, want);
    assert_true(late_digest_is_ready(d));
}

/* -- the same digits ------------------------------------------------------- */

static void test_without_a_file(void **state)
{
    struct late_digest *d = new_late();
    struct digest *direct;
    char want[65];

    assert_int_equal(digest_new(&direct, NULL), UNSTIR_OK);
    digest_add(direct, "config.json", "{}", 2);
    digest_add(direct, "nothing", "", 0);
    digest_finish(direct, want);
    late_digest_add(d, "config.json", "{}", 2);
    late_digest_add_late(d, "nothing", NULL);
    start(d, NULL);
    assert_true(late_digest_is_ready(d)); /* no thread is needed */
    check_wait(d, want);
    check_wait(d, want);
    late_digest_free(d);
}

/* A part, a file, a part, a file. */
static void add_files(struct late_digest *d)
{
    const struct mapfile abc = old_file("abc", 11), abd = old_file("abd", 12);

    late_digest_add(d, "config.json", "{\"a\":1}", 7);
    late_digest_add_file(d, &abc);
    late_digest_add(d, "vocab.json", "{}", 2);
    late_digest_add_file(d, &abd);
}

static struct late_digest *with_files(void)
{
    struct late_digest *d = new_late();

    add_files(d);
    return d;
}

static void direct_of_files(char hex[65])
{
    struct digest *d;

    assert_int_equal(digest_new(&d, NULL), UNSTIR_OK);
    digest_add(d, "config.json", "{\"a\":1}", 7);
    digest_add(d, "weights", ABC, 64);
    digest_add(d, "vocab.json", "{}", 2);
    digest_add(d, "weights", ABD, 64);
    digest_finish(d, hex);
}

static void test_files(void **state)
{
    struct late_digest *d = with_files();
    char want[65];

    direct_of_files(want);
    start(d, NULL);
    check_wait(d, want);
    late_digest_free(d);
    d = with_files();
    start(d, memos);
    check_wait(d, want);
    late_digest_free(d);
    d = with_files();
    start(d, memos); /* which were left by the thread */
    assert_true(late_digest_is_ready(d));
    check_wait(d, want);
    late_digest_free(d);
}

static void test_a_large_file(void **state)
{
    struct mapfile large = endless_open(LARGE_BYTES);
    struct late_digest *d = new_late();
    char hex[65], want[65];
    struct digest *direct;

    assert_int_equal(digest_new(&direct, NULL), UNSTIR_OK);
    digest_add_plain(direct, large.bytes, large.n_bytes);
    digest_finish(direct, hex);
    assert_int_equal(digest_new(&direct, NULL), UNSTIR_OK);
    digest_add(direct, "weights", hex, 64);
    digest_finish(direct, want);
    late_digest_add_file(d, &large);
    start(d, NULL);
    check_wait(d, want);
    late_digest_free(d);
    mapfile_close(&large);
}

/* Parts given to a model, then words: a digest in a digest in a digest. */
static void test_nested(void **state)
{
    const struct mapfile abc = old_file("abc", 21);
    struct late_digest *vae = new_late(), *given = new_late(), *all;
    char own[65], of_vae[65], want[65];
    struct digest *direct;

    direct_of_files(own);
    assert_int_equal(digest_new(&direct, NULL), UNSTIR_OK);
    digest_add(direct, "weights", ABC, 64);
    digest_finish(direct, of_vae);
    assert_int_equal(digest_new(&direct, NULL), UNSTIR_OK);
    digest_add(direct, "model", own, 64);
    digest_add(direct, "vae", of_vae, 64);
    digest_add(direct, "text_encoder", "", 0);
    digest_finish(direct, want);
    assert_int_equal(digest_new(&direct, NULL), UNSTIR_OK);
    digest_add(direct, "model", want, 64);
    digest_add(direct, "<cat>", "\0\1", 2);
    digest_finish(direct, want);

    late_digest_add_file(vae, &abc);
    late_digest_add_late(given, "model", with_files());
    late_digest_add_late(given, "vae", vae);
    late_digest_add_late(given, "text_encoder", NULL);
    all = new_late();
    late_digest_add_late(all, "model", given);
    late_digest_add(all, "<cat>", "\0\1", 2);
    start(all, NULL);
    check_wait(all, want);
    late_digest_free(all);
}

/* -- what can fail --------------------------------------------------------- */

/* Wherever memory ends: the right digits or an error, here or from the thread.
 */
static void test_no_memory_is_told(void **state)
{
    char want[65], place[SCRATCH_PATH], name[16];
    size_t n_failed = 0;

    direct_of_files(want);
    for (long k = 1; k <= 40; k++) {
        struct unstir_error err = {0};
        enum unstir_status status;
        struct late_digest *d = new_late(), *outer = new_late();
        struct late_digest *inner = new_late();
        char hex[65];

        (void)snprintf(name, sizeof name, "m%ld", k);
        scratch_path(place, folder, name);
        alloc_test_fail_after(k);
        late_digest_add_late(outer, "unused", inner); /* is not lost */
        late_digest_free(outer);
        add_files(d);
        status = late_digest_start(d, k % 2 ? place : NULL, &err);
        if (status == UNSTIR_OK)
            status = late_digest_wait(d, hex, &err);
        alloc_test_fail_after(0);
        if (status == UNSTIR_OK)
            assert_string_equal(hex, want);
        else
            assert_int_equal(status, UNSTIR_ERR_NOMEM);
        n_failed += status != UNSTIR_OK;
        late_digest_free(d);
    }
    assert_true(n_failed > 0 && n_failed < 40);
}

/* A stack that cannot be had: no thread can be made. */
static void test_without_a_thread(void **state)
{
    struct late_digest *d = with_files();
    pthread_attr_t usual, large;
    char want[65];

    direct_of_files(want);
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_attr_init(&large), 0);
    assert_int_equal(pthread_attr_setstacksize(&large, (size_t)1 << 50), 0);
    assert_int_equal(pthread_setattr_default_np(&large), 0);
    start(d, NULL);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    assert_true(late_digest_is_ready(d));
    check_wait(d, want);
    late_digest_free(d);
    (void)pthread_attr_destroy(&large);
    (void)pthread_attr_destroy(&usual);
}

/* -- threads --------------------------------------------------------------- */

struct waiter {
    pthread_t thread;
    struct late_digest *d;
    enum unstir_status status;
    char hex[65];
};

static void *wait_for(void *arg)
{
    struct waiter *w = arg;

    w->status = late_digest_wait(w->d, w->hex, NULL);
    return NULL;
}

static void start_all(struct waiter *w, size_t n, struct late_digest *d)
{
    for (size_t i = 0; i < n; i++) {
        w[i].d = d;
        assert_int_equal(pthread_create(&w[i].thread, NULL, wait_for, &w[i]),
                         0);
    }
}

static void test_many_may_wait(void **state)
{
    struct late_digest *d = with_files();
    struct waiter w[4] = {0};
    char want[65];

    direct_of_files(want);
    start(d, NULL);
    start_all(w, ARRAY_LEN(w), d);
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        assert_int_equal(w[i].status, UNSTIR_OK);
        assert_string_equal(w[i].hex, want);
    }
    late_digest_free(d);
}

/* Of a file that takes minutes. */
static void test_stopped(void **state)
{
    struct mapfile endless = endless_open(ENDLESS_BYTES);
    struct late_digest *d = new_late(), *never = new_late();
    struct waiter w[2] = {0};

    late_digest_add_file(d, &endless);
    start(d, NULL);
    assert_false(late_digest_is_ready(d));
    start_all(w, ARRAY_LEN(w), d);
    late_digest_stop(d);
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        assert_int_equal(w[i].status, UNSTIR_ERR_CANCELLED);
    }
    late_digest_free(d);
    d = new_late();
    late_digest_add_file(d, &endless);
    start(d, NULL);
    late_digest_free(d); /* stops it, too */
    late_digest_add_file(never, &endless);
    late_digest_stop(never);
    late_digest_free(never);
    late_digest_stop(NULL);
    late_digest_free(NULL);
    mapfile_close(&endless);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_file),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_a_large_file),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_no_memory_is_told),
        cmocka_unit_test(test_without_a_thread),
        cmocka_unit_test(test_many_may_wait),
        cmocka_unit_test(test_stopped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
