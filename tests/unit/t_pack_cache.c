/* t_pack_cache.c - packed weights on disk: the same bytes, and never trusted.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/mapfile.h"
#include "endless.h"
#include "format/json.h"
#include "format/late_digest.h"
#include "format/pack_file.h"
#include "golden.h"
#include "model/network.h"
#include "must.h"
#include "scratch.h"

#define EDGE 8

static const char digest[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char other_digest[] =
    "0123456789abcdefffffffffffffffff0123456789abcdef0123456789abcdef";

/* A network with an upsampling and joined layers. */
static const char config_text[] =
    "{\"in_channels\":1,\"out_channels\":1,\"sample_size\":8,"
    "\"block_out_channels\":[16,32],\"layers_per_block\":1,"
    "\"norm_num_groups\":8,"
    "\"down_block_types\":[\"DownBlock2D\",\"AttnDownBlock2D\"],"
    "\"up_block_types\":[\"AttnUpBlock2D\",\"UpBlock2D\"]}";

static const struct pack_key key = {"k unet scalar-1-f32", 42, 256};

static enum pack_source open_with(const char *folder, const char *isa,
                                  const char *of, uint64_t seed,
                                  float out[EDGE * EDGE])
{
    struct network_options options = {
        .isa = isa, .mode = LOWER_FUSED, .cache = {folder, of, "unet", 1}};
    float sample[EDGE * EDGE], timestep = 30;
    struct unstir_error err = {0};
    enum pack_source source;
    struct executor *x;
    struct network *net;
    struct json *config;

    assert_int_equal(
        json_parse(&config, config_text, strlen(config_text), NULL), UNSTIR_OK);
    if (network_open(&net, config, NULL, seed, &options, &err))
        fail_msg("%s", err.detail);
    json_free(config);
    for (size_t i = 0; i < EDGE * EDGE; i++)
        sample[i] = (float)(i % 11) / 5 - 1;
    struct network_io io = {.n = 1,
                            .h = EDGE,
                            .w = EDGE,
                            .sample = sample,
                            .timestep = &timestep,
                            .out = out};
    assert_int_equal(executor_new(&x, 1, 0, 0, NULL), UNSTIR_OK);
    if (network_eval(net, x, &io, NULL, &err))
        fail_msg("%s", err.detail);
    source = network_info(net)->pack_source;
    executor_free(x);
    network_free(net);
    return source;
}

static void check_open(const char *what, const char *folder, const char *isa,
                       const char *of, enum pack_source want)
{
    float out[EDGE * EDGE], plain[EDGE * EDGE];
    enum pack_source got;

    (void)open_with(NULL, isa, of, 3, plain);
    got = open_with(folder, isa, of, 3, out);
    if (got != want)
        fail_msg("%s: got %s, wanted %s", what, pack_source_name(got),
                 pack_source_name(want));
    assert_memory_equal(out, plain, sizeof out);
}

/* The only file of a folder. */
static void only_file(char path[SCRATCH_PATH], const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    size_t n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL)
        if (e->d_name[0] != '.') {
            scratch_path(path, folder, e->d_name);
            n++;
        }
    (void)closedir(dir);
    assert_int_equal(n, 1);
}

static void test_same_bytes_on_every_rung(void **state)
{
    char folder[SCRATCH_PATH], below[SCRATCH_PATH], name[32];

    (void)state;
    scratch_make(folder);
    for (size_t r = 0; golden_rung(r); r++) {
        /* Of its own: rungs that compute f32 alike share their packs. */
        (void)snprintf(name, sizeof name, "a%zu/b", r);
        scratch_path(below, folder, name); /* is made */
        check_open("first", below, golden_rung(r), digest, PACK_STORED);
        check_open("second", below, golden_rung(r), digest, PACK_MAPPED);
        check_open("third", below, golden_rung(r), digest, PACK_MAPPED);
    }
    scratch_remove(folder);
}

static void test_small_networks_have_no_file(void **state)
{
    struct network_options options = {.mode = LOWER_FUSED,
                                      .cache = {.digest = digest}};
    char folder[SCRATCH_PATH];
    struct network *net;
    struct json *config;

    (void)state;
    scratch_make(folder);
    options.cache.folder = folder;
    options.cache.part = "unet";
    assert_int_equal(
        json_parse(&config, config_text, strlen(config_text), NULL), UNSTIR_OK);
    assert_int_equal(network_open(&net, config, NULL, 1, &options, NULL),
                     UNSTIR_OK);
    assert_int_equal(network_info(net)->pack_source, PACK_BUILT);
    network_free(net);
    json_free(config);
    scratch_remove(folder);
}

