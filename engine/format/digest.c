/* digest.c - SHA-256 by nettle, which uses the CPU's own instructions.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/digest.h"

#include <stdio.h>
#include <string.h>

#include <nettle/sha2.h>

#include "base/alloc.h"

struct digest {
    struct sha256_ctx sha;
};

enum unstir_status digest_new(struct digest **out, struct unstir_error *err)
{
    *out = NULL;
    TRY(alloc_zero(out, 1, sizeof(struct digest), err));
    sha256_init(&(*out)->sha);
    return UNSTIR_OK;
}

void digest_add(struct digest *d, const char *name, const void *bytes, size_t n)
{
    char length[24];
    int n_length = snprintf(length, sizeof(length), "%zu", n);
    sha256_update(&d->sha, strlen(name) + 1, (const uint8_t *)name);
    sha256_update(&d->sha, (size_t)n_length + 1, (const uint8_t *)length);
    if (n > 0)
        sha256_update(&d->sha, n, bytes);
}

void digest_add_plain(struct digest *d, const void *bytes, size_t n)
{
    if (n > 0)
        sha256_update(&d->sha, n, bytes);
}

void digest_finish(struct digest *d, char hex[65])
{
    uint8_t sum[SHA256_DIGEST_SIZE];
    if (!d)
        return;
    sha256_digest(&d->sha, sizeof(sum), sum);
    for (size_t i = 0; hex && i < sizeof(sum); i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    alloc_free(d);
}
