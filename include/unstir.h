/* unstir.h - pictures from noise by reverse diffusion: the public API.
 *
 *     struct unstir_error err;
 *     struct unstir_model *model;
 *     struct unstir_executor *exec;
 *     struct unstir_generation *gen;
 *     struct unstir_request req = UNSTIR_REQUEST_INIT;
 *     unsigned char *png;
 *     size_t n;
 *
 *     unstir_model_open(&model, "models/fashion", NULL, &err);
 *     unstir_executor_new(&exec, NULL, &err);
 *     req.label = "sneaker";
 *     req.seed = 7;
 *     unstir_generation_begin(&gen, model, &req, &err);
 *     while (!unstir_generation_is_done(gen))
 *         unstir_generation_step(gen, exec, &err);
 *     unstir_generation_png(gen, NULL, &png, &n, &err);
 *
 * A generation is one picture.  It is a value that is advanced one step at a
 * time; unstir_generation_step() is the only thing that computes.  Its state
 * (the noisy sample, the sampler's history, the random generator) is small;
 * scratch memory is large and belongs to the executor.  So progress,
 * previews, cancelling, pausing and going on after a restart are ordinary
 * uses of this header and need no callback.
 *
 * Errors.  Functions that can fail return enum unstir_status; 0 is success.
 * `err` may be NULL; otherwise its text is for people and names the thing,
 * what was wanted and what was found.  Out-pointers are NULL after failure.
 *
 * Threads.  A model never changes after opening: any number of threads may
 * use one.  An executor and a generation serve one thread at a time; they are
 * not tied to a particular thread.  unstir_generation_cancel() may be called
 * by any thread.  The library starts no threads but an executor's own, has no
 * mutable globals, prints nothing, never exits.
 *
 * Numbers.  Same model, request, instruction set and precision: same bytes,
 * whatever the number of threads and whatever else is in a batch.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef UNSTIR_H
#define UNSTIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define UNSTIR_VERSION "0.1.0"

/* ------------------------------------------------------------- errors -- */

enum unstir_status {
    UNSTIR_OK = 0,
    UNSTIR_ERR_ARG,         /* an argument or a request field is wrong     */
    UNSTIR_ERR_NOMEM,       /* out of memory                               */
    UNSTIR_ERR_FORMAT,      /* a file or a saved state is damaged          */
    UNSTIR_ERR_UNSUPPORTED, /* well formed, but not something we can run   */
    UNSTIR_ERR_IO,          /* the system could not read or write          */
    UNSTIR_ERR_CANCELLED,   /* stopped by unstir_generation_cancel()       */
    UNSTIR_ERR_LIMIT,       /* a ceiling was reached                       */
    UNSTIR_ERR_MISMATCH,    /* saved state of another model or numerics    */
    UNSTIR_ERR_INTERNAL     /* a bug of ours                               */
};

struct unstir_error {
    enum unstir_status status;
    char field[48];   /* request field at fault ("steps"), or ""           */
    char detail[464]; /* one or two lines for people, UTF-8, no newline at
                         the end                                           */
};

/* "UNSTIR_ERR_ARG" and so on; never NULL. */
const char *unstir_status_name(enum unstir_status status);

/* ------------------------------------------------------------- models -- */

enum unstir_precision {
    UNSTIR_PRECISION_AUTO = 0, /* by rule: the rung's own operand type     */
    UNSTIR_PRECISION_F32,
    UNSTIR_PRECISION_BF16,
    UNSTIR_PRECISION_INT8 /* linear layers and 1x1 convolutions of the
                             network in 8-bit whole numbers, where they are
                             accurate enough; all else as by AUTO           */
};

struct unstir_model_options {
    const char *isa; /* "scalar" ... "avx512bf16"; NULL: the best
                        this CPU has                                       */
    enum unstir_precision precision;
    const char *pack_cache; /* folder where packed weights are kept for the
                               next opening; "auto": $UNSTIR_CACHE_DIR,
                               $XDG_CACHE_HOME/unstir or
                               $HOME/.cache/unstir; NULL or "none": nowhere.
                               Changes no picture                          */
    bool low_memory;        /* decode latents of smaller pictures in bands
                               already, and read large networks' weights where
                               their file has them on every rung: less memory,
                               up to 1.4 times the time; the fingerprint is
                               another                                      */
    bool without_weights;   /* to be described and to check requests only:
                               takes little memory.  info->weight_bytes are
                               those of opening it whole                   */
    /* Of single files, which say neither; NULL: none, found out.           */
    const char *merges_path;     /* the standard tokenizer's merges.txt      */
    const char *prediction_type; /* "epsilon" or "v_prediction"              */
    /* Parts in place of the model's own, or that it lacks: files or folders of
     * the part or of a whole model; NULL: as unstir.json says, else its own.
     * Of two text encoders each finds its place.                            */
    const char *vae;
    const char *text_encoders[2];
    const char *tiny_decoder; /* for previews of latents: a folder with an
                                 AutoencoderTiny; NULL: vae_tiny in the
                                 model's folder, if it is there              */
};

struct unstir_model;

/* A LoRA in use by a model, as requests and pictures name it.               */
struct unstir_lora_info {
    const char *name;
    const char *digest; /* SHA-256 of the file                              */
    double unet_weight, text_weight;
};