struct damage {
    const char *what;
    long at;         /* byte to flip, from the end if negative; or          */
    long cut, extra; /* bytes to take from or put to the end                */
};

static const struct damage damages[] = {
    {"magic", 0, 0, 0},
    {"byte order", 8, 0, 0},
    {"version", 12, 0, 0},
    {"size", 17, 0, 0},
    {"layout", 24, 0, 0},
    {"sum", 33, 0, 0},
    {"key", 41, 0, 0},
    {"end of the key", 290, 0, 0},
    {"header's sum", 296, 0, 0},
    {"padding", 4095, 0, 0},
    {"first of image", 4096, 0, 0},
    {"middle", 9001, 0, 0},
    {"last", -1, 0, 0},
    {"short by one", 0, 1, 0},
    {"short by a page", 0, 4096, 0},
    {"long by one", 0, 0, 1},
    {"long by a page", 0, 0, 4096},
};

static void damage(const char *path, const struct damage *d)
{
    char *bytes, *copy;
    size_t n;

    assert_int_equal(mapfile_read(&bytes, &n, path, 0, NULL), UNSTIR_OK);
    copy = calloc(n + 4096, 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    if (d->cut == 0 && d->extra == 0)
        copy[d->at < 0 ? (long)n + d->at : d->at] ^= 4;
    assert_int_equal(
        mapfile_write(path, copy, n - (size_t)d->cut + (size_t)d->extra, NULL),
        UNSTIR_OK);
    free(copy);
    alloc_free(bytes);
}

static void test_damaged_files_are_rebuilt(void **state)
{
    char folder[SCRATCH_PATH], path[SCRATCH_PATH];

    (void)state;
    scratch_make(folder);
    check_open("new", folder, "scalar", digest, PACK_STORED);
    only_file(path, folder);
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        damage(path, &damages[i]);
        check_open(damages[i].what, folder, "scalar", digest, PACK_STORED);
        check_open(damages[i].what, folder, "scalar", digest, PACK_MAPPED);
    }
    assert_int_equal(truncate(path, 0), 0);
    check_open("empty", folder, "scalar", digest, PACK_STORED);
    assert_int_equal(chmod(path, 0666), 0);
    check_open("others may write", folder, "scalar", digest, PACK_STORED);
    only_file(path, folder);
    scratch_remove(folder);
}

/* The name says 16 digits of the digest, the header all. */
static void test_foreign_files_are_rebuilt(void **state)
{
    char folder[SCRATCH_PATH], path[SCRATCH_PATH], target[SCRATCH_PATH];

    (void)state;
    scratch_make(folder);
    check_open("new", folder, "scalar", digest, PACK_STORED);
    check_open("other weights", folder, "scalar", other_digest, PACK_STORED);
    check_open("the first again", folder, "scalar", digest, PACK_STORED);
    only_file(path, folder);
    scratch_path(target, folder, "target");
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink(target, path), 0);
    check_open("a link", folder, "scalar", digest, PACK_STORED);
    scratch_remove(folder);
}

/* A file of the right key with right sums and wrong contents: of an earlier
 * program that packed in another way without saying so. */
static void test_a_sample_is_compared(void **state)
{
    char folder[SCRATCH_PATH], path[SCRATCH_PATH];
    float first[EDGE * EDGE], second[EDGE * EDGE];

    (void)state;
    scratch_make(folder);
    assert_int_equal(open_with(folder, "scalar", digest, 3, first),
                     PACK_STORED);
    only_file(path, folder);
    /* The same digest, other weights. */
    assert_int_equal(open_with(folder, "scalar", digest, 4, second),
                     PACK_STORED);
    assert_memory_not_equal(first, second, sizeof first);
    scratch_remove(folder);
}

