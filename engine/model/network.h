/* network.h - a network with its weights: what samplers call.
 *
 * A network is read-only after opening and shared by all workers.  An
 * executor is one worker's pool, arena and cache of plans.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/pack_cache.h"
#include "ops/lower.h"

struct cancel;
struct executor;
struct graph;
struct json;
struct json_writer;
struct kernel_rung;
struct model_size;
struct network;
struct notes;
struct weights;

/* What errors call the files of a network; NULL: "config.json", and nothing. */
struct network_names {
    const char *config, *weights;
};

struct network_options {
    const char *isa; /* NULL: best                           */
    enum unstir_precision precision;
    enum lower_mode mode;             /* LOWER_FUSED but for tests            */
    enum packs_keeping keeping;       /* of weights                           */
    const char *part;                 /* of several networks of a class; NULL */
    const struct kernel_rung *ladder; /* NULL: built in; for tests           */
    size_t n_rungs;
    struct pack_cache cache; /* of packed weights; zeroed: none              */
    struct network_names names;
    uint32_t max_tokens;  /* of a text encoder's piece, where its tokenizer
                             cuts shorter; 0: as many as it has positions    */
    bool without_weights; /* to be described and checked, not evaluated;
                                weight_bytes are those of opening it whole   */
};

/* Build from a component's config.json and its weights.  `weights` is borrowed
 * until network_free() (a big network reads its tensors where they are); NULL
 * draws the parameters by the rule of network_draw() from `seed`.  Missing and
 * misshapen tensors are UNSTIR_ERR_FORMAT; unexpected ones are notes. */
enum unstir_status network_open(struct network **out, const struct json *config,
                                const struct weights *weights, uint64_t seed,
                                const struct network_options *options,
                                struct unstir_error *err);
void network_free(struct network *net);

/* A network like `base` with other values of some tensors: `weights` are the
 * base's own views but for those.  What products need is packed anew, all else
 * is the base's, which must outlive *out; `weights` need not: blocks of theirs
 * that the network keeps are taken. */
enum unstir_status network_derive(struct network **out,
                                  const struct network *base,
                                  const struct weights *base_weights,
                                  struct weights *weights,
                                  struct unstir_error *err);

/* Bytes that such a network will take beside its base (which needs no weights
 * for this), where tensors of these names have other values; *peak_bytes: while
 * it is made, its `weights` included. */
typedef bool (*network_touched_fn)(const void *arg, const char *name);
enum unstir_status network_derive_bytes(size_t *bytes, size_t *peak_bytes,
                                        const struct network *base,
                                        network_touched_fn is_touched,
                                        const void *arg,
                                        struct unstir_error *err);

/* Free the weights: what is left is as if opened without them. */
void network_unload(struct network *net);

struct network_info {
    const char *family; /* "UNet2DModel" */
    const char *isa, *precision, *fingerprint;
    uint32_t in_channels, out_channels;
    uint32_t sample_h, sample_w; /* native size; 0 if unknown               */
    uint32_t size_multiple;      /* a picture's edges must be multiples     */
    uint32_t n_class_embeds;     /* rows of the class table, 0 none         */
    bool has_class_input;
    uint32_t label_width; /* floats of a label; 1 but for identity        */
    bool has_timestep;
    uint32_t context_width;  /* of a token of the context; 0: there is none  */
    uint32_t pooled_width;   /* of text_embeds; 0: there are none            */
    uint32_t n_time_ids;     /* of a picture                                 */
    uint32_t guidance_width; /* of timestep_cond; 0: there is none           */
    uint32_t up, down;       /* the output's edges are up / down times the
                                input's                                      */
    uint64_t n_parameters;
    size_t weight_bytes;
    bool is_in_place; /* every evaluation reads the file of the weights       */
    bool is_deep;     /* the shallow layers can be evaluated alone            */
    enum pack_source pack_source;
    const struct notes *notes;
};
const struct network_info *network_info(const struct network *net);

/* One object a product of an evaluation of that size, in the plan's order:
 * which algorithm, operands and bytes of packed weights it has. */
enum unstir_status network_put_layers(struct json_writer *w,
                                      const struct network *net,
                                      const struct model_size *size,
                                      struct unstir_error *err);
/* The unfused graph for a size: for training, tests, counting. *g is the
 * caller's (graph_free).  Errors do not name the file. */
