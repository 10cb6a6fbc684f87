/* forward.h - the forward process: a picture at any step of its drowning.
 *
 *   x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) z
 *
 * Source.  arXiv:1503.03585, eq. 2 and arXiv:2006.11239, eq. 4.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_FORWARD_H
#define PIPELINE_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* unstir_forward_image().  Any thread. */
enum unstir_status forward_image(const struct unstir_forward *f,
                                 const struct unstir_image *image, int32_t t,
                                 struct unstir_image *out,
                                 struct unstir_error *err);

#endif
