/* digest_file.c - what sha256sum says of a file, remembered between starts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/digest_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/path.h"
#include "format/digest.h"
#include "format/pack_file.h"

#define MAX_MEMO    512
#define PIECE_BYTES ((size_t)32 << 20)  /* 25 ms; many pages        */
#define SETTLED_NS  INT64_C(3000000000) /* ticks of file systems: up to 2 s   */

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

bool digest_file_recall(char hex[65], const struct mapfile *file,
                        const char *memos)
{
    char key[MAX_MEMO], path[PATH_BYTES];

    if (!memos || !is_settled(file))
        return false;
    write_key(key, file);
    return find_place(path, memos, key, NULL) == UNSTIR_OK &&
           recall(hex, path, key);
}

/* Its pages are given back behind it, so that none of a file of gigabytes
 * stands in memory for this. */
static enum unstir_status digest_pieces(char hex[65],
                                        const struct mapfile *file,
                                        const struct cancel *cancel,
                                        struct unstir_error *err)
{
    struct digest *d;

    TRY(digest_new(&d, err));
    for (size_t at = 0, n; at < file->n_bytes; at += n) {
        n = file->n_bytes - at < PIECE_BYTES ? file->n_bytes - at : PIECE_BYTES;
        if (cancel_is_raised(cancel)) {
            digest_finish(d, NULL);
            return error_set(err, UNSTIR_ERR_CANCELLED,
                             "the digest of a file was stopped");
        }
        digest_add_plain(d, file->bytes + at, n);
        mapfile_forget_part(file, at, n);
    }
    digest_finish(d, hex);
    return UNSTIR_OK;
}

enum unstir_status digest_file_anew(char hex[65], const struct mapfile *file,
                                    const char *memos,
                                    const struct cancel *cancel,
                                    struct unstir_error *err)
{
    bool is_kept = memos && is_settled(file); /* before its first byte */
    char key[MAX_MEMO], path[PATH_BYTES];

    TRY(digest_pieces(hex, file, cancel, err));
    if (!is_kept)
        return UNSTIR_OK;
    write_key(key, file);
    if (find_place(path, memos, key, NULL) == UNSTIR_OK)
        remember(path, memos, key, hex);
    return UNSTIR_OK;
}
