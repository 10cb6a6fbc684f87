/* profile.c - rows of a profile: found by their names, kept in one array.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "ops/plan.h"

/* Kinds of operations of a network, sizes of layers times algorithms: some
 * tens.  What comes after these goes into the last row. */
#define MAX_ROWS  128
#define MAX_NAME  64
#define LAST_NAME "others"

struct row {
    char name[MAX_NAME];
    uint64_t calls;
    struct plan_time time;
    double flop;
};

struct profile {
    struct row rows[MAX_ROWS];
    size_t n_rows;
    struct plan_time *times; /* of the steps of the plan that runs            */
    size_t n_times;
};

enum unstir_status profile_new(struct profile **out, struct unstir_error *err)
{

    *out = NULL;
    TRY(alloc_zero(out, 1, sizeof **out, err));
    return UNSTIR_OK;
}

void profile_free(struct profile *p)
{
    if (p)
        alloc_free(p->times);
    alloc_free(p);
}

/* -- taking ---------------------------------------------------------------- */

static void name_step(char name[MAX_NAME], const struct plan *plan, size_t i)
{
    const struct plan_product *p = plan_step_product(plan, i);
    const char *kind = plan_step_kind(plan, i);

    if (!p)
        (void)snprintf(name, MAX_NAME, "%s", kind);
    else if (p->kernel > 1)
        (void)snprintf(name, MAX_NAME, "%s %ux%u, %s, %ux%u%s", kind, p->kernel,
                       p->kernel, p->way, p->h, p->w,
                       p->stride > 1 ? ", stride" : "");
    else
        (void)snprintf(name, MAX_NAME, "%s, %s, %llu rows", kind, p->way,
                       (unsigned long long)p->h * p->w);
}

static struct row *find_row(struct profile *p, const char *name)
{
    struct row *row = p->rows;

    for (; row < p->rows + p->n_rows; row++)
        if (strcmp(row->name, name) == 0)
            return row;
    if (p->n_rows == MAX_ROWS)
        return row - 1;
    p->n_rows++;
    (void)snprintf(row->name, sizeof row->name, "%s",
                   p->n_rows == MAX_ROWS ? LAST_NAME : name);
    return row;
}

static void take_step(struct profile *p, const struct plan *plan, size_t i)
{
    char name[MAX_NAME];
    struct row *row;

    name_step(name, plan, i);
    row = find_row(p, name);
    row->calls++;
    row->time.s += p->times[i].s;
    row->time.cpu_s += p->times[i].cpu_s;
    row->flop += plan_step_flop(plan, i);
}

enum unstir_status profile_run(struct profile *p, const struct plan *plan,
                               struct pool *pool, void *arena,
                               void *const *externals, struct unstir_error *err)
{
    size_t n = plan_n_steps(plan);
    void *times;

    if (n > p->n_times) {
        TRY(alloc_zero(&times, n, sizeof *p->times, err));
        alloc_free(p->times);
        p->times = times;
        p->n_times = n;
    }
    memset(p->times, 0, n * sizeof *p->times);
    TRY(plan_run_timed(plan, pool, arena, externals, p->times, err));
    for (size_t i = 0; i < n; i++)
        take_step(p, plan, i);
    return UNSTIR_OK;
}

/* -- telling --------------------------------------------------------------- */

static int by_falling_time(const void *a, const void *b)
{
    double x = ((const struct row *)a)->time.cpu_s;
    double y = ((const struct row *)b)->time.cpu_s;

    return x > y ? -1 : x < y;
}

static void put_row(struct json_writer *w, const struct row *row,
                    uint32_t n_runs, double all_cpu_s, double peak_gflops)
{
    double gflops = 1e-9 * row->flop / row->time.cpu_s;

    json_open_object(w, NULL);
    json_put_string(w, "operation", row->name);
    json_put_int(w, "calls", (int64_t)(row->calls / n_runs));
    json_put_real(w, "ms", 1e3 * row->time.s / n_runs);
    json_put_real(w, "cpu_ms", 1e3 * row->time.cpu_s / n_runs);
    json_put_real(w, "share_of_time", row->time.cpu_s / all_cpu_s);
    if (row->flop > 0 && row->time.cpu_s > 0) {
        json_put_real(w, "gflops", gflops);
        if (peak_gflops > 0)
            json_put_real(w, "share_of_peak", gflops / peak_gflops);
    }
    json_close(w);
}

void profile_put(struct json_writer *w, struct profile *p, uint32_t n_runs,
                 double peak_gflops)
{
    double all = 1e-12; /* not nothing, to divide by                         */

    qsort(p->rows, p->n_rows, sizeof *p->rows, by_falling_time);
    for (size_t i = 0; i < p->n_rows; i++)
        all += p->rows[i].time.cpu_s;
    json_open_array(w, "profile");
    for (size_t i = 0; i < p->n_rows; i++)
        put_row(w, &p->rows[i], n_runs, all, peak_gflops);
    json_close(w);
}
