/* notes.h - oddities to tell a person of: no errors, but worth a line each.
 *
 * Zeroed notes are empty.  Any thread, one at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_NOTES_H
#define BASE_NOTES_H

#include <stddef.h>

#include "base/error.h"

/* Files may hold any number of oddities: the last of so many says that there
 * are more. */
#define NOTES_MAX 256u

struct notes {
    char **texts;
    size_t n, capacity;
};

/* One more, cut at 639 bytes. */
enum unstir_status notes_add(struct notes *notes, struct unstir_error *err,
                             const char *format, ...) PRINTF_LIKE(3, 4);

void notes_fini(struct notes *notes);

#endif
