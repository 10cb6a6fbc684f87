/* bench_rows.h - one row a kernel and shape: what the files of
 * unstir_bench_kernels() share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <time.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "unstir_bench.h"

struct json_writer;
struct pool;

struct bench_rows {
    struct kernel_table k;
    struct pool *pool;
    struct json_writer *json;
    unsigned repeat, warmup;
    double peak_gflops; /* 0: unknown                                        */
    clockid_t clock;    /* the wall's, or the CPU time of the process        */
};

double bench_rows_now(const struct bench_rows *b);

/* kernel, shape, algorithm, ms, gflops, share_of_peak. */
void bench_rows_put(const struct bench_rows *b, const char *kernel,
                    const char *shape, const char *algorithm, double seconds,
                    double flop);

typedef enum unstir_status (*bench_rows_fn)(struct bench_rows *b,
                                            struct unstir_error *err);

/* One object with the rows of all parts. */
enum unstir_status bench_rows_run(const struct unstir_bench_options *options,
                                  const char *what, clockid_t clock,
                                  const bench_rows_fn *parts, size_t n_parts,
                                  char **json, struct unstir_error *err);

/* Attention of Stable Diffusion; its linear layers in f32, bf16 and int8. */
enum unstir_status bench_rows_attention(struct bench_rows *b,
                                        struct unstir_error *err);
enum unstir_status bench_rows_linear(struct bench_rows *b,
                                     struct unstir_error *err);

#endif
