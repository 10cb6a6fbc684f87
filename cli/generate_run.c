/* generate_run.c - making the planned pictures.
 *
 * Pictures run in batches of a few, each generation advanced together with
 * its neighbours; results do not depend on the batch.  Between two steps an
 * interrupt is noticed: what is finished stays, and an unfinished picture is
 * kept if --save-state asked for it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "generate.h"
#include "output.h"
#include "pictures.h"
#include "progress.h"

#define MAX_BATCH       8
#define MAX_ARENA_BYTES ((size_t)1 << 30)
#define SHEET_GAP       2
#define SHEET_COLUMNS   16 /* fewest a row; more make large sheets square      */
#define SHEET_MAX_EDGE  16384
#define MAX_FRAMES      256 /* of a timeline; above that evenly spaced          */
#define SHEET_CELL      64 /* pictures smaller than this are enlarged on sheets */

/* -- pieces ---------------------------------------------------------------- */

/* As many at once as fit the arena's ceiling. */
static size_t batch_size(const struct generate_job *job)
{
    const struct unstir_model *const models[] = {job->model, job->refiner};
    const struct unstir_request *q =
        unstir_generation_request(job->pictures[0].generation);
    size_t bytes = 0;
    for (size_t i = 0; i < 2 && models[i]; i++) {
        size_t own = 0;
        if (unstir_model_arena_bytes(models[i], q->width, q->height, &own,
                                     NULL) != UNSTIR_OK ||
            own == 0)
            return 1;
        bytes = own > bytes ? own : bytes;
    }
    size_t n = MAX_ARENA_BYTES / bytes;
    return n < 1 ? 1 : n > MAX_BATCH ? MAX_BATCH : n;
}

static int begin_picture(struct generate_job *job, struct picture *p)
{
    const struct unstir_refiner refiner = {job->refiner, NULL};
    struct unstir_error err = {0};
    /* What they begin with is encoded once: the first one stays to the end. */
    const struct unstir_generation *first = job->pictures[0].generation;
    enum unstir_status status =
        job->refiner
            ? unstir_generation_begin_refined(&p->generation, job->model,
                                              &refiner, &p->request, first,
                                              &err)
            : unstir_generation_begin_beside(&p->generation, job->model,
                                             &p->request, first, &err);
    return status == UNSTIR_OK ? CLI_OK : cli_fail(&err);
}

static int restore_picture(struct generate_job *job, struct picture *p)
{
    struct unstir_error err = {0};
    unsigned char *bytes = NULL;
    size_t n = 0;
    int rc = input_read(&bytes, &n, job->v->resume);
    if (rc != CLI_OK)
        return rc;
    enum unstir_status status =
        job->refiner
            ? unstir_generation_restore_refined(&p->generation, job->model,
                                                job->refiner, bytes, n, &err)
            : unstir_generation_restore(&p->generation, job->model, bytes, n,
                                        &err);
    free(bytes);
    if (status != UNSTIR_OK)
        return cli_fail_on(job->v->resume, &err);
    const struct unstir_request *q = unstir_generation_request(p->generation);
    p->request.seed = q->seed;
    p->request.variation_seed = q->variation_seed;
    p->request.variation_strength = q->variation_strength;
    job->steps = unstir_generation_progress(p->generation).steps;
    return CLI_OK;
}

static int save_state(const struct generate_job *job, struct picture *p)
{
    struct unstir_error err = {0};
    unsigned char *bytes;
    size_t n;
    struct unstir_progress at = unstir_generation_progress(p->generation);
    if (unstir_generation_save(p->generation, &bytes, &n, &err) != UNSTIR_OK)
        return cli_fail(&err);
    int rc = output_write(job->v->save_state, bytes, n);
    unstir_free(bytes);
    if (rc == CLI_OK && !job->v->common.is_quiet)
        cli_note("stopped after step %u of %u; go on with --resume %s", at.step,
                 at.steps, job->v->save_state);
    return rc;
}

static enum unstir_preview_decoder decoder_of(const struct generate_values *v)
{
    const char *name = v->preview_decoder;
    int i = UNSTIR_PREVIEW_MATRIX;
    while (name && i + 1 < UNSTIR_N_PREVIEW_DECODERS &&
           strcmp(unstir_preview_decoder_name((enum unstir_preview_decoder)i),
                  name) != 0)
        i++;
    return (enum unstir_preview_decoder)i;
}

/* The sample of the first picture, for timeline and film; of a long run every
 * few steps, the first noise and the last step always. */