/* Open a checkpoint: a folder in the diffusers layout or a single
 * .safetensors or .gguf file (Stable Diffusion 1.x, 2.x, SDXL), whole or of
 * the UNet alone (the rest by options or unstir.json).  What unstir.json says
 * stands for a file NAME.safetensors in NAME.unstir.json beside it.  *out is
 * the caller's, ended by unstir_model_close() after everything made from it.
 * `options` may be NULL.
 *
 *   UNSTIR_ERR_IO, _FORMAT, _UNSUPPORTED, _NOMEM; _ARG for an unknown isa   */
enum unstir_status unstir_model_open(struct unstir_model **out,
                                     const char *path,
                                     const struct unstir_model_options *options,
                                     struct unstir_error *err);
void unstir_model_close(struct unstir_model *model);

/* Free the weights of a model of which no generation is left: what stays is as
 * if opened without them, and so do all pointers that it handed out.        */
void unstir_model_unload(struct unstir_model *model);

/* A LoRA to add: kohya, PEFT and diffusers files, or a folder that PEFT wrote
 * (adapter_model.safetensors with adapter_config.json beside it).           */
#define UNSTIR_MAX_LORAS       16
#define UNSTIR_MAX_LORA_WEIGHT 100 /* and its negative                       */
struct unstir_lora {
    const char *path;
    const char *name;   /* NULL: the file's, without its extension          */
    double unet_weight; /* 1 is as trained; both 0: as if it were not given */
    double text_weight; /* of the text encoders                             */
    const char *digest; /* NULL, or the SHA-256 that it must have, of the
                           file and then of its adapter_config.json:
                           UNSTIR_ERR_IO if it is another                   */
    size_t max_bytes;   /* of the file; 0: no ceiling                       */
};

/* A model with LoRAs added; the order in which they are given changes nothing.
 * It shares with `base` all that they leave alone (tensors, packed weights,
 * the autoencoder, tokenizers), so the base must outlive it, and stays as it
 * is: to take a LoRA away is to use the base again.  info->weight_bytes are
 * those that it takes beside the base's.  The base has no LoRAs itself.
 * UNSTIR_ERR_ARG if they touch no layer of this model; errors name the LoRA,
 * and its path only where the name is NULL or the file cannot be read.       */
enum unstir_status unstir_model_derive(struct unstir_model **out,
                                       const struct unstir_model *base,
                                       const struct unstir_lora *loras,
                                       size_t n_loras,
                                       struct unstir_error *err);

/* The same, which can be given up: is_canceled(user) is asked on this thread
 * before each tensor that is made, and true ends it with UNSTIR_ERR_CANCELLED.
 * NULL is never.                                                            */
typedef bool (*unstir_canceled_fn)(void *user);
enum unstir_status unstir_model_derive_cancelable(
    struct unstir_model **out, const struct unstir_model *base,
    const struct unstir_lora *loras, size_t n_loras,
    unstir_canceled_fn is_canceled, void *user, struct unstir_error *err);

/* What such a model will be, from names, weights and digests alone: requests
 * can be checked and written down with it, nothing can be computed.  No file
 * is read.  The base may have been opened without its weights.               */
enum unstir_status unstir_model_describe_derived(
    struct unstir_model **out, const struct unstir_model *base,
    const struct unstir_lora *loras, size_t n_loras, struct unstir_error *err);

/* About the weight_bytes that it will have, and the most that it takes while it
 * is made, the files of its LoRAs included; reads the files, and tells what
 * unstir_model_derive() would find wrong with their layers.  The base as
 * above.                                                                     */
enum unstir_status unstir_model_derive_bytes(const struct unstir_model *base,
                                             const struct unstir_lora *loras,
                                             size_t n_loras, size_t *n_bytes,
                                             size_t *peak_bytes,
                                             struct unstir_error *err);

/* What a LoRA file says of itself. */
#define UNSTIR_MAX_TRIGGERS 8
struct unstir_lora_details {
    char digest[65]; /* SHA-256 of the file, with PEFT's configuration       */
    size_t n_bytes;
    const char *kind;   /* "kohya", "peft", "diffusers"                      */
    const char *family; /* "sd1", "sd2", "sdxl"; NULL: it does not say       */
    bool has_unet, has_text;
    uint32_t n_layers, min_rank, max_rank;
    double min_alpha, max_alpha;
    size_t n_triggers;
    char triggers[UNSTIR_MAX_TRIGGERS][64]; /* words that it was trained with,
                                               from its metadata             */
};
/* Read a file without trusting it; errors call it `name` (NULL: its path).
 * max_bytes 0: no ceiling.                                                   */
enum unstir_status unstir_lora_inspect(struct unstir_lora_details *out,
                                       const char *path, const char *name,
                                       size_t max_bytes,
                                       struct unstir_error *err);

/* The LoRAs that a prompt names, "<lora:name:0.8>" or "<lora:name:text:unet>"
 * (0.8 for both), of the weighted syntax: at most UNSTIR_MAX_LORAS.  One that
 * is named more than once stands once, with the sums of its weights.         */
struct unstir_lora_tag {
    char name[256];
    double unet_weight, text_weight;
};
enum unstir_status unstir_prompt_loras(const char *prompt,
                                       struct unstir_lora_tag *tags, size_t *n,
                                       struct unstir_error *err);

struct unstir_label {
    const char *name; /* "sneaker"; as written in the file                 */
    uint32_t class_id;
};

/* What a model is; pointers live as long as the model.  Never NULL unless
 * said.  "Default" fields are what a request with that field unset gets.   */
