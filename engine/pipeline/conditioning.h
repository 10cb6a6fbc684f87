/* conditioning.h - what a request's text becomes: numbers beside the noise.
 *
 *     prompt -> pieces of tokens -> text encoders -> context [tokens][width]
 *
 * A conditioner is the text side of an opened model: one encoder (SD 1.x,
 * 2.x) or up to two (SDXL), each with its tokenizer.  A conditioning is what
 * one request asks of it, twice: for what is wanted, and for what to keep away
 * from.  Both texts get the same number of pieces.
 *
 * Beside the context, as far as the network reads them:
 *   text_embeds    the pooled text of the last encoder, of the first piece
 *   time_ids       what micro.h says of the picture's making
 *   timestep_cond  sinusoids of the guidance scale (LCM), which then needs no
 *                  second evaluation
 *
 * Pitfalls, each guarded by tests/golden/t_text_pipelines.c:
 *  - clip_skip 1 is the last layer of SD 1.x and 2.x, through the final norm,
 *    but the one before of SDXL, without it; it acts on both texts;
 *  - SDXL answers an absent negative prompt with zeros, an empty one with the
 *    encoding of nothing;
 *  - the first piece's pooled text alone counts.
 *
 * A conditioner is read-only after opening.  A conditioning belongs to its
 * generation.
 *
 * Sources.  Podell et al., arXiv:2307.01952, section 2.2 (time_ids); Luo et
 * al., arXiv:2310.04378 (guidance embedding).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_CONDITIONING_H
#define PIPELINE_CONDITIONING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/network.h"
#include "pipeline/micro.h"
#include "text/prompt.h"

#define CONDITIONING_ENCODERS     2
#define CONDITIONING_MAX_TIME_IDS MICRO_MAX_IDS

struct bpe;
struct cancel;
struct clip_text;
struct inversions;
struct json;
struct network_info;
struct network_io;
struct network_options;
struct pool;
struct weights;

/* An encoder as a checkpoint brings it; borrowed for the model's life. */
struct conditioner_text {
    const struct json *config; /* NULL: there is none                        */
    const struct weights *weights;
    const struct bpe *tokenizer;
    struct network_names names;
};

struct conditioner {
    struct clip_text *encoders[CONDITIONING_ENCODERS];
    const struct bpe *tokenizers[CONDITIONING_ENCODERS];
    const struct inversions *inversions; /* words with vectors, or NULL      */
    unsigned n; /* encoders; 0: the model reads no text                      */
    bool is_xl;
    bool is_empty_zero;    /* an absent negative prompt is zeros         */
    uint32_t length;       /* tokens of a piece                          */
    uint32_t width;        /* of a token of the context                  */
    uint32_t pooled_width; /* 0: the network reads none                  */
    uint32_t n_time_ids;
    uint32_t guidance_width; /* 0: guidance takes a second evaluation      */
    uint32_t max_skip;       /* of clip_skip                               */
    uint64_t n_parameters;
    size_t weight_bytes;
};

/* Of a network that reads what these encoders, texts[CONDITIONING_ENCODERS],
 * write.  conditioner_fini() in every case. */
enum unstir_status conditioner_open(struct conditioner *c,
                                    const struct conditioner_text *texts,
                                    const struct network_info *net,
                                    const struct network_options *options,
                                    struct unstir_error *err);
void conditioner_fini(struct conditioner *c);

/* Give weights back; texts can be checked, not encoded. */
void conditioner_unload(struct conditioner *c);

/* Whether a text can be said; UNSTIR_ERR_ARG and _LIMIT tell why not. */
enum unstir_status conditioner_check(const struct conditioner *c,
                                     const char *text,
                                     enum prompt_syntax syntax,
                                     struct unstir_error *err);

enum conditioning_side { CONDITIONING_AWAY, CONDITIONING_TOWARD };
#define CONDITIONING_SIDES 2

struct conditioning {
    const struct conditioner *conditioner; /* NULL: no text                  */
    struct prompt_chunks chunks[CONDITIONING_SIDES][CONDITIONING_ENCODERS];
    uint32_t n_chunks, n_tokens; /* of each side                             */
    uint32_t skip;
    float *memory; /* behind these; NULL until encoded                       */
    float *context[CONDITIONING_SIDES], *pooled[CONDITIONING_SIDES];
    float time_ids[CONDITIONING_SIDES][CONDITIONING_MAX_TIME_IDS];
    double guidance;
    bool is_guided; /* there is a side to keep away from                     */
};

/* Tokenize a resolved request.  conditioning_fini() in every case. */
enum unstir_status conditioning_begin(struct conditioning *k,
                                      const struct conditioner *c,
                                      const struct unstir_request *resolved,
                                      struct unstir_error *err);
void conditioning_fini(struct conditioning *k);

/* Run the encoders, if that is not done yet. */
enum unstir_status conditioning_encode(struct conditioning *k,
                                       struct pool *pool,
                                       const struct cancel *cancel,
                                       struct unstir_error *err);

/* The conditions of a batch, one after another; belongs to an executor. */
struct conditioning_batch {
    float *memory;
    size_t n_floats;
    float *context, *pooled, *time_ids, *guidance;
};

/* Room for n pictures like k. */
enum unstir_status conditioning_batch_reserve(struct conditioning_batch *b,
                                              const struct conditioning *k,
                                              size_t n,
                                              struct unstir_error *err);
void conditioning_batch_fini(struct conditioning_batch *b);
void conditioning_batch_put(struct conditioning_batch *b, size_t at,
                            const struct conditioning *k,
                            enum conditioning_side side);
/* Hand them to the network. */
void conditioning_batch_give(const struct conditioning_batch *b,
                             const struct conditioning *k,
                             struct network_io *io);

#endif