static int keep_frame(struct generate_job *job, uint32_t step)
{
    struct unstir_error err = {0};
    uint32_t stride = job->steps / MAX_FRAMES + 1;
    if ((!job->v->timeline && !job->v->animate) ||
        (step % stride != 0 && step != job->steps))
        return CLI_OK;
    struct unstir_image *frame = &job->frames[job->n_frames];
    if (unstir_generation_preview_by(job->pictures[0].generation,
                                     UNSTIR_VIEW_SAMPLE, decoder_of(job->v),
                                     job->executor, frame, &err) != UNSTIR_OK)
        return cli_fail(&err);
    job->n_frames++;
    return CLI_OK;
}

/* What is kept of pictures first .. end - 1 as they stand. */
static int keep(struct generate_job *job, size_t first, size_t end)
{
    uint32_t step =
        unstir_generation_progress(job->pictures[first].generation).step;
    for (size_t i = first; i < end; i++)
        raw_keep(job, i, step);
    return first == 0 ? keep_frame(job, step) : CLI_OK;
}

static uint32_t sheet_columns(size_t n)
{
    uint32_t columns = SHEET_COLUMNS;
    while ((size_t)columns * columns < n)
        columns++;
    return columns < n ? columns : (uint32_t)n;
}

/* A sheet that cannot be made is told before the work, not after it. */
static int check_grid(const struct generate_job *job)
{
    const struct unstir_request *q =
        unstir_generation_request(job->pictures[0].generation);
    size_t columns = sheet_columns(job->n);
    size_t rows = (job->n + columns - 1) / columns;
    size_t w = q->width > SHEET_CELL ? q->width : SHEET_CELL;
    size_t h = q->height > SHEET_CELL ? q->height : SHEET_CELL;
    if (!job->v->grid || (columns * (w + SHEET_GAP) <= SHEET_MAX_EDGE &&
                          rows * (h + SHEET_GAP) <= SHEET_MAX_EDGE))
        return CLI_OK;
    cli_error("--grid: a sheet of %zu pictures would be wider than %d pixels; "
              "make fewer at once",
              job->n, SHEET_MAX_EDGE);
    return CLI_LIMIT;
}

/* -- finishing ------------------------------------------------------------- */

static int choose_name(struct picture *p)
{
    char name[PATH_MAX];
    if (p->file)
        return CLI_OK;
    output_number(name, sizeof(name), "out.png");
    p->file = strdup(name);
    if (p->file)
        return CLI_OK;
    cli_error("out of memory");
    return CLI_LIMIT;
}

static int write_picture(struct generate_job *job, struct picture *p)
{
    const struct generate_values *v = job->v;
    struct unstir_error err = {0};
    struct unstir_picture_options o = {.file = UNSTIR_ENCODE_INIT,
                                       .no_metadata = v->has_no_metadata};
    unsigned char *bytes;
    size_t n;
    int rc = choose_name(p);
    if (rc == CLI_OK)
        rc = picture_format(p->file, &o.file.format);
    if (rc != CLI_OK)
        return rc;
    o.file.quality = (int)v->quality;
    if (opts_is_given(&command_generate, v, "png-level"))
        o.file.png_level = (int)v->png_level;
    if (unstir_generation_encode(p->generation, &o, &bytes, &n, &err) !=
        UNSTIR_OK)
        return cli_fail(&err);
    rc = output_write(p->file, bytes, n);
    unstir_free(bytes);
    if (rc == CLI_OK && v->grid &&
        unstir_generation_image(p->generation, &p->image, &err) != UNSTIR_OK)
        rc = cli_fail(&err);
    return rc;
}

static int finish_pictures(struct generate_job *job, size_t first, size_t end,
                           struct progress *bar)
{
    double start = cli_now_s();
    for (size_t i = first; i < end; i++) {
        struct picture *p = &job->pictures[i];
        struct unstir_times times = unstir_generation_times(p->generation);
        job->text_ms += times.text_ms;
        job->decode_ms += times.decode_ms;
        progress_clear(bar);
        int rc = raw_keep_final(job, i);
        if (rc == CLI_OK)
            rc = write_picture(job, p);
        if (rc != CLI_OK)
            return rc;
        job->n_done++;
        if (!job->v->common.is_json && strcmp(p->file, "-") != 0)
            puts(p->file);
        if (i > 0) { /* the first one still answers for the raw file */
            unstir_generation_free(p->generation);
            p->generation = NULL;
        }
    }
    job->encode_ms += 1e3 * (cli_now_s() - start);
    return CLI_OK;
}

static int write_sheet(const char *file, const struct unstir_image *images,
                       size_t n, uint32_t quality)
{
    return picture_write_sheet(file, images, n, sheet_columns(n), SHEET_GAP,
                               SHEET_CELL, quality);
}