struct unstir_model_info {
    /* What it is. */
    const char *id;          /* unstir.json "id", else the folder's name      */
    const char *title;       /* may be NULL                                   */
    const char *family;      /* "UNet2DModel"                                 */
    const char *pipeline;    /* class in the folder's index, or ""            */
    const char *autoencoder; /* class, of latent models; else NULL            */
    const char *licence;     /* may be NULL                                   */
    const char *source;      /* may be NULL                                   */
    const char *digest;      /* SHA-256 of weights and configuration, hex     */
    const struct unstir_lora_info *loras; /* in use                           */
    size_t n_loras;
    const char *const *notes; /* oddities seen while loading                  */
    size_t n_notes;

    /* How it runs here. */
    const char *isa;         /* rung that runs it                             */
    const char *precision;   /* "f32" or "bf16"                               */
    const char *fingerprint; /* rung, rules version and precision: equal
                                fingerprints give equal bytes                 */
    const char *packs;       /* packed weights were "built", "stored" (built
                                and kept in the pack cache) or "mapped" from
                                there                                         */
    uint64_t n_parameters;
    uint64_t weight_bytes; /* held in memory, packs included                  */
    /* 1e9 operations for a picture of the default size: of one evaluation of
     * the network, and of turning its latent into pixels (0: no latents).    */
    double evaluation_gflop, decode_gflop;

    /* The pictures it makes, and in how many steps. */
    uint32_t channels;                          /* 1 or 3                   */
    uint32_t default_width, default_height;     /* pixels                   */
    uint32_t min_size, max_size, size_multiple; /* pixels                   */
    uint32_t n_train_timesteps; /* ceiling of forward t                       */
    uint32_t default_steps, max_steps;
    const char *default_sampler;  /* suggested alone, where a note says that
                                     the model's own one cannot run           */
    const char *default_schedule; /* of the default sampler; NULL: its own    */

    /* What it is asked by: classes or texts. */
    uint32_t n_classes; /* 0: not class-conditional (null class excluded)     */
    int64_t null_class; /* -1: none, so no guidance                           */
    const struct unstir_label *labels;
    size_t n_labels;
    bool takes_text;            /* a prompt instead of a class                */
    bool takes_negative_prompt; /* texts, but for models that embed the
                                   guidance scale                             */
    uint32_t max_clip_skip;     /* layers of its text encoder, and one more:
                                   what they start from; 0: no text         */
    bool takes_guidance;        /* it has something to be guided by           */
    double default_guidance;    /* 1: off                                     */
    double default_guidance_start, default_guidance_end; /* shares of steps   */

    /* What else it can do. */
    bool takes_picture;  /* begin with an init_image                        */
    bool takes_mask;     /* repaint a part of it                            */
    bool needs_mask;     /* does nothing else                               */
    bool edits_pictures; /* by instruction: needs an init_image, and takes
                              image_guidance but no mask or strength          */
    bool takes_micro_conditioning; /* SDXL: it is told how a picture was made */
    bool takes_aesthetic_score;    /* its refiner: and how beautiful it is    */
    bool takes_deep_cache; /* its shallow layers can be evaluated alone       */
    bool has_tiny_decoder; /* of previews; or its autoencoder is a tiny one   */
};
const struct unstir_model_info *
unstir_model_info(const struct unstir_model *model);

/* Class of a label (case and surrounding blanks ignored) or of a decimal
 * number.  UNSTIR_ERR_ARG names the nearest label.                         */
enum unstir_status unstir_model_find_class(const struct unstir_model *model,
                                           const char *label, int64_t *class_id,
                                           struct unstir_error *err);

/* Bytes of arena a worker needs for one picture of this size.              */
enum unstir_status unstir_model_arena_bytes(const struct unstir_model *model,
                                            uint32_t width, uint32_t height,
                                            size_t *bytes,
                                            struct unstir_error *err);

/* Look at a checkpoint without running it or trusting it: a JSON text for
 * `unstir inspect --json`.  `options` may be NULL.  *json is ended by
 * unstir_free().                                                           */
enum unstir_status unstir_inspect(const char *path,
                                  const struct unstir_model_options *options,
                                  bool with_tensors, char **json,
                                  struct unstir_error *err);

/* Rewrite a model: a diffusers folder or a single .safetensors or .gguf file
 * (Stable Diffusion 1.x, 2.x, SDXL) into the other (but not into .gguf), into
 * another number format, with LoRAs added.  An output that ends in .safetensors
 * is one file, with the original names that other programs read too (the
 * folder's, "unet.*", if some tensor has none) and the folder's configurations
 * in its metadata; it must not be there yet.  What unstir.json beside the input
 * says counts. */
