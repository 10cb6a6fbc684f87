/* bench_rows.c - the frame of benchmarks that time kernels one by one.
 *
 * The least of several runs is reported: on a shared machine everything else
 * only adds.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bench_rows.h"

#include <math.h>
#include <time.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "bench_peak.h"
#include "format/json.h"

#define DEFAULT_REPEAT 5u

enum unstir_status bench_rows_init(struct bench_rows *b,
                                   const struct unstir_bench_options *o,
                                   struct unstir_error *err)
{
    *b = (struct bench_rows){.repeat = o->repeat ? o->repeat : DEFAULT_REPEAT,
                             .warmup = o->warmup,
                             .clock = CLOCK_MONOTONIC};
    struct kernel_wish wish = {.isa = o->isa, .precision = o->precision};
    const char *refused;

    TRY(kernels_choose(&b->k, &wish, &refused, err));
    TRY(pool_new_placed(&b->pool, o->n_threads, 0, o->pin, err));
    return json_writer_new(&b->json, err);
}

void bench_rows_fini(struct bench_rows *b)
{
    pool_free(b->pool);
    json_writer_free(b->json);
}

enum unstir_status bench_rows_finish(struct bench_rows *b, char **json,
                                     struct unstir_error *err)
{
    struct json_writer *w = b->json;
    b->json = NULL; /* json_finish ends it in every case */
    return json_finish(json, w, false, err);
}

enum unstir_status bench_rows_floats(float **out, size_t n,
                                     struct unstir_error *err)
{
    TRY(alloc_aligned(out, n, sizeof **out, err));
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (float)(i * 7919 % 251) / 125.0F - 1.0F;
    return UNSTIR_OK;
}

/* -- timing ---------------------------------------------------------------- */

double bench_rows_now(const struct bench_rows *b)
{
    struct timespec t;
    (void)clock_gettime(b->clock, &t); /* cannot fail on Linux */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_rows_best(const struct bench_rows *b, bench_rows_work_fn work,
                       void *arg)
{
    double best = HUGE_VAL;

    for (unsigned i = 0; i < b->warmup + b->repeat; i++) {
        double start = bench_rows_now(b), t;

        work(b, arg);
        t = bench_rows_now(b) - start;
        if (i >= b->warmup && t < best)
            best = t;
    }
    return best;
}

/* -- peak ------------------------------------------------------------------ */

/* Bursts are shorter than a time slice and many, so that some run
 * undisturbed. */
#define BURST_ROUNDS 400000u
#define PEAK_REPEAT  64u

struct bursts {
    const struct gemm_kernels *k;
    size_t n;
    uint64_t flops; /* of one                                                */
};

static void burst_chunk(void *arg, size_t i, unsigned worker)
{
    struct bursts *bursts = arg;
    float sink = 0.5F;
    uint64_t flops = bursts->k->burst(BURST_ROUNDS, &sink);

    (void)worker;
    if (i == 0)
        bursts->flops = flops;
}

static void burst(const struct bench_rows *b, void *arg)
{
    struct bursts *bursts = arg;

    pool_run(b->pool, bursts->n, burst_chunk, bursts);
}

double bench_rows_burst(const struct bench_rows *b, bool is_one_thread)
{
    struct bursts bursts = {.k = &b->k.gemm, .n = 1};
    double best;

    if (!is_one_thread) /* several a thread, so that all of them take part */
        bursts.n = 4 * (size_t)pool_threads(b->pool);
    best = bench_rows_best(b, burst, &bursts);
    return (double)bursts.n * (double)bursts.flops / best * 1e-9;
}

/* Of b's clock: CPU time is of all threads together, the roof one thread's. */
static double peak_gflops(struct bench_rows b)
{
    b.repeat = PEAK_REPEAT;
    return bench_rows_burst(&b, b.clock != CLOCK_MONOTONIC);
}

double bench_peak_gflops(const struct unstir_bench_options *o)
{
    struct bench_rows b;
    double peak = 0;

    if (bench_rows_init(&b, o, NULL) == UNSTIR_OK)
        peak = peak_gflops(b);
    bench_rows_fini(&b);
    return peak;
}

/* -- rows ------------------------------------------------------------------ */

void bench_rows_put(const struct bench_rows *b, const char *kernel,
                    const char *shape, const char *algorithm, double seconds,
                    double flop)
{
    double gflops = flop / seconds * 1e-9;

    json_open_object(b->json, NULL);
    json_put_string(b->json, "kernel", kernel);
    json_put_string(b->json, "shape", shape);
    json_put_string(b->json, "algorithm", algorithm);
    json_put_real(b->json, "ms", seconds * 1e3);
    json_put_real(b->json, "gflops", gflops);
    if (b->peak_gflops > 0)
        json_put_real(b->json, "share_of_peak", gflops / b->peak_gflops);
    else
        json_put_null(b->json, "share_of_peak");
    json_close(b->json);
}

enum unstir_status bench_rows_run(const struct unstir_bench_options *options,
                                  const struct bench_rows_table *table,
                                  char **json, struct unstir_error *err)
{
    enum unstir_status status;
    struct bench_rows b;

    *json = NULL;
    status = bench_rows_init(&b, options, err);
    if (status != UNSTIR_OK)
        goto out;
    b.clock = table->clock;
    b.peak_gflops = peak_gflops(b);
    json_open_object(b.json, NULL);
    json_put_string(b.json, "what", table->what);
    json_put_string(b.json, "isa", b.k.isa);
    json_put_int(b.json, "threads", pool_threads(b.pool));
    json_open_array(b.json, table->list);
    for (size_t i = 0; status == UNSTIR_OK && i < table->n_parts; i++)
        status = table->parts[i](&b, err);
    json_close(b.json);
    json_close(b.json);
    if (status == UNSTIR_OK)
        status = bench_rows_finish(&b, json, err);
out:
    bench_rows_fini(&b);
    return status;
}
