/* report.c - what a person looks at while a network learns: the loss as table
 * and curve, and a sheet of pictures made by the running mean.
 *
 * The sheet comes from the model folder that is being made, opened and
 * sampled like any other: one row a class (at most ten), the same seeds every
 * time, so that sheets of one training can be compared.  Points and rows of
 * bits have a figure of their chain in its place (chain.c).
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "base/pool.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"

#define GRID_COLUMNS 8
#define GRID_ROWS    10
#define CSV_ROW      160

static enum unstir_status output_path(char path[PATH_BYTES],
                                      const struct unstir_trainer *t,
                                      const char *name,
                                      struct unstir_error *err)
{
    return path_join(path, t->options.output, name, err);
}

static enum unstir_status write_csv(const struct unstir_trainer *t,
                                    struct unstir_error *err)
{
    char path[PATH_BYTES], *csv;
    size_t n = 0, room = (t->history.n + 1) * CSV_ROW;
    TRY(output_path(path, t, "training/log.csv", err));
    TRY(alloc_zero(&csv, room, 1, err));
    n += (size_t)snprintf(csv, room,
                          "step,pictures,loss,lr,grad_norm,elapsed_s\n");
    for (size_t i = 0; i < t->history.n; i++) {
        const struct history_row *r = &t->history.rows[i];
        n += (size_t)snprintf(csv + n, room - n,
                              "%.0f,%.0f,%.6g,%.6g,%.5g,%.1f\n", r->step,
                              r->step * t->options.batch, r->loss, r->lr,
                              r->grad_norm, r->elapsed_s);
    }
    enum unstir_status status = mapfile_write(path, csv, n, err);
    alloc_free(csv);
    return status;
}

static enum unstir_status write_png(const struct unstir_trainer *t,
                                    const char *name,
                                    const struct unstir_image *image,
                                    struct unstir_error *err)
{
    char path[PATH_BYTES];
    unsigned char *bytes;
    size_t n;
    TRY(output_path(path, t, name, err));
    TRY(unstir_png_encode(image, 9, NULL, 0, &bytes, &n, err));
    enum unstir_status status = mapfile_write(path, bytes, n, err);
    alloc_free(bytes);
    return status;
}

static enum unstir_status write_plot(const struct unstir_trainer *t,
                                     struct unstir_error *err)
{
    struct unstir_image image;
    TRY(plot_history(&image, &t->history, err));
    enum unstir_status status = write_png(t, "training/loss.png", &image, err);
    unstir_image_fini(&image);
    return status;
}

/* -- the sheet ------------------------------------------------------------- */

static enum unstir_status run_row(struct unstir_generation **gens,
                                  struct unstir_executor *exec,
                                  struct unstir_image *images,
                                  struct unstir_error *err)
{
    while (!generation_is_done(gens[0]))
        TRY(generation_step(gens, GRID_COLUMNS, exec, err));
    for (size_t i = 0; i < GRID_COLUMNS; i++)
        TRY(generation_result(gens[i], &images[i], err));
    return UNSTIR_OK;
}

static enum unstir_status make_row(const struct unstir_model *model,
                                   struct unstir_executor *exec,
                                   const struct unstir_request *request,
                                   struct unstir_image *images,
                                   struct unstir_error *err)
{
    struct unstir_generation *gens[GRID_COLUMNS] = {NULL};
    enum unstir_status status = UNSTIR_OK;
    for (size_t i = 0; status == UNSTIR_OK && i < GRID_COLUMNS; i++) {
        struct unstir_request r = *request;
        r.seed += i;
        status = generation_begin(&gens[i], model, NULL, &r, NULL, err);
    }
    if (status == UNSTIR_OK)
        status = run_row(gens, exec, images, err);
    for (size_t i = 0; i < GRID_COLUMNS; i++)
        generation_free(gens[i]);
    return status;
}

static enum unstir_status make_rows(const struct unstir_trainer *t,
                                    const struct unstir_model *model,
                                    struct unstir_executor *exec,
                                    struct unstir_image *images, uint32_t rows,
                                    struct unstir_error *err)
{
    for (uint32_t r = 0; r < rows; r++) {
        struct unstir_request request = UNSTIR_REQUEST_INIT;
        if (t->data.n_classes)
            request.class_id = r;
        request.steps = trainer_default_steps(t);
        TRY(make_row(model, exec, &request, images + r * GRID_COLUMNS, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status make_sheet(const struct unstir_trainer *t,
                                     const struct unstir_model *model,
                                     struct unstir_executor *exec,
                                     struct unstir_image *sheet,
                                     struct unstir_error *err)
{
    struct unstir_image images[GRID_ROWS * GRID_COLUMNS];
    uint32_t rows =
        t->data.n_classes < GRID_ROWS ? t->data.n_classes : GRID_ROWS;
    rows = rows ? rows : 2;
    memset(images, 0, sizeof images);
    enum unstir_status status = make_rows(t, model, exec, images, rows, err);
    if (status == UNSTIR_OK)
        status = unstir_image_sheet(images, rows * GRID_COLUMNS, GRID_COLUMNS,
                                    2, 2, sheet, err);
    for (size_t i = 0; i < ARRAY_LEN(images); i++)
        unstir_image_fini(&images[i]);
    return status;
}

static enum unstir_status write_grid(struct unstir_trainer *t,
                                     const struct unstir_model *model,
                                     struct unstir_executor *exec,
                                     struct unstir_error *err)
{
    struct unstir_image sheet = {0};
    char name[64];
    enum unstir_status status =
        trainer_has_chain(t) ? trainer_plot_chain(t, model, exec, &sheet, err)
                             : make_sheet(t, model, exec, &sheet, err);
    snprintf(name, sizeof name, "training/samples-%08llu.png",
             (unsigned long long)t->step);
    if (status == UNSTIR_OK)
        status = write_png(t, name, &sheet, err);
    unstir_image_fini(&sheet);
    return status;
}

static enum unstir_status make_grid(struct unstir_trainer *t,
                                    struct unstir_error *err)
{
    struct unstir_model_options mo = {.isa = t->options.isa,
                                      .precision = UNSTIR_PRECISION_F32};
    struct unstir_executor_options eo = {
        .n_threads = pool_threads(t->learner.pool), .nice = t->options.nice};
    struct unstir_model *model;
    struct unstir_executor *exec;
    TRY(unstir_trainer_export(t, t->options.output, t->options.half, err));
    TRY(checkpoint_open(&model, t->options.output, &mo, err));
    enum unstir_status status = generation_executor_new(&exec, &eo, err);
    if (status == UNSTIR_OK)
        status = write_grid(t, model, exec, err);
    generation_executor_free(exec);
    checkpoint_free(model);
    return status;
}

enum unstir_status unstir_trainer_report(struct unstir_trainer *t,
                                         bool with_grid,
                                         struct unstir_error *err)
{
    TRY(trainer_make_folder(t->options.output, "training", err));
    TRY(write_csv(t, err));
    TRY(write_plot(t, err));
    return with_grid ? make_grid(t, err) : UNSTIR_OK;
}
