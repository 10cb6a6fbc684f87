/* clip_text.h - the text encoders of Stable Diffusion: CLIPTextModel and
 * CLIPTextModelWithProjection (ViT-L, OpenCLIP-H, OpenCLIP-bigG).
 *
 *     x = token[id] + position[i]
 *     for each layer:  x = x + attention(norm1(x));  x = x + mlp(norm2(x))
 *     last = norm(x);  pooled = projection(last at the EOS token)
 *
 * Attention is causal.  Shapes are token-major: [n][length][channels], n
 * pieces of a prompt (text/prompt.h).
 *
 * Pitfalls, each guarded by tests/golden/t_clip_text.c:
 *  - a hidden state k layers before the end is taken before the final norm;
 *    SD 1.x and 2.x then apply that norm to it, SDXL does not;
 *  - EOS is the first id equal to eos_token_id, but where that is 2 (old
 *    files) it is the first largest id, which a textual inversion has;
 *  - names have the prefix "text_model." or, since transformers 5, none.
 *
 * An encoder never changes after opening: any number of threads may encode.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_CLIP_TEXT_H
#define MODEL_CLIP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct cancel;
struct clip_text;
struct inversions;
struct json;
struct network_options;
struct pool;
struct weights;

/* From a component's config.json and its weights, which are borrowed until
 * clip_text_free() (the tables of tokens and positions are read in place). */
enum unstir_status clip_text_open(struct clip_text **out,
                                  const struct json *config,
                                  const struct weights *weights,
                                  const struct network_options *options,
                                  struct unstir_error *err);
void clip_text_free(struct clip_text *t);

/* Free what was packed: what is left is as if opened without weights. */
void clip_text_unload(struct clip_text *t);

struct clip_text_info {
    uint32_t channels, n_layers;
    uint32_t length;     /* tokens of a piece, BOS and EOS included          */
    uint32_t n_tokens;   /* rows of the token table                          */
    uint32_t projection; /* width of pooled; 0: no projection, then it is
                            channels                                         */
    const char *isa, *precision;
    uint64_t n_parameters;
    size_t weight_bytes; /* in memory, beside the borrowed file              */
};
const struct clip_text_info *clip_text_info(const struct clip_text *t);

/* The hidden state of the last layer (skip 0) or of one before, down to the
 * embeddings (skip n_layers). */
struct clip_text_io {
    uint32_t n;
    const uint32_t *ids;  /* [n][length]                                     */
    const float *weights; /* [n][length] of a weighted prompt, or NULL: the
                             states are multiplied by them, then each piece
                             gets its mean back                              */
    const struct inversions *inversions; /* of ids >= inversion_base, or NULL */
    uint32_t inversion_base;
    unsigned encoder; /* 0 or 1: whose vectors of the inversions             */
    uint32_t skip;    /* layers before the last                              */
    bool is_normed;   /* through the final norm                              */
    float *hidden;    /* [n][length][channels]                               */
    float *pooled;    /* [n][projection or channels]; NULL: not wanted       */
};
enum unstir_status clip_text_encode(const struct clip_text *t,
                                    struct pool *pool,
                                    const struct clip_text_io *io,
                                    const struct cancel *cancel,
                                    struct unstir_error *err);

#endif
