/* error.h - how every fallible function of the engine reports failure.
 *
 *     enum unstir_status weights_open(..., struct unstir_error *err)
 *     {
 *         TRY(mapfile_open(&map, path, err));
 *         if (size < 8)
 *             return error_set(err, UNSTIR_ERR_FORMAT, "%s: %zu bytes, ...");
 *
 * `err` may always be NULL.  Text is for people: thing, wanted, found, limit.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/compiler.h"
#include "unstir.h"

/* Forward a failure to the caller; for functions with nothing to clean up. */
#define TRY(call)                                \
    do {                                         \
        enum unstir_status try_status_ = (call); \
        if (try_status_ != UNSTIR_OK)            \
            return try_status_;                  \
    } while (0)

/* Fill *err (status, text; field cleared) and return `status`. */
enum unstir_status error_set(struct unstir_error *err,
                             enum unstir_status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* The same for a request field. */
enum unstir_status error_field(struct unstir_error *err, const char *field,
                               const char *format, ...) PRINTF_LIKE(3, 4);

/* `status`, whose text gets "prefix: " in front unless it is success. */
enum unstir_status error_prefix(enum unstir_status status, const char *prefix,
                                struct unstir_error *err);

/* The same, but for a name of NULL and a text that begins with it already. */
enum unstir_status error_within(enum unstir_status status, const char *name,
                                struct unstir_error *err);

#endif