struct unstir_convert_options {
    const char *input, *output;
    const char *dtype;           /* "f32", "f16", "bf16"; NULL: as it is,
                                    quantised weights f16                   */
    const char *prediction_type; /* of a single file; NULL: found out       */
    const char *merges_path;     /* of the standard tokenizer, for folders
                                    from single files                       */
    const char *const *loras;    /* files                                   */
    const double *lora_scales;   /* n_loras                                 */
    size_t n_loras;
    const char *vae;              /* parts in place of the input's own, or   */
    const char *text_encoders[2]; /* that it lacks: as of a model's options  */
    /* Told what a person should know of a conversion that is done, a line a
     * call: what was left out, what was taken for what.  May be NULL. */
    void (*note)(void *arg, const char *text);
    void *note_arg;
    /* Asked some hundred times, on this thread, with the bytes of weights that
     * are written, of how many; both 0 while LoRAs are added.  False gives the
     * conversion up with UNSTIR_ERR_CANCELLED and leaves nothing behind.  May
     * be NULL. */
    bool (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *progress_arg;
};
/* *json tells what was done, notes included; ended by unstir_free().       */
enum unstir_status unstir_convert(const struct unstir_convert_options *options,
                                  char **json, struct unstir_error *err);

/* ----------------------------------------------------------- samplers -- */

struct unstir_sampler_info {
    const char *name;   /* "ddim": what a request says                      */
    const char *title;  /* "DDIM"                                           */
    const char *alias;  /* other accepted spellings, comma separated, or "" */
    bool is_stochastic; /* draws noise after the first one                  */
    uint32_t order;     /* of the method                                    */
    const char *source; /* "arXiv:2010.02502"                               */
};

/* The table of samplers, in order; stops at n. */
const struct unstir_sampler_info *unstir_samplers(size_t *n);
/* Place in that table of a name or alias, case and blanks ignored, also with a
 * schedule behind it ("DPM++ 2M Karras"), with k_ in front (k_euler_a), or of a
 * class ("EulerDiscreteScheduler"); -1 if it is not there.                 */
int unstir_sampler_find(const char *name);
/* Of what an unknown name may have meant; -1 if nothing is near.            */
int unstir_sampler_nearest(const char *name);

/* Other noise levels or spacings of a run's steps than the model's own.    */
struct unstir_schedule_info {
    const char *name;  /* "karras"                                          */
    const char *title; /* "Karras"                                          */
    const char *alias; /* comma separated, or ""                            */
};
const struct unstir_schedule_info *unstir_schedules(size_t *n);
/* -1 if it is not there; "default" or "automatic" (the model's own) is not in
 * the table.                                                               */
int unstir_schedule_find(const char *name);

/* ------------------------------------------------------------ requests -- */

#define UNSTIR_CLASS_UNSET (-2) /* the model's null class, or its only one  */
#define UNSTIR_CLASS_NULL  (-1)
#define UNSTIR_UNSET_F     (-1e30) /* a double field that takes the default   */

/* What SDXL is told of how a picture was made, in pixels: its size before it was
 * scaled, what was then cut off at its left and top, and the size that it was
 * scaled for.  0 of a size: that of the picture which is made.               */
struct unstir_micro {
    uint32_t original_width, original_height;
    uint32_t crop_left, crop_top;
    uint32_t target_width, target_height;
};

/* Latents, f32 [n][channels][height][width], as a sampler leaves them.       */
struct unstir_latents {
    uint32_t n, channels, height, width;
    float *values; /* ended by unstir_latents_fini() */
};
void unstir_latents_fini(struct unstir_latents *latents);

/* Of a safetensors file in memory: its tensor "sample" (as `unstir generate
 * --raw` writes), "latents" or the only one, of 3 or 4 dimensions, in f32, f16
 * or bf16, all finite.  Errors name it.  A file that begins as such files do may
 * be none for all that.                                                      */
bool unstir_is_safetensors(const unsigned char *bytes, size_t n_bytes);
/* By its head alone: the shape (values NULL), or what is wrong with it. */
enum unstir_status unstir_latents_probe(const unsigned char *bytes,
                                        size_t n_bytes,
                                        struct unstir_latents *shape,
                                        struct unstir_error *err);
enum unstir_status unstir_latents_decode(const unsigned char *bytes,
                                         size_t n_bytes,
                                         struct unstir_latents *latents,
                                         struct unstir_error *err);

/* One picture.  Start from UNSTIR_REQUEST_INIT; zero, NULL and _UNSET mean
 * the model's default.  unstir_generation_begin() copies strings and what it
 * needs of pictures.  What a prompt is depends on the model: a text, or where
 * it has classes a label, as if it stood in `label`.                        */
struct unstir_request {
    /* What to paint.  A prompt of a model with classes is a label.  NULL and ""
     * of the negative prompt differ for SDXL alone.  prompt_syntax "weighted"
     * (NULL too): (word:1.2), [word], BREAK, long texts in pieces; "plain": the
     * text as it is.  clip_skip is a layer of the text encoder: 1 (0 too) the
     * last, 2 the one before.  label NULL: class_id.                         */
    const char *prompt, *negative_prompt;
    const char *prompt_syntax;
    uint32_t clip_skip;
    const char *label; /* or a decimal class                                  */
    int64_t class_id;

    /* The noise.  A variation's first noise lies on the way from that of `seed`
     * to that of variation_seed, at this share of the arc between them (0 .. 1;
     * 0: off); all later noise is that of `seed`.                            */
    uint64_t seed;
    uint64_t variation_seed;
    double variation_strength;

    /* The way back. */
    uint32_t width, height;
    uint32_t steps;
    const char *sampler;
    const char *schedule; /* see unstir_schedules(), or "default"             */
    double eta;           /* DDIM, TCD: 0 .. 1                                */

    /* Guidance; 1 or below: off.  guidance_rescale, 0 .. 1, brings guided
     * outputs back to the deviation of unguided ones.  start and end are shares
     * of the steps, 0 .. 1: guided from the one to before the other; both
     * unset: the model's own.                                                */
    double guidance;
    double guidance_rescale;
    double guidance_start, guidance_end;

    /* DeepCache: evaluate the whole network in every N-th step alone, in those
     * between its shallow layers: faster, another picture.  1 (0 too): off;
     * needs info->takes_deep_cache.                                          */
    uint32_t deep_cache;

