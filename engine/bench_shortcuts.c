/* bench_shortcuts.c - what shortcuts gain in time and cost in likeness.
 *
 * A shortcut is a request that differs from the full one by a field:
 * deep_cache, or guidance in a part of the steps.  Each of `repeat` seeds is
 * run in full, guided in every step, and by every shortcut, one after the
 * other, so that whoever shares the machine slows all of them alike.  The gain
 * is that of the whole time, likeness the PSNR of the bytes of all pictures
 * together against those of the full runs.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "base/error.h"
#include "format/json.h"
#include "unstir.h"
#include "unstir_bench.h"

#define GUIDANCE 3.0 /* of models whose own is none                          */

static const struct shortcut {
    const char *name;
    uint32_t deep_cache;
    double start, end; /* of guidance */
} shortcuts[] = {
    {"full", 1, 0, 1},
    {"deep_cache 2", 2, 0, 1},
    {"deep_cache 3", 3, 0, 1},
    {"deep_cache 5", 5, 0, 1},
    {"guidance 0 .. 0.6", 1, 0, 0.6},
    {"guidance 0.2 .. 0.8", 1, 0.2, 0.8},
    {"guidance 0.2 .. 0.8, deep_cache 3", 3, 0.2, 0.8},
};
#define N_SHORTCUTS ARRAY_LEN(shortcuts)

struct shortcut_bench {
    struct unstir_model *model;
    struct unstir_executor *executor;
    struct unstir_request request;
    bool is_guided;
    double seconds[N_SHORTCUTS];
    double squares[N_SHORTCUTS]; /* of differences of bytes                  */
    double n_bytes;              /* of the full pictures                     */
};

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_there(const struct shortcut_bench *b, const struct shortcut *s)
{
    if (s->deep_cache > 1 && !unstir_model_info(b->model)->takes_deep_cache)
        return false;
    return b->is_guided || (s->start == 0 && s->end == 1);
}

/* Of classes the first, of texts none: how long it takes does not depend on
 * them. */
static enum unstir_status make_request(struct shortcut_bench *b,
                                       const struct unstir_bench_options *o,
                                       struct unstir_error *err)
{
    const struct unstir_model_info *info = unstir_model_info(b->model);
    struct unstir_request *r = &b->request, resolved;

    *r = (struct unstir_request)UNSTIR_REQUEST_INIT;
    r->width = o->width;
    r->height = o->height;
    if (info->n_classes > 0)
        r->class_id = 0;
    r->guidance =
        info->default_guidance > 1 ? info->default_guidance : GUIDANCE;
    r->guidance_start = 0;
    r->guidance_end = 1;
    TRY(unstir_request_check(b->model, r, &resolved, NULL, NULL, err));
    b->is_guided = resolved.guidance > 1;
    return UNSTIR_OK;
}

static enum unstir_status run(struct shortcut_bench *b,
                              const struct shortcut *s, uint64_t seed,
                              double *seconds, struct unstir_image *image,
                              struct unstir_error *err)
{
    struct unstir_request r = b->request;
    struct unstir_generation *g;
    enum unstir_status status = UNSTIR_OK;
    double start = now_s();

    r.seed = seed;
    r.deep_cache = s->deep_cache;
    r.guidance_start = s->start;
    r.guidance_end = s->end;
    TRY(unstir_generation_begin(&g, b->model, &r, err));
    while (status == UNSTIR_OK && !unstir_generation_is_done(g))
        status = unstir_generation_step(g, b->executor, err);
    *seconds += now_s() - start;
    if (status == UNSTIR_OK)
        status = unstir_generation_image(g, image, err);
    unstir_generation_free(g);
    return status;
}

static double squares_of(const struct unstir_image *a,
                         const struct unstir_image *b)
{
    size_t n = (size_t)a->width * a->height * a->channels;
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        double d = (double)a->pixels[i] - b->pixels[i];
        sum += d * d;
    }
    return sum;
}

static enum unstir_status run_seed(struct shortcut_bench *b, uint64_t seed,
                                   struct unstir_error *err)
{
    struct unstir_image full = {0}, image = {0};
    enum unstir_status status =
        run(b, &shortcuts[0], seed, &b->seconds[0], &full, err);

    for (size_t i = 1; status == UNSTIR_OK && i < N_SHORTCUTS; i++) {
        if (!is_there(b, &shortcuts[i]))
            continue;
        status = run(b, &shortcuts[i], seed, &b->seconds[i], &image, err);
        if (status != UNSTIR_OK)
            break;
        b->squares[i] += squares_of(&full, &image);
        unstir_image_fini(&image);
    }
    b->n_bytes += (double)full.width * full.height * full.channels;
    unstir_image_fini(&full);
    return status;
}

static enum unstir_status write(const struct shortcut_bench *b,
                                uint32_t n_seeds, char **json,
                                struct unstir_error *err)
{
    const struct unstir_model_info *info = unstir_model_info(b->model);
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "what", "shortcuts");
    json_put_string(w, "model", info->id);
    json_put_string(w, "isa", info->isa);
    json_put_string(w, "precision", info->precision);
    json_put_int(w, "threads", unstir_executor_threads(b->executor));
    json_put_int(w, "steps", info->default_steps);
    json_put_int(w, "pictures", n_seeds);
    json_open_array(w, "shortcuts");
    for (size_t i = 0; i < N_SHORTCUTS; i++) {
        if (!is_there(b, &shortcuts[i]))
            continue;
        json_open_object(w, NULL);
        json_put_string(w, "name", shortcuts[i].name);
        json_put_real(w, "seconds", b->seconds[i] / n_seeds);
        json_put_real(w, "gain", b->seconds[0] / b->seconds[i]);
        if (b->squares[i] > 0)
            json_put_real(w, "psnr_db",
                          10 * log10(255 * 255 * b->n_bytes / b->squares[i]));
        else
            json_put_null(w, "psnr_db"); /* the same bytes */
        json_close(w);
    }
    json_close(w);
    json_close(w);
    return json_finish(json, w, false, err);
}

enum unstir_status
unstir_bench_shortcuts(const struct unstir_bench_options *options, char **json,
                       struct unstir_error *err)
{
    struct shortcut_bench b = {0};
    struct unstir_model_options m = {.isa = options->isa,
                                     .precision = options->precision,
                                     .pack_cache = options->pack_cache};
    struct unstir_executor_options x = {.n_threads = options->n_threads,
                                        .pin = options->pin};
    struct unstir_image image = {0};
    uint32_t n_seeds = options->repeat ? options->repeat : 1;
    double unused = 0;

    *json = NULL;
    enum unstir_status status =
        unstir_model_open(&b.model, options->model, &m, err);
    if (status == UNSTIR_OK)
        status = unstir_executor_new(&b.executor, &x, err);
    if (status == UNSTIR_OK)
        status = make_request(&b, options, err);
    if (status == UNSTIR_OK && options->warmup)
        status = run(&b, &shortcuts[0], 0, &unused, &image, err);
    unstir_image_fini(&image);
    for (uint32_t i = 0; status == UNSTIR_OK && i < n_seeds; i++)
        status = run_seed(&b, i, err);
    if (status == UNSTIR_OK)
        status = write(&b, n_seeds, json, err);
    unstir_executor_free(b.executor);
    unstir_model_close(b.model);
    return status;
}
