/* trainer.h - inside of a trainer, for the files that share it: trainer.c,
 * train_state.c, train_options.c, export.c, report.c, chain.c, plot.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sample/schedule.h"
#include "train/dataset.h"
#include "train/learner.h"
#include "train/objective.h"
#include "unstir_train.h"

struct json;

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

struct unstir_trainer {
    struct unstir_train_options options; /* strings are ours                 */
    enum objective objective;
    struct dataset data;
    char data_digest[65];
    char *config_text; /* unet/config.json                              */
    struct json *config;
    struct learner learner;
    struct schedule schedule;
    float *sample, *target; /* [batch][h][w][c]                              */
    float *noise;           /* [threads][h][w][c]                            */
    float *timestep, *label, *loss; /* [batch]                               */
    float *weight;   /* [batch] or, of bits, [batch][BIT_WEIGHTS]            */
    uint32_t *picks; /* [batch] pictures of this step                 */
    uint32_t *order; /* [data.n] permutation of `order_epoch`         */
    uint64_t order_epoch;
    uint64_t step, total_steps; /* total 0: by time                          */
    double lr, norm; /* of the last step                                   */
    double elapsed_s, loss_smooth, loss_last, images_per_s;
    struct history history;
};

/* Seed number i of a stream: 1 order, 2 pictures, 3 first weights, 5 bound,
 * 6 the chain that is plotted. */
uint64_t trainer_seed(const struct unstir_trainer *t, uint64_t stream,
                      uint64_t i);

void history_add(struct history *h, const struct history_row *row);

/* Everything but first weights: data, network, plans, memory.  options are
 * copied. */
enum unstir_status trainer_build(struct unstir_trainer **out,
                                 const struct unstir_train_options *options,
                                 struct unstir_error *err);

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

/* Ranges, names, divisibility. */
enum unstir_status train_options_check(struct unstir_train_options *o,
                                       struct unstir_error *err);
/* What follows from the data: channels, levels, attention, micro-batches. */
void train_options_fit(struct unstir_train_options *o, const struct dataset *d);

/* Steps of a picture where nobody says how many. export.c */
uint32_t trainer_default_steps(const struct unstir_trainer *t);

/* A picture of the loss curve. plot.c */
enum unstir_status plot_history(struct unstir_image *out,
                                const struct history *h,
                                struct unstir_error *err);
/* A chain there and back at PLOT_PANELS times, from the picture to noise: n
 * pictures of m numbers about -1..1, of two (points) or more (rows of bits). */
#define PLOT_PANELS   5
#define PLOT_MAX_BITS 94u /* two dots each fill a panel                      */
struct plot_chain {
    uint32_t n, m;
    float *forward[PLOT_PANELS], *back[PLOT_PANELS]; /* [n][m]               */
    uint32_t forward_step[PLOT_PANELS], back_step[PLOT_PANELS];
};
enum unstir_status plot_chain(struct unstir_image *out,
                              const struct plot_chain *chain,
                              struct unstir_error *err); /* plot.c */

/* Points and rows have such a figure instead of a sheet. chain.c */
bool trainer_has_chain(const struct unstir_trainer *t);
enum unstir_status trainer_plot_chain(struct unstir_trainer *t,
                                      const struct unstir_model *model,
                                      struct unstir_executor *exec,
                                      struct unstir_image *out,
                                      struct unstir_error *err);

#endif
