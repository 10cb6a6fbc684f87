/* checkpoint.h - an opened model: network, schedules and what unstir.json says.
 *
 * This is struct unstir_model.  It is read-only after checkpoint_new() and
 * shared by all threads.
 *
 * unstir.json, every key optional:
 *
 *   {"id", "title", "licence", "source", "prediction_type",
 *    "vae": PATH, "text_encoders": [PATH, ...],   (from its own folder)
 *    "labels": {"sneaker": 7, ...}, "null_class": 10,
 *    "defaults": {"steps", "sampler", "schedule", "guidance_scale",
 *                 "width", "height"},
 *    "limits": {"min_size", "max_size", "size_multiple", "max_steps"}}
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PIPELINE_CHECKPOINT_H
#define PIPELINE_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/notes.h"
#include "model/vae_kl.h"
#include "pipeline/checkpoint_source.h"
#include "pipeline/conditioning.h"
#include "pipeline/tiny_decoder.h"
#include "sample/sampler.h"

struct json;
struct late_digest;
struct network;
struct weights;

/* Ceiling of a picture's edge when nothing else limits it. */
#define CHECKPOINT_MAX_SIZE 2048

struct checkpoint_sampler {
    struct schedule schedule;
    bool is_usable;
    char reason[160]; /* why not */
};

struct unstir_model {
    struct checkpoint_source source; /* zeroed when made from parts          */
    struct network *net;
    struct network *decoder;    /* of latent models, else NULL               */
    struct vae_scaling scaling; /* of its latents                            */
    struct tiny_decoder tiny;   /* of previews                               */
    struct { /* what opens the encoder when it is needed: see latent.h       */
        const struct json *config;
        const struct weights *weights;
        uint64_t seed;
        enum unstir_precision precision;
    } encoder;
    bool passes_eta; /* its pipeline has an eta of its own: 0 unless told     */
    bool keeps_steps; /* see struct start                                     */
    bool reads_mask;  /* beside the sample: the mask and the masked picture */
    bool reads_picture; /* beside the sample: the picture to be edited       */
    double read_scale;  /* of the latents that it then reads                 */
    struct conditioner conditioner; /* of models that read a text            */
    uint32_t sample_channels; /* of what the sampler works on              */
    uint32_t factor;          /* pixels an edge of its pixels; 1: pictures */
    struct checkpoint_sampler samplers[SAMPLER_COUNT];
    size_t default_sampler;
    char no_default[160]; /* why the folder's own sampler cannot run: then a
                             request names another; "": it can              */
    const struct sampler_schedule *default_schedule; /* or NULL              */
    bool is_frugal;            /* options' low_memory, if it has a decoder   */
    char fingerprint[112];     /* the network's, and what else changes bits  */
    bool has_learned_variance; /* the network brings 2 x channels            */
    double shallow_share; /* of an evaluation: its shallow layers alone      */
    struct unstir_model_info info;
    struct unstir_label *labels;
    char *id;
    char *label_text; /* memory behind labels that were cut out of a list   */
    struct notes notes;
    enum unstir_precision precision; /* as asked for                         */
    struct derived *derived; /* NULL: a model of its own (derive.c)          */
};

/* What a checkpoint is made of; all borrowed for the model's life. */
struct checkpoint_parts {
    const char *name;   /* id when unstir.json has none                      */
    const char *digest; /* 64 hex digits, there when `late` is ready         */
    struct late_digest *late; /* tells them, too; NULL: they are there       */
    const struct json *index; /* model_index.json or NULL         */
    const struct json *unet_config;
    const struct json *scheduler_config; /* or NULL                          */
    const struct json *unstir;           /* or NULL                          */
    const struct weights *weights;       /* NULL: drawn from `seed`          */
    const struct json *vae_config;       /* of latent models, else NULL      */
    const struct weights *vae_weights;   /* NULL: drawn from `seed`          */
    struct conditioner_text texts[CONDITIONING_ENCODERS];
    struct network_names unet_names, vae_names;
    const char *scheduler_name, *unstir_name; /* in errors; NULL: plainly    */
    const struct inversions *inversions; /* words with vectors, or NULL      */
    const char *pipeline; /* its class, or NULL                             */
    bool is_few_step;     /* few steps without guidance are its default      */
    uint64_t seed;
};

/* Ended by checkpoint_free(). */
enum unstir_status checkpoint_new(struct unstir_model **out,
                                  const struct checkpoint_parts *parts,
                                  const struct unstir_model_options *options,
                                  struct unstir_error *err);

/* The same from a folder or a single file. */
enum unstir_status checkpoint_open(struct unstir_model **out, const char *path,
                                   const struct unstir_model_options *options,
                                   struct unstir_error *err);
void checkpoint_free(struct unstir_model *m);

/* As unstir_model_derive_cancelable(). */
struct checkpoint_deriving {
    unstir_canceled_fn is_canceled; /* NULL: never                           */
    void *user;
};
enum unstir_status checkpoint_derive(struct unstir_model **out,
                                     const struct unstir_model *base,
                                     const struct unstir_lora *loras, size_t n,
                                     const struct checkpoint_deriving *how,
                                     struct unstir_error *err);
/* As unstir_model_describe_derived() and unstir_model_derive_bytes(). */
enum unstir_status checkpoint_describe_derived(struct unstir_model **out,
                                               const struct unstir_model *base,
                                               const struct unstir_lora *loras,
                                               size_t n,
                                               struct unstir_error *err);
enum unstir_status checkpoint_derive_bytes(const struct unstir_model *base,
                                           const struct unstir_lora *loras,
                                           size_t n, size_t *n_bytes,
                                           size_t *peak_bytes,
                                           struct unstir_error *err);
/* Free the weights; the description stays. */
void checkpoint_unload(struct unstir_model *m);

#endif
