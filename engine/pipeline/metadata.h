/* metadata.h - what a picture says about itself.
 *
 *   parameters        the text that web interfaces write and read
 *   unstir            the canonical request: post it to get the same picture
 *   unstir-origin     what made it: model digest, numerics, steps taken
 *   XML:com.adobe.xmp IPTC DigitalSourceType: made by a trained algorithm, or
 *                     with one from a picture; in JPEG and WebP, which keep
 *                     no texts of other names, request and origin as well
 *
 * Nothing in it differs between equal requests.
 *
 * Source.  https://cv.iptc.org/newscodes/digitalsourcetype/
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_METADATA_H
#define PIPELINE_METADATA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define METADATA_MAX_TEXTS 4

struct metadata {
    struct unstir_text texts[METADATA_MAX_TEXTS];
    size_t n;
    char *parameters, *request, *origin, *xmp; /* owned */
};

/* XMP only when is_brief.  metadata_fini() in every case. */
enum unstir_status metadata_init(struct metadata *m,
                                 const struct unstir_generation *g,
                                 enum unstir_format format, bool is_brief,
                                 struct unstir_error *err);
void metadata_fini(struct metadata *m);

#endif
