/* late_digest.c - a digest whose files are hashed beside other work.
 *
 * The stream that digest.h would hash stands in memory, with a hole of 64
 * digits for each file and each digest inside; holes are filled, then the
 * stream is hashed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/late_digest.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/mapfile.h"
#include "base/thread.h"
#include "format/digest.h"
#include "format/digest_file.h"
#include "format/weights_build.h"

#define HEX 64

struct hole {
    size_t at;                 /* in the stream                              */
    struct late_digest *inner; /* own; NULL: it is the file's                */
    struct mapfile file;       /* borrowed                                   */
    bool is_filled;
};

struct late_digest {
    unsigned char *stream;
    size_t n, capacity;
    struct hole *holes;
    size_t n_holes, holes_capacity;
    enum unstir_status parts_status; /* of the first part that failed        */
    struct unstir_error parts_error;

    /* Since the start. */
    char *memos; /* own; NULL: none                                          */
    struct cancel cancel;
    pthread_t thread;
    bool has_thread;

    /* Guards all below; no other lock is taken with it. */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool is_ended;
    enum unstir_status status;
    struct unstir_error error;
    char hex[HEX + 1];
};

enum unstir_status late_digest_new(struct late_digest **out,
                                   struct unstir_error *err)
{
    struct late_digest *d;

    *out = NULL;
    TRY(alloc_zero(&d, 1, sizeof *d, err));
    (void)pthread_mutex_init(&d->lock, NULL); /* cannot fail on Linux */
    (void)pthread_cond_init(&d->ended, NULL); /* cannot fail on Linux */
    *out = d;
    return UNSTIR_OK;
}

void late_digest_free(struct late_digest *d)
{
    if (!d)
        return;
    late_digest_stop(d);
    if (d->has_thread)
        (void)pthread_join(d->thread, NULL); /* ours, joinable */
    for (size_t i = 0; i < d->n_holes; i++)
        late_digest_free(d->holes[i].inner);
    alloc_free(d->holes);
    alloc_free(d->stream);
    alloc_free(d->memos);
    (void)pthread_cond_destroy(&d->ended);
    (void)pthread_mutex_destroy(&d->lock);
    alloc_free(d);
}

/* -- parts ----------------------------------------------------------------- */

/* n bytes more in the stream; they are 0.  NULL: it failed, now or before. */
static unsigned char *extend(struct late_digest *d, size_t n)
{
    unsigned char *end;

    if (d->parts_status == UNSTIR_OK)
        d->parts_status =
            alloc_grow(&d->stream, &d->capacity, d->n + n, 1, &d->parts_error);
    if (d->parts_status != UNSTIR_OK)
        return NULL;
    end = d->stream + d->n;
    d->n += n;
    return end;
}

static void put(struct late_digest *d, const void *bytes, size_t n)
{
    unsigned char *end = n > 0 ? extend(d, n) : NULL;

    if (end)
        memcpy(end, bytes, n);
}

/* What stands before the bytes of a part: see digest_add(). */
static void put_head(struct late_digest *d, const char *name, size_t n)
{
    char length[24];
    int n_length = snprintf(length, sizeof length, "%zu", n);

    put(d, name, strlen(name) + 1);
    put(d, length, (size_t)n_length + 1);
}

void late_digest_add(struct late_digest *d, const char *name, const void *bytes,
                     size_t n)
{
    put_head(d, name, n);
    put(d, bytes, n);
}

static void add_hole(struct late_digest *d, const char *name, struct hole hole)
{
    put_head(d, name, HEX);
    hole.at = d->n;
    if (extend(d, HEX))
        d->parts_status =
            alloc_grow(&d->holes, &d->holes_capacity, d->n_holes + 1,
                       sizeof *d->holes, &d->parts_error);
    if (d->parts_status == UNSTIR_OK)
        d->holes[d->n_holes++] = hole;
    else
        late_digest_free(hole.inner);
}

void late_digest_add_file(struct late_digest *d, const struct mapfile *file)
{
    add_hole(d, "weights", (struct hole){.file = *file});
}

void late_digest_add_files(struct late_digest *d, const struct weights *w,
                           size_t *n_bytes)
{
    for (size_t i = 0; i < w->n_sources; i++) {
        late_digest_add_file(d, &w->sources[i].map);
        *n_bytes += w->sources[i].map.n_bytes;
    }
}

