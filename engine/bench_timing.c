/* bench_timing.c - repeat a piece of work and tell how long it took.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bench_timing.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/alloc.h"
#include "format/json.h"

#define DEFAULT_REPEAT 10
#define MAX_REPEAT     10000

static double clock_ms(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t); /* cannot fail on Linux */
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

double bench_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

enum unstir_status bench_timing_init(struct bench_timing *t,
                                     const struct unstir_bench_options *o,
                                     struct unstir_error *err)
{

    *t = (struct bench_timing){
        .repeat = o->repeat ? o->repeat : DEFAULT_REPEAT,
        .warmup = o->warmup,
    };
    if (t->repeat > MAX_REPEAT)
        return error_field(err, "repeat", "%u; at most %d", t->repeat,
                           MAX_REPEAT);
    TRY(alloc_zero(&t->ms, t->repeat, sizeof *t->ms, err));
    return UNSTIR_OK;
}

void bench_timing_fini(struct bench_timing *t)
{
    alloc_free(t->ms);
    t->ms = NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

enum unstir_status bench_timing_run(struct bench_timing *t, bench_work work,
                                    void *arg, struct unstir_error *err)
{
    for (uint32_t i = 0; i < t->warmup; i++)
        TRY(work(arg, err));
    for (uint32_t i = 0; i < t->repeat; i++) {
        double cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
        double start = bench_now_ms();

        TRY(work(arg, err));
        t->ms[i] = bench_now_ms() - start;
        cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        t->cpu_ms_min = i == 0 || cpu < t->cpu_ms_min ? cpu : t->cpu_ms_min;
    }
    qsort(t->ms, t->repeat, sizeof *t->ms, by_value);
    return UNSTIR_OK;
}

void bench_timing_put(struct json_writer *w, const struct bench_timing *t)
{
    json_put_int(w, "warmup", t->warmup);
    json_put_int(w, "repeat", t->repeat);
    json_put_real(w, "ms_min", t->ms[0]);
    json_put_real(w, "ms_median", t->ms[t->repeat / 2]);
    json_put_real(w, "ms_max", t->ms[t->repeat - 1]);
    json_put_real(w, "cpu_ms_min", t->cpu_ms_min);
}

void bench_put_peak_rss(struct json_writer *w)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage); /* cannot fail for this process */
    json_put_int(w, "peak_rss_bytes", (int64_t)usage.ru_maxrss * 1024);
}