static void test_folders_that_cannot_be_used(void **state)
{
    char folder[SCRATCH_PATH], file[SCRATCH_PATH], below[SCRATCH_PATH];

    (void)state;
    scratch_make(folder);
    scratch_write(folder, "file", "x", 1);
    scratch_path(file, folder, "file");
    scratch_path(below, folder, "file/below");
    check_open("a file", file, "scalar", digest, PACK_BUILT);
    check_open("below a file", below, "scalar", digest, PACK_BUILT);
    check_open("no such device", "/proc/none", "scalar", digest, PACK_BUILT);
    check_open("none", "none", "scalar", digest, PACK_BUILT);
    check_open("no digest", folder, "scalar", NULL, PACK_BUILT);
    if (geteuid() != 0) { /* root may write anywhere */
        assert_int_equal(chmod(folder, 0500), 0);
        check_open("read-only", folder, "scalar", digest, PACK_BUILT);
        assert_int_equal(chmod(folder, 0700), 0);
    }
    scratch_remove(folder);
}

/* -- a digest that is on its way --------------------------------------- */

/* Of a file with these bytes, or of one that takes minutes. */
static struct late_digest *begin_late(const struct mapfile *file)
{
    struct unstir_error err;
    struct late_digest *late;

    must(late_digest_new(&late, &err), &err);
    late_digest_add_file(late, file);
    must(late_digest_start(late, NULL, &err), &err);
    return late;
}

static enum unstir_status open_late(struct network **net, const char *folder,
                                    struct late_digest *late, uint64_t seed)
{
    struct network_options options = {
        .isa = "scalar",
        .mode = LOWER_FUSED,
        .cache = {.folder = folder, .part = "unet", .min_bytes = 1}};
    enum unstir_status status;
    struct json *config;

    options.cache.late = late;
    assert_int_equal(
        json_parse(&config, config_text, strlen(config_text), NULL), UNSTIR_OK);
    status = network_open(net, config, NULL, seed, &options, NULL);
    json_free(config);
    return status;
}

static void check_late(const char *what, const char *folder,
                       const struct mapfile *file, enum pack_source want)
{
    struct late_digest *late = begin_late(file);
    enum pack_source got;
    struct network *net;

    assert_int_equal(open_late(&net, folder, late, 3), UNSTIR_OK);
    got = network_info(net)->pack_source;
    if (got != want)
        fail_msg("%s: got %s, wanted %s", what, pack_source_name(got),
                 pack_source_name(want));
    network_free(net);
    late_digest_free(late);
}

static void test_a_late_digest_names_the_file(void **state)
{
    const struct mapfile abc = {.bytes = (const unsigned char *)"abc",
                                .n_bytes = 3};
    const struct mapfile abd = {.bytes = (const unsigned char *)"abd",
                                .n_bytes = 3};
    char folder[SCRATCH_PATH], path[SCRATCH_PATH], name[32], hex[65];
    struct late_digest *late = begin_late(&abc);

    (void)state;
    assert_int_equal(late_digest_wait(late, hex, NULL), UNSTIR_OK);
    late_digest_free(late);
    scratch_make(folder);
    check_late("first", folder, &abc, PACK_STORED);
    only_file(path, folder);
    (void)snprintf(name, sizeof name, "/%.16s-unet-", hex);
    assert_non_null(strstr(path, name));
    check_open("by its digits", folder, "scalar", hex, PACK_MAPPED);
    check_late("again", folder, &abc, PACK_MAPPED);
    check_late("of other weights", folder, &abd, PACK_STORED);
    check_late("the first once more", folder, &abc, PACK_MAPPED);
    scratch_remove(folder);
}

static size_t count_files(const char *folder)
{
    DIR *dir = opendir(folder);
    const struct dirent *e;
    size_t n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL)
        n += e->d_name[0] != '.';
    (void)closedir(dir);
    return n;
}

/* Packed while the weights are still being hashed; packs of other weights hold
 * nothing up.  Given up before the digest is there, none are written. */
static void test_packing_does_not_wait(void **state)
{
    struct mapfile endless = endless_open(ENDLESS_BYTES);
    struct late_digest *late = begin_late(&endless);
    char folder[SCRATCH_PATH];
    struct network *net;

    (void)state;
    scratch_make(folder);
    for (size_t n = 0; n < 2; n++) {
        assert_int_equal(open_late(&net, folder, late, 3), UNSTIR_OK);
        assert_int_equal(network_info(net)->pack_source, PACK_STORED);
        assert_false(late_digest_is_ready(late));
        late_digest_stop(late);
        network_free(net);
        assert_int_equal(count_files(folder), n);
        late_digest_free(late);
        assert_int_equal(
            open_with(folder, "scalar", digest, 4, (float[EDGE * EDGE]){0}),
            n == 0 ? PACK_STORED : PACK_MAPPED);
        late = begin_late(&endless);
    }
    late_digest_free(late);
    mapfile_close(&endless);
    scratch_remove(folder);
}