static int write_sheets(struct generate_job *job)
{
    const struct generate_values *v = job->v;
    int rc = CLI_OK;
    if (v->timeline && job->n_frames > 0)
        rc = write_sheet(v->timeline, job->frames, job->n_frames, v->quality);
    if (rc == CLI_OK && v->animate && job->n_frames > 0)
        rc = picture_write_film(v->animate, job->frames, job->n_frames,
                                v->quality);
    if (rc != CLI_OK || !v->grid || job->n_done == 0)
        return rc;
    struct unstir_image *images = calloc(job->n_done, sizeof(*images));
    if (!images) {
        cli_error("out of memory");
        return CLI_LIMIT;
    }
    for (size_t i = 0; i < job->n_done; i++)
        images[i] = job->pictures[i].image;
    rc = write_sheet(v->grid, images, job->n_done, v->quality);
    free(images);
    return rc;
}

/* -- the loop -------------------------------------------------------------- */

static bool must_stop(const struct generate_job *job, uint32_t step)
{
    bool stops = opts_is_given(&command_generate, job->v, "stop-after");
    return cli_is_interrupted() || (stops && step >= job->v->stop_after);
}

/* Advance pictures first .. end - 1 to their end; *is_stopped if they were
 * stopped before. */
static int run_batch(struct generate_job *job, size_t first, size_t end,
                     struct progress *bar, bool *is_stopped)
{
    struct unstir_generation *all[MAX_BATCH];
    struct unstir_error err = {0};
    double start = cli_now_s();
    int rc = CLI_OK;
    *is_stopped = false;
    for (size_t i = first; i < end && rc == CLI_OK; i++) {
        if (!job->pictures[i].generation)
            rc = begin_picture(job, &job->pictures[i]);
        all[i - first] = job->pictures[i].generation;
    }
    if (rc == CLI_OK)
        rc = keep(job, first, end);
    while (rc == CLI_OK && !unstir_generation_is_done(all[0])) {
        uint32_t step = unstir_generation_progress(all[0]).step;
        *is_stopped = must_stop(job, step);
        if (*is_stopped)
            break;
        if (unstir_step_many(all, end - first, job->executor, &err) !=
            UNSTIR_OK)
            return cli_fail(&err);
        rc = keep(job, first, end);
        progress_show(bar, first * job->steps + (step + 1) * (end - first),
                      NULL, 0);
    }
    job->denoise_ms += 1e3 * (cli_now_s() - start);
    return rc;
}

static int run_all(struct generate_job *job, struct progress *bar)
{
    size_t batch = batch_size(job);
    for (size_t first = 0; first < job->n; first += batch) {
        size_t end = first + batch < job->n ? first + batch : job->n;
        bool is_stopped;
        int rc = run_batch(job, first, end, bar, &is_stopped);
        if (rc == CLI_OK && is_stopped) {
            progress_clear(bar);
            if (job->v->save_state)
                rc = save_state(job, &job->pictures[first]);
            if (rc == CLI_OK && cli_is_interrupted()) {
                rc = CLI_INTERRUPTED;
                cli_note("interrupted; %zu of %zu pictures are finished", first,
                         job->n);
            }
            return rc;
        }
        if (rc == CLI_OK)
            rc = finish_pictures(job, first, end, bar);
        if (rc != CLI_OK)
            return rc;
    }
    return CLI_OK;
}

static int prepare(struct generate_job *job)
{
    int rc = job->v->resume ? restore_picture(job, &job->pictures[0])
                            : begin_picture(job, &job->pictures[0]);
    if (rc == CLI_OK)
        rc = check_grid(job);
    if (rc == CLI_OK)
        rc = raw_init(job);
    if (rc == CLI_OK && (job->v->timeline || job->v->animate)) {
        job->frames = calloc(MAX_FRAMES + 2, sizeof(*job->frames));
        if (!job->frames) {
            cli_error("out of memory");
            rc = CLI_LIMIT;
        }
    }
    return rc;
}

/* Those that were drawn. */
static void note_seeds(const struct generate_job *job)
{
    const struct generate_values *v = job->v;
    if (v->common.is_quiet || v->resume)
        return;
    if (!opts_is_given(&command_generate, v, "seed"))
        cli_note("seed %llu", (unsigned long long)v->seed);
    if (v->variation_strength > 0 &&
        !opts_is_given(&command_generate, v, "variation-seed"))
        cli_note("variation seed %llu", (unsigned long long)v->variation_seed);
}

int generate_run(struct generate_job *job)
{
    struct progress bar;
    int rc = prepare(job);
    if (rc != CLI_OK)
        return rc;
    note_seeds(job);
    uint64_t done =
        unstir_generation_progress(job->pictures[0].generation).step;
    progress_begin(&bar, &job->v->common, &progress_steps, done,
                   (uint64_t)job->steps * job->n);
    rc = run_all(job, &bar);
    progress_clear(&bar);
    if ((rc == CLI_OK || rc == CLI_INTERRUPTED) && job->n_done > 0) {
        int more = write_sheets(job);
        if (more == CLI_OK && job->n_done == job->n)
            more = raw_write(job);
        rc = more != CLI_OK ? more : rc;
    }
    return rc;
}
