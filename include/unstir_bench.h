/* unstir_bench.h - how fast is this machine: kernels, evaluations, peaks.
 *
 * Each function writes one JSON text (unstir_free) as described for
 * `unstir bench`.  Timing never chooses anything that changes numbers.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef UNSTIR_BENCH_H
#define UNSTIR_BENCH_H

#include "unstir.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

struct unstir_bench_options {
    const char
        *model; /* folder or file; a folder with a config but no weights is
                           run with weights drawn from seed 0               */
    const char *isa;
    enum unstir_precision precision;
    uint32_t width, height, batch; /* pixels of the picture               */
    unsigned n_threads;
    enum unstir_pin pin;
    uint32_t repeat; /* timed runs; 0: some                                   */
    uint32_t warmup; /* runs before them                                     */
    const char *pack_cache, *merges_path; /* as in unstir_model_options      */
    bool has_layers;  /* eval: what each layer runs by, in "layers"           */
    bool has_profile; /* eval, decode: time and share of the peak by kind of
                         operation, in "profile"                             */
};

/* One network evaluation.                                                   */
enum unstir_status unstir_bench_eval(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err);
/* Of a latent model: one picture from its latent.                           */
enum unstir_status
unstir_bench_decode(const struct unstir_bench_options *options, char **json,
                    struct unstir_error *err);
/* Of a model that reads texts: its encoders, `batch` pieces of a text each.  */
enum unstir_status unstir_bench_text(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err);
/* One training step (loss v, AdamW) of the model's network.                 */
enum unstir_status
unstir_bench_train(const struct unstir_bench_options *options, char **json,
                   struct unstir_error *err);
/* One line a kernel and shape.                                              */
enum unstir_status
unstir_bench_kernels(const struct unstir_bench_options *options, char **json,
                     struct unstir_error *err);
/* The 3x3 convolutions of Stable Diffusion 1.5, forward: CPU time.           */
enum unstir_status unstir_bench_conv(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err);
/* Its linear layers in f32, bf16 and int8, by turns: CPU time.               */
enum unstir_status
unstir_bench_linear(const struct unstir_bench_options *options, char **json,
                    struct unstir_error *err);
/* Its attention, XL's and the autoencoder's: CPU time.                       */
enum unstir_status
unstir_bench_attention(const struct unstir_bench_options *options, char **json,
                       struct unstir_error *err);
/* The threads themselves: what a loop costs, and what two gangs keep of their
 * speed side by side.                                                       */
enum unstir_status unstir_bench_pool(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err);
/* What deep_cache and guidance in a part of the steps gain and cost: `repeat`
 * pictures of the model's own sampler and steps.                            */
enum unstir_status
unstir_bench_shortcuts(const struct unstir_bench_options *options, char **json,
                       struct unstir_error *err);
/* Peaks the shares refer to: FMA, memory.                                   */
enum unstir_status
unstir_bench_machine(const struct unstir_bench_options *options, char **json,
                     struct unstir_error *err);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
