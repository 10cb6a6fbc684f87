/* late_digest.h - a digest whose files are hashed beside other work.
 *
 * To hash a file of gigabytes takes a core for seconds, and who opens a model
 * has other work meanwhile.  A late digest is put together from its parts and
 * started; where a memo (digest_file.h) answers for each file it is ready at
 * once, else a thread of its own hashes them.  Whoever needs the digits waits
 * then.  They are those of digest.h for the same parts in the same order.
 *
 * Ownership.  Bytes are copied: configurations and tokenizers, megabytes at
 * most.  Files are borrowed until late_digest_free(), so that comes before
 * whatever closes them.
 *
 * Threads.  One thread puts a digest together, starts and frees it.  Between
 * start and free any thread may ask, wait and stop, as often as it likes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_LATE_DIGEST_H
#define FORMAT_LATE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct late_digest;
struct mapfile;
struct weights;

enum unstir_status late_digest_new(struct late_digest **out,
                                   struct unstir_error *err);

/* Parts as of digest_add(); want of memory is told by late_digest_start(). */
void late_digest_add(struct late_digest *d, const char *name, const void *bytes,
                     size_t n);

/* A part "weights": 64 hex digits of the file. */
void late_digest_add_file(struct late_digest *d, const struct mapfile *file);

/* Each file of w; *n_bytes grows by their sizes. */
void late_digest_add_files(struct late_digest *d, const struct weights *w,
                           size_t *n_bytes);

/* 64 hex digits of another digest, which must not have been started and which d
 * takes over, also when memory is short; of NULL: no digits. */
void late_digest_add_late(struct late_digest *d, const char *name,
                          struct late_digest *inner);

/* The last of the parts is there.  Where no thread can be had the files are
 * hashed here and now.  memos: digest_file.h; not borrowed.  After a failure
 * there is nothing left to do but to free it. */
enum unstir_status late_digest_start(struct late_digest *d, const char *memos,
                                     struct unstir_error *err);

/* Whether late_digest_wait() would not have to. */
bool late_digest_is_ready(struct late_digest *d);

/* 64 hex digits and a NUL.  What failed beside is told here:
 *
 *   UNSTIR_ERR_NOMEM      out of memory
 *   UNSTIR_ERR_CANCELLED  it was stopped before its end                      */
enum unstir_status late_digest_wait(struct late_digest *d, char hex[65],
                                    struct unstir_error *err);

/* Nobody needs the digits any more: who waits is let go within milliseconds.
 * It changes nothing once they are there.  NULL is allowed, and a digest that
 * was not started. */
void late_digest_stop(struct late_digest *d);

/* Stops it as well; NULL is allowed. */
void late_digest_free(struct late_digest *d);

#endif
