/* text_folder.h - a golden of tests/data/text_pipelines as a model on disk.
 *
 * The weights are drawn by the rule of network_draw() from the golden's seed,
 * as tools/goldens/make_text_pipelines.py draws them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_TEXT_FOLDER_H
#define SUPPORT_TEXT_FOLDER_H

#include <stdint.h>

struct weights;

/* Configurations, as JSON. */
struct text_folder {
    const char *index, *scheduler, *unet, *vae;
    const char *text_encoder, *text_encoder_2; /* one may be NULL            */
    const char *tokenizer_config;              /* NULL: as all have it       */
    uint64_t seed;
};

struct text_folder text_folder_of(const struct weights *golden);

/* Write the diffusers folder into the empty folder `path`. */
void text_folder_write(const char *path, const struct text_folder *f);

#endif