/* Packs that could be these weights' are waited for, and the wait can fail. */
static void test_a_digest_that_fails(void **state)
{
    struct mapfile endless = endless_open(ENDLESS_BYTES);
    struct late_digest *late = begin_late(&endless);
    char folder[SCRATCH_PATH];
    struct network *net;

    (void)state;
    scratch_make(folder);
    check_open("packs", folder, "scalar", digest, PACK_STORED);
    late_digest_stop(late);
    assert_int_equal(open_late(&net, folder, late, 3), UNSTIR_ERR_CANCELLED);
    assert_null(net);
    late_digest_free(late);
    mapfile_close(&endless);
    scratch_remove(folder);
}

/* -- the folder -------------------------------------------------------- */

static void write_aged(const char *folder, const char *name, size_t n,
                       time_t age_s)
{
    struct timespec times[2];
    char path[SCRATCH_PATH];
    void *bytes;

    assert_int_equal(alloc_zero(&bytes, n, 1, NULL), UNSTIR_OK);
    scratch_write(folder, name, bytes, n);
    alloc_free(bytes);
    scratch_path(path, folder, name);
    times[0] = times[1] = (struct timespec){time(NULL) - age_s, 0};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void check_there(const char *folder, const char *name, bool want)
{
    char path[SCRATCH_PATH];

    scratch_path(path, folder, name);
    if ((access(path, F_OK) == 0) != want)
        fail_msg("%s is %s", name, want ? "gone" : "still there");
}

static void test_the_folder_has_a_ceiling(void **state)
{
    char folder[SCRATCH_PATH];

    (void)state;
    scratch_make(folder);
    write_aged(folder, "a.pack", 1000, 30);
    write_aged(folder, "b.pack", 1000, 50);
    write_aged(folder, "c.pack", 1000, 10);
    write_aged(folder, "d.pack.Xyz123", 1000, 100000);
    write_aged(folder, "e.pack.Xyz123", 1000, 100);
    write_aged(folder, "letter.txt", 9000, 100000);
    assert_true(pack_folder_trim(folder, 1000, 4000));
    check_there(folder, "b.pack", true);
    assert_true(pack_folder_trim(folder, 1001, 4000));
    check_there(folder, "b.pack", false);
    assert_true(pack_folder_trim(folder, 2500, 4000));
    check_there(folder, "a.pack", false);
    check_there(folder, "c.pack", true);
    check_there(folder, "d.pack.Xyz123", false);
    check_there(folder, "e.pack.Xyz123", true);
    check_there(folder, "letter.txt", true);
    assert_false(pack_folder_trim(folder, 4001, 4000));
    check_there(folder, "c.pack", true);
    scratch_remove(folder);
}

static void check_folder(const char *word, const char *want)
{
    char got[PATH_BYTES] = "";
    bool is_some = pack_cache_folder(got, word);

    if (is_some != (want != NULL) || (want && strcmp(got, want) != 0))
        fail_msg("%s: got %s, wanted %s", word ? word : "NULL",
                 is_some ? got : "none", want ? want : "none");
}

static void test_words(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("UNSTIR_CACHE_DIR"), 0);
    assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
    assert_int_equal(unsetenv("HOME"), 0);
    check_folder(NULL, NULL);
    check_folder("", NULL);
    check_folder("none", NULL);
    check_folder("auto", NULL);
    check_folder("some/where", "some/where");
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    check_folder("auto", "/h/.cache/unstir");
    assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1), 0);
    check_folder("auto", "/h/.cache/unstir");
    assert_int_equal(setenv("XDG_CACHE_HOME", "/x", 1), 0);
    check_folder("auto", "/x/unstir");
    assert_int_equal(setenv("UNSTIR_CACHE_DIR", "/u", 1), 0);
    check_folder("auto", "/u");
}

/* -- the file ---------------------------------------------------------- */

