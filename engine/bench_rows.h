/* bench_rows.h - the frame of benchmarks that time kernels one by one: a table,
 * a pool, a clock, and the JSON with a row each.
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

/* On the wall's clock.  bench_rows_fini() in every case. */
enum unstir_status bench_rows_init(struct bench_rows *b,
                                   const struct unstir_bench_options *o,
                                   struct unstir_error *err);
void bench_rows_fini(struct bench_rows *b);

/* The text so far: unstir_free() ends it. */
enum unstir_status bench_rows_finish(struct bench_rows *b, char **json,
                                     struct unstir_error *err);

/* n floats in [-1, 1], aligned: alloc_free() ends them. */
enum unstir_status bench_rows_floats(float **out, size_t n,
                                     struct unstir_error *err);

double bench_rows_now(const struct bench_rows *b);

/* Seconds of the fastest run. */
typedef void (*bench_rows_work_fn)(const struct bench_rows *b, void *arg);
double bench_rows_best(const struct bench_rows *b, bench_rows_work_fn work,
                       void *arg);

/* GFLOP/s of multiply-adds from registers, on one thread or all. */
double bench_rows_burst(const struct bench_rows *b, bool is_one_thread);

/* kernel, shape, algorithm, ms, gflops, share_of_peak. */
void bench_rows_put(const struct bench_rows *b, const char *kernel,
                    const char *shape, const char *algorithm, double seconds,
                    double flop);

/* What one benchmark says: its parts write objects to the array `list`. */
typedef enum unstir_status (*bench_rows_fn)(struct bench_rows *b,
                                            struct unstir_error *err);
struct bench_rows_table {
    const char *what, *list;
    clockid_t clock;
    const bench_rows_fn *parts;
    size_t n_parts;
};
enum unstir_status bench_rows_run(const struct unstir_bench_options *options,
                                  const struct bench_rows_table *table,
                                  char **json, struct unstir_error *err);

/* Attention of Stable Diffusion; its linear layers in f32, bf16 and int8:
 * parts of unstir_bench_kernels(), too. */
enum unstir_status bench_rows_attention(struct bench_rows *b,
                                        struct unstir_error *err);
enum unstir_status bench_rows_linear(struct bench_rows *b,
                                     struct unstir_error *err);

#endif
