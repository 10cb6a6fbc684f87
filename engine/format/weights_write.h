/* weights_write.h - tensors of any number and size into a safetensors file.
 *
 * Tensors are converted and written a piece at a time, so a model of any size
 * takes a few hundred kilobytes of memory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_WEIGHTS_WRITE_H
#define FORMAT_WEIGHTS_WRITE_H

#include "format/safetensors.h"

/* Float tensors are stored as *dtype (NULL: as they are, quantised ones in
 * half precision), whole numbers stay;
 * the file appears whole or not at all.  meta may be NULL. */
enum unstir_status weights_write(const char *path, const struct weights *w,
                                 const enum dtype *dtype,
                                 const struct safetensors_meta *meta,
                                 size_t n_meta, struct unstir_error *err);

#endif
