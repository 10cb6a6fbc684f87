/* upload.h - a picture, or latents, that came with a request.
 *
 * In a body it is a text: base64 (RFC 4648), plain or as a data: URL, or the
 * address of what this server made, /v1/artifacts/{sha256}.  Nothing is ever
 * fetched from elsewhere.
 *
 * Reading looks at the head of the file alone, beside taking its digest: format
 * by content, edges within UPLOAD_MAX_EDGE.  Pixels and numbers are decoded by
 * the worker that needs them.
 *
 * Threads: one at a time; for what has or had an address, the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_UPLOAD_H
#define SERVER_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "artifacts.h"
#include "sha256.h"

/* Decoded it is 48 MiB of RGB. */
#define UPLOAD_MAX_EDGE 4096u
/* As text, and so less than 3/4 of it as a file. */
#define UPLOAD_MAX_TEXT (32u << 20)

/* Of latents. */
#define UPLOAD_MAX_CHANNELS 256u

struct upload {
    struct blob *blob; /* held; NULL: none                                    */
    uint32_t width, height, channels;
    uint32_t n_latents;           /* it is so many latents; 0: a picture      */
    uint8_t digest[SHA256_BYTES]; /* of the file                              */
};

/* Whether the text is such an address, for which artifacts are needed. */
bool upload_is_address(const char *text);

/* False and *why when it is nothing that can be used; `why` [256] is empty
 * when there was no memory.  artifacts may be NULL. */
bool upload_read(struct upload *out, const struct artifacts *artifacts,
                 const char *text, char *why, size_t why_size);
void upload_fini(struct upload *upload); /* a zeroed one is allowed */

/* 0: none. */
static inline size_t upload_bytes(const struct upload *upload)
{
    return upload->blob != NULL ? upload->blob->n_bytes : 0;
}

#endif
