/* digest_file.c - what sha256sum says of a file, remembered between starts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/digest_file.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/path.h"
#include "format/digest.h"
#include "format/pack_file.h"
#include "format/weights_build.h"

#define MAX_MEMO   512
#define SETTLED_NS INT64_C(3000000000) /* ticks of file systems: up to 2 s   */

static enum unstir_status digest_of(char hex[65], const void *bytes, size_t n,
                                    struct unstir_error *err)
{
    struct digest *d;

    TRY(digest_new(&d, err));
    digest_add_plain(d, bytes, n);
    digest_finish(d, hex);
    return UNSTIR_OK;
}

/* What a memo begins with. */
static void write_key(char key[MAX_MEMO], const struct mapfile *file)
{
    const struct mapfile_stamp *s = &file->stamp;

    (void)snprintf(key, MAX_MEMO,
                   "unstir digest 1\n%" PRIu64 " %" PRIu64 " %zu %" PRId64
                   " %" PRId64 "\n",
                   s->device, s->inode, file->n_bytes, s->mtime_ns,
                   s->ctime_ns); /* fits: five numbers of 20 digits */
}

static bool is_settled(const struct mapfile *file)
{
    struct timespec now;

    if (file->stamp.inode == 0)
        return false;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail on Linux */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec -
               file->stamp.ctime_ns >=
           SETTLED_NS;
}

/* The whole memo: key, digest, and the digest of both. */
static enum unstir_status write_memo(char memo[MAX_MEMO], const char *key,
                                     const char hex[65],
                                     struct unstir_error *err)
{
    int n = snprintf(memo, MAX_MEMO, "%s%.64s\n", key, hex);
    char sum[65];

    TRY(digest_of(sum, memo, (size_t)n, err));
    (void)snprintf(memo + n, MAX_MEMO - (size_t)n, "%s\n", sum); /* fits */
    return UNSTIR_OK;
}

static enum unstir_status find_place(char path[PATH_BYTES], const char *memos,
                                     const char *key, struct unstir_error *err)
{
    char hex[65];
    int n;

    TRY(digest_of(hex, key, strlen(key), err));
    n = snprintf(path, PATH_BYTES, "%s/%.2s.digest", memos, hex);
    return n > 0 && n < PATH_BYTES
               ? UNSTIR_OK
               : error_set(err, UNSTIR_ERR_ARG, "%.200s: too long", memos);
}

/* The digest that a memo at `path` gives for `key`; false: none. */
static bool recall(char hex[65], const char *path, const char *key)
{
    size_t n, n_key = strlen(key);
    char memo[MAX_MEMO];
    bool is_good = false;
    char *text;

    if (pack_file_is_ours(path, NULL) != UNSTIR_OK ||
        mapfile_read(&text, &n, path, MAX_MEMO - 1, NULL) != UNSTIR_OK)
        return false;
    if (n > n_key + 64 && strncmp(text, key, n_key) == 0) {
        memcpy(hex, text + n_key, 64);
        hex[64] = '\0';
        is_good = write_memo(memo, key, hex, NULL) == UNSTIR_OK &&
                  strcmp(memo, text) == 0;
    }
    alloc_free(text);
    return is_good;
}

static enum unstir_status put_memo(void *memo, struct mapfile_sink *sink,
                                   struct unstir_error *err)
{
    return mapfile_put(sink, memo, strlen(memo), err);
}

/* A failure costs the next start its time, nothing else. */
static void remember(const char *path, const char *memos, const char *key,
                     const char hex[65])
{
    char memo[MAX_MEMO];
    struct unstir_error why;

    if (write_memo(memo, key, hex, &why) == UNSTIR_OK &&
        pack_folder_make(memos, &why) == UNSTIR_OK)
        (void)mapfile_write_cache(path, put_memo, memo, &why);
}

enum unstir_status digest_file(char hex[65], const struct mapfile *file,
                               const char *memos, struct unstir_error *err)
{
    char key[MAX_MEMO], path[PATH_BYTES];

    if (!memos || !is_settled(file))
        return digest_of(hex, file->bytes, file->n_bytes, err);
    write_key(key, file);
    TRY(find_place(path, memos, key, err));
    if (recall(hex, path, key))
        return UNSTIR_OK;
    TRY(digest_of(hex, file->bytes, file->n_bytes, err));
    remember(path, memos, key, hex);
    return UNSTIR_OK;
}

enum unstir_status digest_add_files(struct digest *d, const struct weights *w,
                                    const char *memos, size_t *n_bytes,
                                    struct unstir_error *err)
{
    for (size_t i = 0; i < w->n_sources; i++) {
        const struct mapfile *file = &w->sources[i].map;
        char hex[65];

        TRY(digest_file(hex, file, memos, err));
        digest_add(d, "weights", hex, 64);
        *n_bytes += file->n_bytes;
    }
    weights_forget(w);
    return UNSTIR_OK;
}
