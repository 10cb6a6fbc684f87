/* single_file_original.h - a whole model under its original names, as other
 * programs read single files: the way back of single_file_names.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_SINGLE_FILE_ORIGINAL_H
#define FORMAT_SINGLE_FILE_ORIGINAL_H

#include <stdbool.h>

#include "base/error.h"
#include "format/single_file.h"

struct weights;

/* Tensors of parts with the names of the diffusers layout (NULL: no such
 * part), sealed, to be closed by the caller and before the parts.  They are
 * views, but for the text encoders of OpenCLIP, whose q, k and v are joined and
 * whose projection is turned: those are copies.
 *
 * *is_original: false if some tensor has no original name.  Then all of them
 * have the folder's, "unet.*", which single_file.h reads too. */
enum unstir_status
single_file_assemble(struct weights **out, bool *is_original,
                     const struct weights *const parts[SINGLE_FILE_PARTS],
                     enum single_file_kind kind, struct unstir_error *err);

#endif