enum unstir_status network_graph(struct graph **g, const struct json *config,
                                 uint32_t n, uint32_t h, uint32_t w,
                                 struct unstir_error *err);

/* The same of a part of the class (NULL: the first), with a context. */
enum unstir_status network_graph_of(struct graph **g, const struct json *config,
                                    const char *part,
                                    const struct model_size *size,
                                    struct unstir_error *err);

/* The stated rule by which goldens and benchmarks draw weights: parameters in
 * order of name (bytewise), one generator rng_seed(seed), for each one call
 * x = randn(n elements), then
 *   rank >= 2 (weights, tables): x / sqrt(fan_in) (table: x)
 *   norm weight: 1 + 0.1 x;  biases and norm biases: 0.1 x;  fourier: 16 x.
 * `params[p]` has graph_param_at(g, p)->n floats. */
enum unstir_status network_draw(const struct graph *g, uint64_t seed,
                                float *const *params, struct unstir_error *err);

/* One evaluation: sample and out f32 NHWC [n][h][w][in or out channels];
 * timestep [n]; label [n] (whole numbers, or the embedding input of
 * class_embed_type identity: then [n][time_embed_dim]) or NULL.  Networks of
 * latent diffusion read context [n][context_len][context_width], text_embeds
 * [n][pooled_width], time_ids [n][n_time_ids] and timestep_cond
 * [n][guidance_width], as far as network_info() names a width; the rest is
 * NULL.  Autoencoders read the sample alone.
 *
 * What depends on the context alone (keys and values of a text) is computed
 * when a picture's context changes.
 * What depends on timestep and label alone is computed once and kept (as far
 * as a ceiling lets it), so it pays to say what comes next: ahead, if not
 * NULL, writes the k-th timestep and label (if the network has one) that may
 * be evaluated after this and returns false when there are no more.  It is
 * asked only if this evaluation meets something new, and changes no bit.
 *
 * deep, of a network that is_deep (else NULL): n times network_deep_floats(),
 * where the deep layers leave what the shallow ones build upon; is_shallow
 * takes it from there, as an earlier evaluation left it, and evaluates the
 * shallow layers alone. */
struct network_io {
    uint32_t n, h, w;
    const float *sample, *timestep, *label;
    const float *context, *text_embeds, *time_ids, *timestep_cond;
    uint32_t context_len;
    float *out, *deep;
    bool is_shallow;
    bool (*ahead)(const void *arg, size_t k, float *timestep, float *label);
    const void *ahead_arg;
};
enum unstir_status network_eval(const struct network *net, struct executor *x,
                                const struct network_io *io,
                                const struct cancel *cancel,
                                struct unstir_error *err);

/* Floats that the deep layers leave of one picture; 0: not is_deep. */
enum unstir_status network_deep_floats(const struct network *net, uint32_t h,
                                       uint32_t w, size_t *floats,
                                       struct unstir_error *err);

/* Operations (graph_flops) of one picture of this size and a context of
 * NETWORK_CONTEXT_LEN tokens; *shallow, of a network that is_deep: of its
 * shallow layers alone, else the same.  May be NULL. */
enum unstir_status network_flops(const struct network *net, uint32_t h,
                                 uint32_t w, double *whole, double *shallow,
                                 struct unstir_error *err);

/* Bytes of arena an evaluation of this size takes, with a context of
 * NETWORK_CONTEXT_LEN tokens if the network has one. */
#define NETWORK_CONTEXT_LEN 77
enum unstir_status network_arena_bytes(const struct network *net, uint32_t n,
                                       uint32_t h, uint32_t w, size_t *bytes,
                                       struct unstir_error *err);

/* -- executor ---------------------------------------------------------- */

enum unstir_status executor_new(struct executor **out, unsigned n_threads,
                                int nice, size_t max_arena_bytes,
                                struct unstir_error *err); /* UNSTIR_PIN_AUTO */
enum unstir_status executor_new_placed(struct executor **out,
                                       unsigned n_threads, int nice,
                                       enum unstir_pin pin,
                                       size_t max_arena_bytes,
                                       struct unstir_error *err);
void executor_free(struct executor *x);
unsigned executor_threads(const struct executor *x);
struct pool *executor_pool(struct executor *x);

/* From now on take the time of each operation (model/profile.h), which is then
 * not to be cancelled; NULL: no longer. */
struct profile;
void executor_set_profile(struct executor *x, struct profile *profile);

#endif
