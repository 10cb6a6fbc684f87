/* generate.h - what the files of `unstir generate` share.
 *
 * generate_options.c is the table of options, generate.c checks them and plans
 * the pictures, generate_names.c names their files, generate_micro.c reads what
 * SDXL is told, generate_loras.c finds and adds LoRAs, generate_run.c makes the
 * pictures, generate_raw.c keeps tensors.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GENERATE_H
#define GENERATE_H

#include "cli.h"
#include "opts.h"

/* Pictures on one command line; a sheet of so many is 16,384 pixels wide. */
#define GENERATE_MAX_PICTURES 100000u

struct generate_values {
    struct opts_common common;
    const char *model, *refiner, *prompt, *negative, *prompt_syntax, *class,
        *sampler, *schedule, *preview_decoder, *tiny_decoder, *precision, *pin,
        *isa, *pack_cache;
    bool low_memory;
    const char *init, *mask, *lora_dir, *vae;
    struct opt_list loras, text_encoders;
    const char *output, *grid, *timeline, *animate, *raw, *save_state, *resume;
    uint32_t clip_skip, deep_cache, count, steps, width, height, threads,
        stop_after, png_level, quality;
    uint64_t seed, variation_seed;
    double variation_strength, strength, eta, guidance, image_guidance,
        guidance_rescale, guidance_start, guidance_end, denoising_start,
        denoising_end, aesthetic_score, negative_aesthetic_score;
    const char *original_size, *crop_at, *target_size, *negative_original_size,
        *negative_crop_at, *negative_target_size;
    bool is_forced, wants_raw_steps, has_no_metadata;
};
extern const struct command command_generate;

/* One picture from plan to file. */
struct picture {
    struct unstir_request request; /* strings live with the job              */
    struct unstir_latents latents; /* that it begins in, of the job's        */
    char *file;                    /* its name, or NULL until it is numbered */
    struct unstir_generation *generation;
    struct unstir_image image; /* kept for the grid                          */
};

/* Tensors to keep for --raw: f32 [picture][channel][row][column]. */
struct raw {
    size_t n_pictures, n_floats; /* floats of a picture's sample             */
    size_t n_pixels;             /* of its picture; 0: the sample itself is  */
    uint32_t shape[3];           /* of a sample                              */
    uint32_t n_steps;            /* tensors step.0000 ... when wanted, or 0  */
    float *sample, *image;
    float *steps; /* [n_steps + 1][picture]...                               */
};

struct generate_job {
    const struct generate_values *v;
    struct unstir_model *model;
    struct unstir_model *base; /* of a model with LoRAs, else NULL           */
    struct unstir_model *refiner; /* goes on with its pictures, or NULL      */
    struct unstir_executor *executor;
    struct unstir_image init, mask; /* pixels NULL: none                 */
    struct unstir_latents latents;  /* or --init is these                    */
    char **prompts; /* lines of -p, NULL entries for none                    */
    size_t n_prompts;
    struct picture *pictures;
    size_t n;
    size_t n_done;
    uint32_t steps;
    struct raw raw;
    struct unstir_image
        *frames; /* of timeline and film                          */
    size_t n_frames;
    double load_ms, text_ms, denoise_ms, decode_ms, encode_ms;
};

/* All return CLI_OK or the exit code, with the error printed. */

/* The command, of command_generate. */
int generate_main(int argc, char **argv);

/* What SDXL is told, into a request. */
int generate_micro(const struct generate_values *v, struct unstir_request *r);

/* Add what --lora and the prompts name to the model. */
int generate_loras(struct generate_job *job);

/* Names of all pictures from the template; refuses what exists. */
int generate_name(struct generate_job *job);

/* Run all generations, write all files. */
int generate_run(struct generate_job *job);

int raw_init(struct generate_job *job);
/* Keep the current sample of picture i after `step` steps. */
void raw_keep(struct generate_job *job, size_t i, uint32_t step);
/* Its result, and what that was decoded to. */
int raw_keep_final(struct generate_job *job, size_t i);
int raw_write(struct generate_job *job);
void raw_fini(struct raw *raw);

#endif