    /* A picture to begin with, of any size and colours (NULL: noise alone), and
     * a mask: white is painted anew, black kept (NULL: all is painted).
     * strength, 0 .. 1, is how far to leave the picture: this share of the
     * steps is run; unset: 0.8, with a mask or an inverse sampler 1.  Models
     * that edit pictures (info->edits_pictures) take image_guidance instead,
     * how hard to hold on to it: 1 or more, unset: 1.5; nothing without
     * `guidance`.
     */
    const struct unstir_image *init_image, *mask;
    double strength;
    double image_guidance;

    /* Latents in place of an init_image, of a latent model: the first of them.
     * NULL: none.                                                            */
    const struct unstir_latents *init_latents;

    /* A part of the way, as shares of the training's timesteps: from a picture
     * that still has the noise of denoising_start (0: none of this; it says
     * where to begin instead of strength, and no noise is added) to what is
     * left of it at denoising_end (0, 1: nothing).  So one model hands over to
     * another, as SDXL to its refiner: unstir_generation_result() of a run
     * that ends at 0.8 is the init_latents of one that starts there.  What a
     * mask keeps is handed over without noise: the next run needs it, too.    */
    double denoising_start, denoising_end;

    /* SDXL (info->takes_micro_conditioning): what it is told of the picture and
     * of what to keep away from (0: as of the picture); its refiner
     * (info->takes_aesthetic_score) a score in place of target sizes, unset: 6
     * and 2.5.                                                               */
    struct unstir_micro micro, negative_micro;
    double aesthetic_score, negative_aesthetic_score;
};

#define UNSTIR_REQUEST_INIT                                                    \
    {                                                                          \
        NULL, NULL, NULL, 0, NULL, UNSTIR_CLASS_UNSET, 0, 0, 0, 0, 0, 0, NULL, \
            NULL, UNSTIR_UNSET_F, UNSTIR_UNSET_F, UNSTIR_UNSET_F,              \
            UNSTIR_UNSET_F, UNSTIR_UNSET_F, 0, NULL, NULL, UNSTIR_UNSET_F,     \
            UNSTIR_UNSET_F, NULL, 0, 0, {0, 0, 0, 0, 0, 0},                    \
            {0, 0, 0, 0, 0, 0}, UNSTIR_UNSET_F, UNSTIR_UNSET_F                 \
    }

/* Make of the request of picture 0 that of picture i of the same job: its seed
 * is seed + i; of variations all have `seed`, and variation_seed + i.        */
void unstir_request_picture(struct unstir_request *request, uint32_t i);

/* Check every field against the model.  Calls `report` once a violation
 * (field: its name in the canonical JSON, "steps"; nearest: a JSON value text
 * such as "1000" or "\"euler\"", or NULL); returns UNSTIR_ERR_ARG if there was
 * any.  On success *resolved (may be NULL) has every default filled in; its
 * prompts stay the request's, its other strings belong to the model.  Pictures
 * need no pixels for this: their shape is enough; where width and height are
 * unset, they are init_image's, cut to a size that the model makes.         */
typedef void (*unstir_violation_fn)(void *user, const char *field,
                                    const char *detail, const char *nearest);
enum unstir_status unstir_request_check(const struct unstir_model *model,
                                        const struct unstir_request *request,
                                        struct unstir_request *resolved,
                                        unstir_violation_fn report, void *user,
                                        struct unstir_error *err);

/* One picture by two models, as SDXL's base and refiner: the model of the
 * request goes from its beginning to denoising_end (0: 0.8), the refiner, which
 * works on latents of the same kind, from there to the end.  What comes of it is
 * what the two would make one after the other, by hand: unstir_generation_result()
 * of a request to denoising_end as the init_latents of one from denoising_start.
 *
 * The request goes to both, as far as each knows of it: not to the refiner
 * init_image, strength, variations and, where it reads an aesthetic_score
 * instead, target sizes; not to the base that score, if it reads none.  What is
 * left out each fills in by its own defaults.  `own` (may be NULL) is what the
 * refiner is told in place of it: prompts, clip_skip, steps, sampler (with its
 * schedule), eta, guidance and what belongs to it, deep_cache, micro,
 * aesthetic_scores; what is unset there is as in the request.  Texts may name
 * LoRAs of the base alone.  Both models outlive the generation.              */
struct unstir_refiner {
    const struct unstir_model *model;
    const struct unstir_request *own;
};

/* unstir_request_check() of both.  resolved[0] is the base's, resolved[1] the
 * refiner's; given again (that one as `own`) they mean the same.  Violations of
 * the refiner's have "refiner." before their field.                          */
enum unstir_status unstir_request_check_refined(
    const struct unstir_model *model, const struct unstir_refiner *refiner,
    const struct unstir_request *request, struct unstir_request resolved[2],
    unstir_violation_fn report, void *user, struct unstir_error *err);

/* Steps that a resolved request really runs: fewer than `steps` from a picture
 * (but those of latent consistency models). */
uint32_t unstir_request_steps(const struct unstir_model *model,
                              const struct unstir_request *resolved);

/* Work of a resolved request, in evaluations of the whole network for one
 * picture: guidance makes two of a step, methods of second order two, and
 * deep_cache less than one of a shallow step.                               */
double unstir_request_evaluations(const struct unstir_model *model,
                                  const struct unstir_request *resolved);

/* Whether a resolved request must say guidance_start and guidance_end to mean
 * the same when it comes again.                                            */
bool unstir_request_has_interval(const struct unstir_model *model,
                                 const struct unstir_request *resolved);

/* Whether it must say micro_conditioning and aesthetic_score to mean the same. */
bool unstir_request_has_micro(const struct unstir_model *model,
                              const struct unstir_request *resolved);

/* The canonical JSON of one resolved picture, as it stands in the PNG.
 * *json is ended by unstir_free().                                         */
enum unstir_status unstir_request_json(const struct unstir_model *model,
                                       const struct unstir_request *resolved,
                                       char **json, struct unstir_error *err);

/* ------------------------------------------------------------ pictures -- */

/* 8 bits a sample, rows top to bottom without gaps, grey (1) or RGB (3). */
struct unstir_image {
    uint32_t width, height, channels;
    uint8_t *pixels; /* ended by unstir_image_fini() */
};
void unstir_image_fini(struct unstir_image *image);

struct unstir_text {
    const char *key;   /* PNG keyword, 1..79 Latin-1 characters              */
    const char *value; /* UTF-8                                              */
};

/* level: 0..9, or -1 for the fast setting.  *bytes: unstir_free().          */
enum unstir_status unstir_png_encode(const struct unstir_image *image,
                                     int level, const struct unstir_text *texts,
                                     size_t n_texts, unsigned char **bytes,
                                     size_t *n_bytes, struct unstir_error *err);

/* Read a PNG from memory as 8-bit grey or RGB (alpha over white, 16 bits cut
 * to 8).  Limits are checked before a pixel is decoded.                     */
enum unstir_status unstir_png_decode(const unsigned char *bytes, size_t n_bytes,
                                     uint32_t max_edge,
                                     struct unstir_image *image,
                                     struct unstir_error *err);

enum unstir_format {
    UNSTIR_FORMAT_PNG,
    UNSTIR_FORMAT_JPEG,
    UNSTIR_FORMAT_WEBP,
    UNSTIR_N_FORMATS
};
struct unstir_format_info {
    const char *name;       /* "jpeg"                                       */
    const char *media_type; /* "image/jpeg"                                 */
    const char *suffixes;   /* ".jpg,.jpeg"                                 */
    bool has_quality;       /* 1..100; of WebP 100 is lossless              */
};
const struct unstir_format_info *unstir_format_info(enum unstir_format format);

/* Read a picture of any of these formats, found out by its content, as 8-bit
 * grey or RGB: alpha over white, 16 bits cut to 8, turned as EXIF says.
 * max_edge 0: 16384.  probe looks at the head of the file alone, allocates
 * nothing and gives the shape (pixels NULL); decode does the same before it
 * takes memory.
 *
 *   UNSTIR_ERR_LIMIT, _FORMAT; _UNSUPPORTED: films, CMYK, arithmetic coding  */
enum unstir_status unstir_image_probe(const unsigned char *bytes,
                                      size_t n_bytes, uint32_t max_edge,
                                      enum unstir_format *format,
                                      struct unstir_image *shape,
                                      struct unstir_error *err);
enum unstir_status unstir_image_decode(const unsigned char *bytes,
                                       size_t n_bytes, uint32_t max_edge,
                                       struct unstir_image *image,
                                       struct unstir_error *err);

struct unstir_encode_options {
    enum unstir_format format;
    int png_level; /* 0..9, -1: fast                                        */
    int quality;   /* 1..100, 0: 90                                         */
};
#define UNSTIR_ENCODE_INIT       \
    {                            \
        UNSTIR_FORMAT_PNG, -1, 0 \
    }

/* options NULL: PNG.  Of the texts, JPEG and WebP keep "parameters" (as EXIF
 * comment) and "XML:com.adobe.xmp", in JPEG only what 64 KiB can hold.
 * *bytes: unstir_free().                                                    */
enum unstir_status
unstir_image_encode(const struct unstir_image *image,
                    const struct unstir_encode_options *options,
                    const struct unstir_text *texts, size_t n_texts,
                    unsigned char **bytes, size_t *n_bytes,
                    struct unstir_error *err);

/* Pictures of one size as a WebP film that repeats.  *bytes: unstir_free(). */
struct unstir_film_options {
    uint32_t frame_ms, last_ms; /* a picture, and the last one, are shown   */
    int quality;                /* 1..100, 0: 90                            */
};
enum unstir_status unstir_film_encode(const struct unstir_image *images,
                                      size_t n,
                                      const struct unstir_film_options *options,
                                      unsigned char **bytes, size_t *n_bytes,
                                      struct unstir_error *err);

/* To another size, by a triangle filter: growing interpolates, shrinking
 * averages.                                                                 */
enum unstir_status unstir_image_resize(const struct unstir_image *image,
                                       uint32_t width, uint32_t height,
                                       struct unstir_image *out,
                                       struct unstir_error *err);

/* Pictures of one size on a sheet, `columns` a row, `gap` pixels of white
 * between, each pixel enlarged `zoom` times.                                */
enum unstir_status unstir_image_sheet(const struct unstir_image *images,
                                      size_t n, uint32_t columns, uint32_t gap,
                                      uint32_t zoom, struct unstir_image *out,
                                      struct unstir_error *err);

/* ---------------------------------------------------------- executors -- */

struct unstir_executor;

/* Whether threads stay on a core of their own.  AUTO: when they are one for
 * each core the process may use; ON: also fewer, on cores that no other pinned
 * thread of the process has; never under a cgroup quota below the affinity. */
enum unstir_pin { UNSTIR_PIN_AUTO, UNSTIR_PIN_ON, UNSTIR_PIN_OFF };

/* Threads and scratch memory of one worker.  n_threads 0: one a physical core
 * that the process may use (affinity and cgroup quota).  Computing threads,
 * the calling one excepted, run at `nice` if it is not 0.  The calling thread
 * is pinned while it is inside a step only.                                 */
struct unstir_executor_options {
    unsigned n_threads;
    int nice;
    size_t max_arena_bytes; /* 0: no ceiling but memory                      */
    enum unstir_pin pin;
};
enum unstir_status
unstir_executor_new(struct unstir_executor **out,
                    const struct unstir_executor_options *options,
                    struct unstir_error *err);
void unstir_executor_free(struct unstir_executor *executor);
unsigned unstir_executor_threads(const struct unstir_executor *executor);

/* --------------------------------------------------------- generations -- */

struct unstir_generation;

/* Check the request, draw the first noise.  Does not run the network.       */
enum unstir_status unstir_generation_begin(struct unstir_generation **out,
                                           const struct unstir_model *model,
                                           const struct unstir_request *request,
                                           struct unstir_error *err);
/* The same for several of one job: what begins with the same init_image and
 * mask at the same size as `company` (may be NULL) shares what is made of them,
 * which are then fitted and encoded once.  Those that share serve one thread at
 * a time, all together; they may end in any order.                           */
enum unstir_status unstir_generation_begin_beside(
    struct unstir_generation **out, const struct unstir_model *model,
    const struct unstir_request *request,
    const struct unstir_generation *company, struct unstir_error *err);
/* By two models: see struct unstir_refiner.  `company` as above.              */
enum unstir_status unstir_generation_begin_refined(
    struct unstir_generation **out, const struct unstir_model *model,
    const struct unstir_refiner *refiner, const struct unstir_request *request,
    const struct unstir_generation *company, struct unstir_error *err);
void unstir_generation_free(struct unstir_generation *generation);

/* Advance by one step.  A step is what the user counts.  Its effect is
 * committed at its end only: after UNSTIR_ERR_CANCELLED the generation is
 * as before the call.  UNSTIR_ERR_ARG when it is done already.              */
enum unstir_status unstir_generation_step(struct unstir_generation *generation,
                                          struct unstir_executor *executor,
                                          struct unstir_error *err);

/* Advance each of n generations by one step, in one batch where they share
 * model and size; results equal those of single steps, bit for bit.         */
enum unstir_status
unstir_step_many(struct unstir_generation *const *generations, size_t n,
                 struct unstir_executor *executor, struct unstir_error *err);

bool unstir_generation_is_done(const struct unstir_generation *generation);

struct unstir_progress {
    uint32_t step;   /* steps taken                                         */
    uint32_t steps;  /* in all                                              */
    double timestep; /* of the coming step, of the network's 0..T-1         */
};
struct unstir_progress
unstir_generation_progress(const struct unstir_generation *generation);

/* Milliseconds of the steps so far that went into the text and into turning
 * latents into pixels; and, as unstir_request_evaluations() counts, what the
 * network did in the rest.                                                  */
struct unstir_times {
    double text_ms, decode_ms;
    double evaluations;
};
struct unstir_times
unstir_generation_times(const struct unstir_generation *generation);

/* The request with every default filled in, of two models the base's; lives with
 * the generation.                                                            */
const struct unstir_request *
unstir_generation_request(const struct unstir_generation *generation);

/* Its canonical JSON, with what a refiner is told.  *json: unstir_free().      */
enum unstir_status
unstir_generation_json(const struct unstir_generation *generation, char **json,
                       struct unstir_error *err);

/* Raise or clear the cancel flag; any thread.  Polled between operations of
 * the network.                                                              */
void unstir_generation_cancel(struct unstir_generation *generation);
void unstir_generation_uncancel(struct unstir_generation *generation);

enum unstir_view {
    UNSTIR_VIEW_ESTIMATE, /* the finished picture as the network now sees it;
                             before the first step: the sample               */
    UNSTIR_VIEW_SAMPLE    /* the noisy sample itself                         */
};

/* The picture as it stands now.  *image: unstir_image_fini().               */
enum unstir_status
unstir_generation_preview(const struct unstir_generation *generation,
                          enum unstir_view view, struct unstir_image *image,
                          struct unstir_error *err);

/* What makes pixels of latents for previews.  Of pixel models it is all the
 * same: the sample is the picture.                                          */
enum unstir_preview_decoder {
    UNSTIR_PREVIEW_MATRIX, /* a map of their channels to colours: at once    */
    UNSTIR_PREVIEW_TINY,   /* needs info->has_tiny_decoder                   */
    UNSTIR_PREVIEW_FULL,   /* the model's own decoder, as for the result     */
    UNSTIR_N_PREVIEW_DECODERS
};
const char *unstir_preview_decoder_name(enum unstir_preview_decoder decoder);

/* The same by another decoder, run by `executor` (NULL: one thread of its own);
 * cancelled as a step is.  UNSTIR_ERR_ARG: there is no tiny decoder.         */
enum unstir_status unstir_generation_preview_by(
    const struct unstir_generation *generation, enum unstir_view view,
    enum unstir_preview_decoder decoder, struct unstir_executor *executor,
    struct unstir_image *image, struct unstir_error *err);

/* Take the current estimate for the result and call the generation done.    */
enum unstir_status
unstir_generation_finish_early(struct unstir_generation *generation,
                               struct unstir_error *err);

/* The finished picture; UNSTIR_ERR_ARG before the end.                      */
enum unstir_status
unstir_generation_image(const struct unstir_generation *generation,
                        struct unstir_image *image, struct unstir_error *err);

struct unstir_png_options {
    int level;        /* 0..9, -1: fast                                       */
    bool no_metadata; /* leave the parameters out (XMP stays)                */
};

/* The finished picture as PNG, parameters included: webui-style text
 * ("parameters"), canonical JSON ("unstir"), XMP.  options may be NULL.
 * *bytes: unstir_free().                                                    */
enum unstir_status
unstir_generation_png(const struct unstir_generation *generation,
                      const struct unstir_png_options *options,
                      unsigned char **bytes, size_t *n_bytes,
                      struct unstir_error *err);

/* The same in any format.  JPEG keeps the text as EXIF comment and the JSON in
 * XMP, as far as 64 KiB hold them; so does WebP.  options NULL: PNG.        */
struct unstir_picture_options {
    struct unstir_encode_options file;
    bool no_metadata;
};
enum unstir_status
unstir_generation_encode(const struct unstir_generation *generation,
                         const struct unstir_picture_options *options,
                         unsigned char **bytes, size_t *n_bytes,
                         struct unstir_error *err);

/* The current sample, f32 [channels][height][width], the network's own
 * range; *sample lives with the generation until its next step.             */
const float *
unstir_generation_sample(const struct unstir_generation *generation,
                         size_t *n_floats);

/* Channels, height and width of the sample; of latent models not the
 * picture's.                                                                */
void unstir_generation_sample_shape(const struct unstir_generation *generation,
                                    uint32_t shape[3]);

/* What becomes the picture, in the sample's shape and range: the sample, or
 * the last estimate where the sampler takes that (score_ve).                */
const float *
unstir_generation_result(const struct unstir_generation *generation,
                         size_t *n_floats);

/* The same as a safetensors file that unstir_latents_decode() reads, with the
 * canonical request in its metadata.  *bytes: unstir_free().  UNSTIR_ERR_ARG
 * before the end.                                                           */
enum unstir_status
unstir_generation_latents(const struct unstir_generation *generation,
                          bool has_no_metadata, unsigned char **bytes,
                          size_t *n_bytes, struct unstir_error *err);

/* Only that is wanted of it: the last step does not turn latents into pixels.
 * Whoever asks for the picture all the same waits for that then, on one thread.
 */
void unstir_generation_leave_latents(struct unstir_generation *generation);

/* The finished picture before it is clamped and rounded, f32
 * [channels][height][width], about -1 to 1; of models that paint pixels a copy
 * of the result, in its own range.  *planes: unstir_free().  UNSTIR_ERR_ARG
 * before the end.                                                           */
enum unstir_status
unstir_generation_planes(const struct unstir_generation *generation,
                         float **planes, size_t *n_floats,
                         struct unstir_error *err);

/* The whole state as a safetensors file in memory (unstir_free), and back.
 * A restored generation ends with the same bytes.  UNSTIR_ERR_MISMATCH when
 * model digest or fingerprint differ.                                       */
enum unstir_status
unstir_generation_save(const struct unstir_generation *generation,
                       unsigned char **bytes, size_t *n_bytes,
                       struct unstir_error *err);
enum unstir_status unstir_generation_restore(struct unstir_generation **out,
                                             const struct unstir_model *model,
                                             const unsigned char *bytes,
                                             size_t n_bytes,
                                             struct unstir_error *err);

/* Of a picture by two models; UNSTIR_ERR_MISMATCH also for states of one.      */
enum unstir_status unstir_generation_restore_refined(
    struct unstir_generation **out, const struct unstir_model *model,
    const struct unstir_model *refiner, const unsigned char *bytes,
    size_t n_bytes, struct unstir_error *err);

/* ---------------------------------------------------- the forward process - */

/* Noise to add to a picture at any step of a chain.  NULL model: the schedule
 * named by `schedule` ("linear", "cosine", "scaled-linear") with T steps.   */
struct unstir_forward {
    const struct unstir_model *model;
    const char *schedule;
    uint32_t n_timesteps;
    uint64_t seed;
};

/* q(x_t | x_0): the picture shrunk toward the origin plus noise, clamped to
 * bytes.  t = -1 gives the picture itself.                                  */
enum unstir_status unstir_forward_image(const struct unstir_forward *forward,
                                        const struct unstir_image *image,
                                        int32_t t, struct unstir_image *out,
                                        struct unstir_error *err);

/* ---------------------------------------------------------------- misc -- */

/* End memory that a function of this header handed out; NULL allowed.       */
void unstir_free(void *pointer);

/* Rungs this CPU can run, best first, comma separated; static text.         */
const char *unstir_cpu_rungs(void);

/* Number of the candidate nearest to `text` by edit distance (case ignored),
 * or -1 if none is near.  For "did you mean".                               */
int unstir_nearest(const char *text, const char *const *candidates, size_t n);

/* The same among the models of `folder` (folders of models, .safetensors and
 * .gguf files) or, where slashes are in what was given, of the folder that it
 * names: *near is the nearest, with what stands before the last slash; "" and
 * false if none is near or it has no room.                                  */
bool unstir_model_nearest(char *near, size_t size, const char *folder,
                          const char *given);

/* Write a safetensors file of f32 tensors beside its place, then rename.    */
struct unstir_tensor {
    const char *name;
    const float *data;
    size_t rank;
    size_t dims[8];
};
enum unstir_status
unstir_tensors_write(const char *path, const struct unstir_tensor *tensors,
                     size_t n_tensors, const struct unstir_text *metadata,
                     size_t n_metadata, struct unstir_error *err);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
