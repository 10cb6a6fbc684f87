/* artifacts.c - finished pictures by the SHA-256 of their bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "artifacts.h"

#include <assert.h>
#include <string.h>

#include "buf.h"

static struct artifact *oldest(const struct artifacts *a)
{
    return RING_OF(a->by_age.next, struct artifact, by_age);
}

bool artifacts_init(struct artifacts *a, size_t max_bytes,
                    struct answers *answers)
{
    memset(a, 0, sizeof *a);
    a->max_bytes = max_bytes;
    a->answers = answers;
    ring_init(&a->by_age);
    a->gone = mem_zero(ARTIFACTS_TOMBSTONES, sizeof *a->gone);
    return a->gone != NULL;
}

void artifacts_fini(struct artifacts *a)
{
    while (!ring_is_empty(&a->by_age))
        artifacts_remove(a, oldest(a));
    mem_free(a->gone);
    memset(a, 0, sizeof *a);
}

/* The digest is uniform already: its first bits are the hash. */
static struct artifact **bucket(struct artifacts *a, const uint8_t *digest)
{
    return &a->buckets[(digest[0] | (unsigned)digest[1] << 8) %
                       ARTIFACTS_BUCKETS];
}

static struct artifact *find(struct artifacts *a, const uint8_t *digest)
{
    struct artifact *at = *bucket(a, digest);

    while (at != NULL && memcmp(at->digest, digest, SHA256_BYTES) != 0)
        at = at->next_hash;
    return at;
}

static void bury(struct artifacts *a, const uint8_t *digest)
{
    memcpy(a->gone[a->next_gone], digest, SHA256_BYTES);
    a->next_gone = (a->next_gone + 1) % ARTIFACTS_TOMBSTONES;
    if (a->n_gone < ARTIFACTS_TOMBSTONES)
        a->n_gone++;
}

void artifacts_remove(struct artifacts *a, struct artifact *artifact)
{
    struct artifact **at = bucket(a, artifact->digest);

    while (*at != artifact)
        at = &(*at)->next_hash;
    *at = artifact->next_hash;
    ring_remove(&artifact->by_age);
    a->n--;
    a->n_bytes -= artifact->blob->n_bytes;
    bury(a, artifact->digest);
    blob_leave_store(artifact->blob, a->answers);
    mem_free(artifact);
}

static void keep_budget(struct artifacts *a, const struct artifact *spared)
{
    while (a->n_bytes > a->max_bytes && oldest(a) != spared) {
        artifacts_remove(a, oldest(a));
        a->n_evicted++;
    }
}

struct artifact *artifacts_put(struct artifacts *a,
                               const uint8_t digest[SHA256_BYTES],
                               struct blob *blob, const char *content_type,
                               int64_t expires_ms)
{
    struct artifact *artifact = find(a, digest);

    if (artifact != NULL) {
        if (artifact->expires_ms < expires_ms)
            artifact->expires_ms = expires_ms;
        ring_remove(&artifact->by_age);
        ring_add(&a->by_age, &artifact->by_age);
        return artifact;
    }
    artifact = mem_zero(1, sizeof *artifact);
    if (artifact == NULL)
        return NULL;
    *artifact = (struct artifact){.content_type = content_type,
                                  .blob = blob_hold(blob),
                                  .expires_ms = expires_ms,
                                  .next_hash = *bucket(a, digest)};
    memcpy(artifact->digest, digest, SHA256_BYTES);
    sha256_hex(artifact->hex, digest);
    *bucket(a, digest) = artifact;
    ring_add(&a->by_age, &artifact->by_age);
    a->n++;
    a->n_bytes += blob->n_bytes;
    keep_budget(a, artifact);
    return artifact;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

static bool read_hex(uint8_t digest[SHA256_BYTES], const char *hex)
{
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        int high = nibble(hex[2 * i]);
        int low = high < 0 ? -1 : nibble(hex[2 * i + 1]);

        if (low < 0)
            return false;
        digest[i] = (uint8_t)(high << 4 | low);
    }
    return hex[2 * SHA256_BYTES] == '\0';
}

struct artifact *artifacts_find(struct artifacts *a, const char *hex)
{
    uint8_t digest[SHA256_BYTES];

    return read_hex(digest, hex) ? find(a, digest) : NULL;
}

bool artifacts_is_gone(const struct artifacts *a, const char *hex)
{
    uint8_t digest[SHA256_BYTES];

    if (!read_hex(digest, hex))
        return false;
    for (size_t i = 0; i < a->n_gone; i++)
        if (memcmp(a->gone[i], digest, SHA256_BYTES) == 0)
            return true;
    return false;
}

void artifacts_expire(struct artifacts *a, int64_t now_ms)
{
    struct ring *next;

    for (struct ring *at = a->by_age.next; at != &a->by_age; at = next) {
        struct artifact *artifact = RING_OF(at, struct artifact, by_age);

        next = at->next;
        if (artifact->expires_ms <= now_ms)
            artifacts_remove(a, artifact);
    }
}
