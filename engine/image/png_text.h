/* png_text.h - texts for a PNG: checked, and in the chunk that can hold them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef IMAGE_PNG_TEXT_H
#define IMAGE_PNG_TEXT_H

#include "base/error.h"

struct png_text_struct;

struct png_texts {
    struct png_text_struct *rows; /* for png_set_text()                      */
    char *memory;                 /* what the rows point into                */
};

/* Keys must be 1..79 printable Latin-1 characters and values UTF-8.  A value
 * that Latin-1 can hold becomes tEXt, any other (and XMP) iTXt. */
enum unstir_status png_texts_make(struct png_texts *out,
                                  const struct unstir_text *texts, size_t n,
                                  struct unstir_error *err);
void png_texts_free(struct png_texts *texts);

#endif
