/* pickle.h - files of PyTorch's own format, which are never read.
 *
 * They can run code when they are read (.bin, .ckpt, .pt, .pth): each door that
 * one could come through refuses it with advice.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_PICKLE_H
#define FORMAT_PICKLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Whether a file begins as one, an archive of today's or the older form. */
bool pickle_is(const void *bytes, size_t n);
/* Whether its name ends as one's. */
bool pickle_is_name(const char *name);

/* UNSTIR_ERR_UNSUPPORTED, with advice. */
enum unstir_status pickle_refuse(const char *path, struct unstir_error *err);

#endif
