/* artifacts.h - finished pictures by the SHA-256 of their bytes.
 *
 * Equal bytes are kept once.  An artifact lives until the latest expiry that
 * anybody gave it, or until the byte budget drops it: the one stored longest
 * ago goes first.  What is gone leaves a tombstone, so that it is told from
 * what never was (410 and 404).  The bytes themselves are a blob (blob.h): a
 * reply that is being sent keeps them after the artifact is gone, as an answer.
 *
 * Threads: loop only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_ARTIFACTS_H
#define SERVER_ARTIFACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blob.h"
#include "ring.h"
#include "sha256.h"

struct artifact {
    struct artifact *next_hash;
    struct ring by_age;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_SIZE];
    const char *content_type; /* static text                                */
    struct blob *blob;
    int64_t expires_ms; /* monotonic clock                            */
};

#define ARTIFACTS_BUCKETS    1024u
#define ARTIFACTS_TOMBSTONES 4096u

struct artifacts {
    struct artifact *buckets[ARTIFACTS_BUCKETS];
    struct ring by_age; /* of artifacts, oldest first                        */
    size_t n, n_bytes, max_bytes;
    uint64_t n_evicted;      /* by the budget, since the start               */
    struct answers *answers; /* what is still read when it goes counts there */
    uint8_t (*gone)[SHA256_BYTES];
    size_t n_gone, next_gone;
};

/* False without memory. */
bool artifacts_init(struct artifacts *artifacts, size_t max_bytes,
                    struct answers *answers);
void artifacts_fini(struct artifacts *artifacts);

/* Store the blob (a holder is added) under its digest, or prolong the one that
 * is there.  May drop older ones, never this one.  NULL without memory. */
struct artifact *artifacts_put(struct artifacts *artifacts,
                               const uint8_t digest[SHA256_BYTES],
                               struct blob *blob, const char *content_type,
                               int64_t expires_ms);

/* By lower-case hex; NULL if it is not there. */
struct artifact *artifacts_find(struct artifacts *artifacts, const char *hex);

/* Whether it was there and has gone, as far as memory reaches. */
bool artifacts_is_gone(const struct artifacts *artifacts, const char *hex);

/* Drop one now, leaving a tombstone. */
void artifacts_remove(struct artifacts *artifacts, struct artifact *artifact);

/* Drop all that has expired. */
void artifacts_expire(struct artifacts *artifacts, int64_t now_ms);

#endif
