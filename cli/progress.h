/* progress.h - how far a long command is, on stderr.
 *
 * A bar with what is done, time spent, time left and rate when stderr is a terminal;
 * JSON lines on request; nothing otherwise.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdint.h>

#include "opts.h"

/* What is counted: one that has `name`, shown in units of `shown` of `size`. */
struct progress_unit {
    const char *name;
    const char *shown;
    uint64_t size;
};
extern const struct progress_unit progress_steps, progress_megabytes;

/* A figure beside the bar: "loss 0.0312". */
struct progress_value {
    const char *name;
    double value;
};

struct progress {
    enum opts_progress mode; /* NONE, BAR or JSON                            */
    const struct progress_unit *unit;
    uint64_t first, total;
    double start_s, drawn_s;
    int n_drawn; /* letters on the line                                      */
};

/* `first` steps were done before (a resumed run): they count, but not for the
 * rate. */
void progress_begin(struct progress *p, const struct opts_common *common,
                    const struct progress_unit *unit, uint64_t first,
                    uint64_t total);

/* `done` of total; drawn at most ten times a second, the last one always. */
void progress_show(struct progress *p, uint64_t done,
                   const struct progress_value *values, size_t n_values);

/* Wipe the bar, so that other text can be printed. Draws again at the next
 * progress_show(). */
void progress_clear(struct progress *p);

#endif
