/* diffusers_pipelines.h - what a pipeline's class name says about its parts.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_DIFFUSERS_PIPELINES_H
#define FORMAT_DIFFUSERS_PIPELINES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct json;
struct json_writer;

/* Of the layout that is written; the reference wants to know it. */
#define DIFFUSERS_VERSION "0.42.1"

/* The network's component and its classes; the autoencoder's component if
 * pictures are painted as latents. */
struct diffusers_pipeline {
    const char *name, *net, *classes[2], *vae;
    bool has_texts;  /* text_encoder, text_encoder_2 and their tokenizers    */
    bool passes_eta; /* 0 unless told, to samplers that have one of their own */
    bool keeps_steps; /* from a picture: see struct start                     */
    unsigned patches; /* enum diffusers_patch: old files are corrected       */
    const char *scheduler; /* that it makes of any; NULL: as the index says  */
};

/* NULL if the class is not known. */
const struct diffusers_pipeline *diffusers_pipeline_find(const char *name);

/* All names, comma separated. */
void diffusers_pipeline_names(char *text, size_t size);

/* Whether the index names a component that is there: absent ones are
 * [null, null]. */
bool diffusers_pipeline_has(const struct json *index, const char *component);

/* The class that the index gives a component, or "". */
const char *diffusers_pipeline_class(const struct json *index,
                                     const char *component);

/* The index's entry of a component; library NULL: it is absent. */
void diffusers_put_component(struct json_writer *w, const char *component,
                             const char *library, const char *class_name);

/* The reference corrects old files of Stable Diffusion when it opens them:
 * schedulers start at step 1 and do not clip samples or, where a mask is
 * painted, begin without Runge-Kutta steps, and networks of before 0.9.0 have
 * 64 cells an edge, whatever the file says. */
enum diffusers_patch {
    DIFFUSERS_PATCH_OFFSET = 1, /* steps_offset is 1                         */
    DIFFUSERS_PATCH_CLIP = 2,   /* clip_sample is false                      */
    DIFFUSERS_PATCH_PRK = 4,    /* skip_prk_steps is true                    */
};

/* *json is replaced.  What a scheduler's file leaves to the defaults of its
 * class is corrected for that class alone, another sampler takes its own: the
 * member DIFFUSERS_PATCHED, the patches' bits, asks for that where the
 * defaults are known (schedule_config_parse). */
#define DIFFUSERS_PATCHED "_patches"

enum unstir_status diffusers_patch_scheduler(struct json **json,
                                             unsigned patches,
                                             struct unstir_error *err);
enum unstir_status diffusers_patch_unet(struct json **json,
                                        struct unstir_error *err);

/* The reference makes the class that the index names of a component's file,
 * whatever the file says that it was written for: the index's class is put into
 * *json, which is replaced. */
enum unstir_status diffusers_put_class(struct json **json,
                                       const char *class_name,
                                       struct unstir_error *err);

/* Copies requires_aesthetics_score, where the index says so, into the
 * network's configuration. */
enum unstir_status diffusers_tell_scores(struct json **json,
                                         const struct json *index,
                                         struct unstir_error *err);

#endif
