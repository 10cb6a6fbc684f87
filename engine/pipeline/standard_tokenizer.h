/* standard_tokenizer.h - the tokenizer of text encoders that came without one.
 *
 * All of Stable Diffusion's encoders share CLIP's table of merges; those of
 * OpenCLIP pad with another token.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_STANDARD_TOKENIZER_H
#define PIPELINE_STANDARD_TOKENIZER_H

#include <stdbool.h>

#include "base/error.h"

struct bpe;

/* merges: the path of the table, models/clip-bpe/merges.txt; NULL, of a
 * program that does not know it, is UNSTIR_ERR_ARG. */
enum unstir_status standard_tokenizer_open(struct bpe **out, const char *merges,
                                           bool is_open_clip,
                                           struct unstir_error *err);

/* As the files of a folder, which is there: vocab.json, merges.txt,
 * tokenizer_config.json. */
enum unstir_status standard_tokenizer_write(const char *folder,
                                            const char *merges,
                                            bool is_open_clip,
                                            struct unstir_error *err);

#endif
