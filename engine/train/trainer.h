/* trainer.h - inside of a trainer, for the files that share it: trainer.c,
 * train_state.c, train_options.c, export.c, report.c, plot.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "sample/schedule.h"
#include "train/dataset.h"
#include "train/objective.h"
#include "train/params.h"
#include "unstir_train.h"

struct graph;
struct json;
struct plan;
struct pool;

/* Rows of the loss history.  When it is full, neighbours are joined and each
 * row stands for twice as many steps. */
#define HISTORY_ROWS 4096

struct history_row {
    double step; /* last step of the row                                */
    double loss; /* mean over the row                                   */
    double lr, grad_norm, elapsed_s;
};

struct history {
    struct history_row *rows; /* [HISTORY_ROWS] */
    size_t n;
    uint64_t stride;  /* steps a row                                         */
    double open_loss; /* sum over the row being filled                       */
    uint64_t open_n;
};

/* A batch is computed in micro-batches; lane i takes numbers i, i + n_lanes
 * and so on, each by one thread from end to end, and has a gradient of its
 * own.  Lanes depend on options only and are summed in order, so that results
 * do not depend on the number of threads; and threads meet once a step, which
 * costs little even when other programs hold a core. */
#define MAX_LANES 8

struct lane {
    struct params params; /* the trainer's, but for g                        */
    struct plan *plan;    /* one micro-batch                                 */
    float *g;             /* owned; NULL in lane 0: the trainer's            */
    double loss;          /* sum over the lane's pictures                    */
    enum unstir_status status;
    struct unstir_error err;
};

/* Moving values of one optimiser step, read by the update plan. */
struct update_values {
    double sum_squares; /* of the gradient                                   */
    double norm;        /* of the mean gradient                              */
    float lr, c1, c2, ema_decay;
    bool is_sound; /* norm is finite: otherwise weights are left alone  */
};

struct unstir_trainer {
    struct unstir_train_options options; /* strings are ours                 */
    enum objective objective;
    struct dataset data;
    char data_digest[65];
    char *config_text; /* unet/config.json                              */
    struct json *config;
    struct graph *graph; /* for one micro-batch                           */
    struct kernel_table table;
    struct pool *pool;
    struct params params;
    struct train_packs packs;
    struct lane lanes[MAX_LANES];
    uint32_t n_lanes;
    struct plan *update; /* sum, clip, AdamW, mean, repack                */
    struct update_values values;
    struct schedule schedule;
    unsigned char *arenas; /* of each thread                                */
    size_t arena_bytes;
    uint32_t micro;         /* pictures a micro-batch                        */
    float *sample, *target; /* [batch][h][w][c]                              */
    float *noise;           /* [threads][h][w][c]                            */
    float *timestep, *label, *weight, *loss; /* [batch]                      */
    uint32_t *picks; /* [batch] pictures of this step                 */
    uint32_t *order; /* [data.n] permutation of `order_epoch`         */
    uint64_t order_epoch;
    uint64_t step, total_steps; /* total 0: by time                          */
    double elapsed_s, loss_smooth, loss_last, images_per_s;
    struct history history;
};

void history_add(struct history *h, const struct history_row *row);

/* Everything but first weights: data, network, plans, memory.  options are
 * copied. */
enum unstir_status trainer_build(struct unstir_trainer **out,
                                 const struct unstir_train_options *options,
                                 struct unstir_error *err);

/* Pack the weights as they are now (an optimiser step does it by plan). */
void trainer_repack(struct unstir_trainer *t);

/* unet/config.json for options and data; alloc_free(). */
enum unstir_status trainer_network_config(char **text,
                                          const struct unstir_train_options *o,
                                          const struct dataset *d,
                                          struct unstir_error *err);

/* "folder/name" in at most 4096 bytes. */
enum unstir_status trainer_path(char out[4096], const char *folder,
                                const char *name, struct unstir_error *err);

/* mkdir -p of folder and then of folder/sub (sub may be NULL). */
enum unstir_status trainer_make_folder(const char *folder, const char *sub,
                                       struct unstir_error *err);

/* Options as JSON and back: what a state carries. train_options.c */
enum unstir_status train_options_write(char **text,
                                       const struct unstir_train_options *o,
                                       struct unstir_error *err);
enum unstir_status train_options_read(struct unstir_train_options *o,
                                      const char *text,
                                      struct unstir_error *err);
/* Own copies of all strings / their end. */
enum unstir_status train_options_copy(struct unstir_train_options *to,
                                      const struct unstir_train_options *from,
                                      struct unstir_error *err);
void train_options_fini(struct unstir_train_options *o);

/* Ranges, names, divisibility; the batch rule (accumulate 0) is applied. */
enum unstir_status train_options_check(struct unstir_train_options *o,
                                       struct unstir_error *err);
/* What follows from the data: channels, levels, attention. */
void train_options_fit(struct unstir_train_options *o, const struct dataset *d);

/* A picture of the loss curve. plot.c */
enum unstir_status plot_history(struct unstir_image *out,
                                const struct history *h,
                                struct unstir_error *err);

#endif
