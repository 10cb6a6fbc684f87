/* notes.c - oddities to tell a person of.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/notes.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"

#define TEXT_BYTES 640 /* the name of any tensor and some words               */

enum unstir_status notes_add(struct notes *notes, struct unstir_error *err,
                             const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;

    if (notes->n == NOTES_MAX)
        return UNSTIR_OK;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    TRY(alloc_grow(&notes->texts, &notes->capacity, notes->n + 1,
                   sizeof *notes->texts, err));
    TRY(alloc_strdup(&notes->texts[notes->n],
                     notes->n + 1 < NOTES_MAX ? text : "more, not listed",
                     err));
    notes->n++;
    return UNSTIR_OK;
}

void notes_fini(struct notes *notes)
{
    for (size_t i = 0; i < notes->n; i++)
        alloc_free(notes->texts[i]);
    alloc_free(notes->texts);
    *notes = (struct notes){.n = 0};
}