void late_digest_add_late(struct late_digest *d, const char *name,
                          struct late_digest *inner)
{
    if (!inner) {
        late_digest_add(d, name, NULL, 0);
        return;
    }
    if (d->parts_status == UNSTIR_OK && inner->parts_status != UNSTIR_OK) {
        d->parts_status = inner->parts_status;
        d->parts_error = inner->parts_error;
    }
    add_hole(d, name, (struct hole){.inner = inner});
}

/* -- the digits ------------------------------------------------------------ */

static void fill(struct late_digest *d, struct hole *hole, const char *hex)
{
    memcpy(d->stream + hole->at, hex, HEX);
    hole->is_filled = true;
}

/* What memos tell; false: a file is left, here or inside. */
static bool recall_all(struct late_digest *d, const char *memos)
{
    bool has_all = true;
    char hex[HEX + 1];

    for (size_t i = 0; i < d->n_holes; i++) {
        struct hole *hole = &d->holes[i];

        if (hole->inner)
            has_all &= recall_all(hole->inner, memos);
        else if (digest_file_recall(hex, &hole->file, memos))
            fill(d, hole, hex);
        else
            has_all = false;
    }
    return has_all;
}

static enum unstir_status hash_stream(const struct late_digest *d,
                                      char hex[HEX + 1],
                                      struct unstir_error *err)
{
    struct digest *digest;

    TRY(digest_new(&digest, err));
    digest_add_plain(digest, d->stream, d->n);
    digest_finish(digest, hex);
    return UNSTIR_OK;
}

/* Of d, as the outermost digest `of` was started.  Digests lie in each other
 * three deep: inversions, parts given, files. */
static enum unstir_status hash_all(struct late_digest *d,
                                   const struct late_digest *of,
                                   char hex[HEX + 1], struct unstir_error *err)
{
    for (size_t i = 0; i < d->n_holes; i++) {
        struct hole *hole = &d->holes[i];

        if (hole->is_filled)
            continue;
        TRY(hole->inner ? hash_all(hole->inner, of, hex, err)
                        : digest_file_anew(hex, &hole->file, of->memos,
                                           &of->cancel, err));
        fill(d, hole, hex);
    }
    return hash_stream(d, hex, err);
}

/* From here on nobody waits, and only what is told below is read. */
static void end(struct late_digest *d, enum unstir_status status,
                const struct unstir_error *error, const char *hex)
{
    (void)pthread_mutex_lock(&d->lock); /* fails on our own bugs only */
    d->status = status;
    if (status == UNSTIR_OK)
        memcpy(d->hex, hex, sizeof d->hex);
    else
        d->error = *error;
    d->is_ended = true;
    (void)pthread_cond_broadcast(&d->ended);
    (void)pthread_mutex_unlock(&d->lock);
}

static void *hash(void *arg)
{
    struct late_digest *d = arg;
    struct unstir_error error;
    char hex[HEX + 1];
    enum unstir_status status = hash_all(d, d, hex, &error);

    end(d, status, &error, hex);
    return NULL;
}

enum unstir_status late_digest_start(struct late_digest *d, const char *memos,
                                     struct unstir_error *err)
{
    bool has_all;

    if (d->parts_status != UNSTIR_OK)
        return error_set(err, d->parts_status, "%s", d->parts_error.detail);
    has_all = recall_all(d, memos);
    if (!has_all && memos)
        TRY(alloc_strdup(&d->memos, memos, err));
    d->has_thread =
        !has_all && thread_start(&d->thread, "unstir digest", hash, d) == 0;
    if (d->has_thread)
        return UNSTIR_OK;
    (void)hash(d);
    return late_digest_wait(d, NULL, err);
}

bool late_digest_is_ready(struct late_digest *d)
{
    bool is_ended;

    (void)pthread_mutex_lock(&d->lock);
    is_ended = d->is_ended;
    (void)pthread_mutex_unlock(&d->lock);
    return is_ended;
}

enum unstir_status late_digest_wait(struct late_digest *d, char hex[65],
                                    struct unstir_error *err)
{
    enum unstir_status status;

    (void)pthread_mutex_lock(&d->lock);
    while (!d->is_ended)
        (void)pthread_cond_wait(&d->ended, &d->lock);
    status = d->status;
    if (status != UNSTIR_OK)
        (void)error_set(err, status, "%s", d->error.detail);
    else if (hex)
        memcpy(hex, d->hex, sizeof d->hex);
    (void)pthread_mutex_unlock(&d->lock);
    return status;
}

void late_digest_stop(struct late_digest *d)
{
    if (d)
        cancel_set(&d->cancel, true);
}
