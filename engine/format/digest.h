/* digest.h - SHA-256; the only door to nettle in the engine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_DIGEST_H
#define FORMAT_DIGEST_H

#include <stddef.h>

#include "base/error.h"

struct digest;

enum unstir_status digest_new(struct digest **out, struct unstir_error *err);

/* A named part: name, length and bytes count, so that no two lists of parts
 * give the same stream. */
void digest_add(struct digest *d, const char *name, const void *bytes,
                size_t n);

/* The bytes alone: of a file, what sha256sum says. */
void digest_add_plain(struct digest *d, const void *bytes, size_t n);

/* 64 hex digits and a NUL; ends the digest.  hex NULL: only that. */
void digest_finish(struct digest *d, char hex[65]);

#endif
