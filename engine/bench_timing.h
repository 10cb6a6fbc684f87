/* bench_timing.h - repeat a piece of work and tell how long it took.
 *
 * The least of several runs is the figure, since on a shared machine everything
 * else only adds; median and largest tell how calm the machine was.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stdint.h>

#include "base/error.h"
#include "unstir_bench.h"

struct json_writer;

struct bench_timing {
    uint32_t repeat, warmup;
    double *ms; /* [repeat], in order when run                               */
    double cpu_ms_min; /* of the process: all threads, also while they spin  */
};

double bench_now_ms(void);

/* bench_timing_fini() in every case. */
enum unstir_status bench_timing_init(struct bench_timing *t,
                                     const struct unstir_bench_options *o,
                                     struct unstir_error *err);
void bench_timing_fini(struct bench_timing *t);

typedef enum unstir_status (*bench_work)(void *arg, struct unstir_error *err);
enum unstir_status bench_timing_run(struct bench_timing *t, bench_work work,
                                    void *arg, struct unstir_error *err);

/* ms_min, ms_median, ms_max, cpu_ms_min. */
void bench_timing_put(struct json_writer *w, const struct bench_timing *t);

/* peak_rss_bytes of this process so far. */
void bench_put_peak_rss(struct json_writer *w);

#endif
