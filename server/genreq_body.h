/* genreq_body.h - what a client asks for, before it is checked against anything.
 *
 * genreq_fields.c says how JSON fills this, genreq.c what becomes of it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_GENREQ_BODY_H
#define SERVER_GENREQ_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "json.h"
#include "unstir.h"

/* In struct body, of a field that must be positive; JSON has no such number. */
#define NOT_GIVEN INT64_MIN

struct output_body {
    const char *format;
    int64_t png_level, quality;
    bool metadata, has_level, has_quality;
};

struct preview_body {
    int64_t every, max_edge, quality;
    const char *decoder, *format;
    bool keep;
};

struct micro_body {
    int64_t original_width, original_height, crop_left, crop_top, target_width,
        target_height;
};

struct lora_body {
    const char *name; /* or "name:0.8", as in a prompt                       */
    const char *sha256;
    double scale, text_scale;
    bool has_scale, has_text_scale;
};

struct refiner_body {
    const char *model, *negative_prompt, *sampler, *schedule;
    int64_t steps, deep_cache; /* 0: not given                               */
    double guidance, guidance_rescale, guidance_start, guidance_end, eta,
        aesthetic_score, negative_aesthetic_score;
    bool has_guidance, has_guidance_rescale, has_guidance_start,
        has_guidance_end, has_eta, has_aesthetic_score,
        has_negative_aesthetic_score;
    struct micro_body micro, negative_micro;
};

struct body {
    const char *prompt, *negative_prompt, *prompt_syntax, *class_name, *model,
        *sampler;
    const char *schedule, *precision, *init_image, *mask, *on_disconnect, *tag;
    uint64_t seed, variation_seed;
    int64_t n, steps, width, height, clip_skip, deep_cache, priority;
    double guidance, image_guidance, guidance_rescale, guidance_start,
        guidance_end;
    double eta, strength, variation_strength, deadline_s, ttl_s;
    double denoising_start, denoising_end, aesthetic_score,
        negative_aesthetic_score;
    bool has_seed, has_variation_seed, has_strength, has_ttl, has_preview;
    struct json_list loras;   /* of struct lora_body                         */
    struct json_list refiner; /* of struct refiner_body, none or one         */
    struct micro_body micro, negative_micro;
    struct output_body output;
    struct preview_body preview;
};

struct model;
struct models;
struct service;

/* The table has seen that they fit. */
struct unstir_micro genreq_micro(const struct micro_body *body);

/* The refiner that the body names, and what it says of it alone; NULL if there
 * is none, or after a violation. */
struct model *genreq_refiner(const struct body *body,
                             const struct models *models,
                             const struct jdoc *doc, struct problem *problem,
                             struct unstir_request *own);

/* Where a client wrote the refiner's field that the engine calls so; NULL if
 * `field` is no refiner's. */
const char *genreq_refiner_pointer(const struct jdoc *doc, const char *field,
                                   struct mem_arena *arena);

/* The model with the LoRAs that the body and its prompt name: `model` itself
 * if there are none, else one that must be released.  NULL after a violation,
 * or with problem->code NO_MEMORY. */
struct model *genreq_with_loras(const struct body *body, struct model *model,
                                const struct service *service,
                                const struct jdoc *doc,
                                struct problem *problem);

#endif
