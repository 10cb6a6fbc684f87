/* model_parts.h - parts of a model that come from elsewhere.
 *
 * An autoencoder or text encoders in place of the model's own, or because it
 * has none: files of a UNet alone are common.  Each is a file (of that part,
 * in any of the namings of single_file.h, or of a whole model) or a folder (of
 * that part in the diffusers layout, or of a whole model).  What a file does
 * not say is taken from the kind of the model that the part is for.
 *
 * Of two text encoders each finds its place by its projection; where that does
 * not tell, in the order given.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_MODEL_PARTS_H
#define PIPELINE_MODEL_PARTS_H

#include <stdbool.h>

#include "format/diffusers_folder.h"
#include "format/single_file.h"
#include "pipeline/conditioning.h"

/* Paths; NULL: not given. */
struct model_parts_wish {
    const char *vae;
    const char *texts[CONDITIONING_ENCODERS];
};

struct late_digest;

struct model_part {
    struct single_file file;        /* if it is one                         */
    struct diffusers_folder folder; /* if not                               */
    const struct json *config;      /* of either; NULL: not given           */
    const struct weights *weights;
    const char *path; /* of the file (borrowed from the wish), or of the
                         folder that it lies in                              */
    struct late_digest *digest; /* of its files, not started, for another one
                                   to take over; NULL: not given, or taken    */
    bool is_file;
};

struct model_parts {
    struct model_part vae, texts[CONDITIONING_ENCODERS];
    size_t n_bytes; /* of files                                             */
};

/* Of a network with that configuration.  model_parts_close() in every case. */
enum unstir_status model_parts_open(struct model_parts *p,
                                    const struct model_parts_wish *wish,
                                    const struct json *unet_config,
                                    struct unstir_error *err);
void model_parts_close(struct model_parts *p);

/* The kind of model that a UNet's configuration is of. */
enum single_file_kind model_parts_kind(const struct json *unet_config);

#endif