/* Every bit of a small file counts. */
static void test_every_bit_is_checked(void **state)
{
    char folder[SCRATCH_PATH], path[SCRATCH_PATH];
    unsigned char image[256];
    char *bytes;
    size_t n;

    (void)state;
    scratch_make(folder);
    scratch_path(path, folder, "x.pack");
    for (size_t i = 0; i < sizeof image; i++)
        image[i] = (unsigned char)(i * 7);
    assert_int_equal(pack_file_write(path, &key, image, NULL), UNSTIR_OK);
    assert_int_equal(mapfile_read(&bytes, &n, path, 0, NULL), UNSTIR_OK);
    assert_int_equal(n, PACK_FILE_HEADER + sizeof image);
    assert_true(pack_file_check((unsigned char *)bytes, n, &key));
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        if (pack_file_check((unsigned char *)bytes, n, &key))
            fail_msg("bit %zu may be wrong", bit);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t k = 0; k < n; k++)
        assert_false(pack_file_check((unsigned char *)bytes, k, &key));
    alloc_free(bytes);
    scratch_remove(folder);
}

/* Of an image in pieces, of which the last is short: a bit in each, and two
 * that stand in each other's place. */
static void test_every_piece_is_checked(void **state)
{
    enum { PIECE = 16 << 20, N = 2 * PIECE + 64 };
    static const size_t places[] = {0, PIECE - 1, PIECE, 2 * PIECE, N - 1};
    struct pack_key large = {key.text, key.layout, N};
    char folder[SCRATCH_PATH], path[SCRATCH_PATH];
    unsigned char *image, *bytes;
    size_t n;

    (void)state;
    scratch_make(folder);
    scratch_path(path, folder, "x.pack");
    assert_int_equal(alloc_zero(&image, N, 1, NULL), UNSTIR_OK);
    for (size_t i = 0; i < N; i++)
        image[i] = (unsigned char)(i / PIECE + i % 251);
    assert_int_equal(pack_file_write(path, &large, image, NULL), UNSTIR_OK);
    assert_int_equal(mapfile_read((char **)&bytes, &n, path, 0, NULL),
                     UNSTIR_OK);
    assert_true(pack_file_check(bytes, n, &large));
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        bytes[PACK_FILE_HEADER + places[i]] ^= 1;
        assert_false(pack_file_check(bytes, n, &large));
        bytes[PACK_FILE_HEADER + places[i]] ^= 1;
    }
    memcpy(bytes + PACK_FILE_HEADER, image + PIECE, PIECE);
    memcpy(bytes + PACK_FILE_HEADER + PIECE, image, PIECE);
    assert_false(pack_file_check(bytes, n, &large));
    alloc_free(bytes);
    alloc_free(image);
    scratch_remove(folder);
}

static void test_no_memory_is_told(void **state)
{
    char folder[SCRATCH_PATH];
    struct json *config;
    bool is_done = false;

    (void)state;
    scratch_make(folder);
    assert_int_equal(
        json_parse(&config, config_text, strlen(config_text), NULL), UNSTIR_OK);
    for (long k = 1; !is_done; k++) {
        struct network_options options = {.isa = "scalar",
                                          .mode = LOWER_FUSED,
                                          .cache = {folder, digest, "unet", 1}};
        enum unstir_status status;
        struct network *net;

        alloc_test_fail_after(k);
        status = network_open(&net, config, NULL, 1, &options, NULL);
        alloc_test_fail_after(0);
        is_done = status == UNSTIR_OK;
        assert_true(is_done || status == UNSTIR_ERR_NOMEM);
        network_free(net);
    }
    json_free(config);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_on_every_rung),
        cmocka_unit_test(test_small_networks_have_no_file),
        cmocka_unit_test(test_damaged_files_are_rebuilt),
        cmocka_unit_test(test_foreign_files_are_rebuilt),
        cmocka_unit_test(test_a_sample_is_compared),
        cmocka_unit_test(test_folders_that_cannot_be_used),
        cmocka_unit_test(test_a_late_digest_names_the_file),
        cmocka_unit_test(test_packing_does_not_wait),
        cmocka_unit_test(test_a_digest_that_fails),
        cmocka_unit_test(test_the_folder_has_a_ceiling),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_every_bit_is_checked),
        cmocka_unit_test(test_every_piece_is_checked),
        cmocka_unit_test(test_no_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
