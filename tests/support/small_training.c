/* small_training.c - trainings of a moment.
 *
 * SPDX-License-Identifier: MIT
 */
#include "small_training.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "must.h"

#define N_A_CLASS 6
#define EDGE      SMALL_TRAINING_EDGE

static char base[SCRATCH_PATH], data[SCRATCH_PATH];

/* Two classes of bars: upright and lying, at several places. */
static void write_bar(int is_upright, int i)
{
    struct unstir_error err;
    uint8_t pixels[EDGE * EDGE];
    unsigned char *bytes;
    size_t n;
    char name[64];
    for (int p = 0; p < EDGE * EDGE; p++)
        pixels[p] = (is_upright ? p % EDGE : p / EDGE) == i + 1 ? 255 : 20;
    struct unstir_image im = {EDGE, EDGE, 1, pixels};
    assert_int_equal(unstir_png_encode(&im, -1, NULL, 0, &bytes, &n, &err),
                     UNSTIR_OK);
    snprintf(name, sizeof name, "data/%s/%d.png",
             is_upright ? "upright" : "lying", i);
    scratch_write(base, name, bytes, n);
    unstir_free(bytes);
}

int small_training_begin(void **state)
{
    (void)state;
    scratch_make(base);
    scratch_path(data, base, "data");
    scratch_mkdir(base, "data");
    scratch_mkdir(base, "data/upright");
    scratch_mkdir(base, "data/lying");
    for (int i = 0; i < N_A_CLASS; i++) {
        write_bar(0, i);
        write_bar(1, i);
    }
    return 0;
}

int small_training_end(void **state)
{
    (void)state;
    scratch_remove(base);
    return 0;
}

void small_training_add(void)
{
    write_bar(1, N_A_CLASS);
}

void small_training_path(char out[SCRATCH_PATH], const char *name)
{
    scratch_path(out, base, name);
}

struct unstir_train_options small_training(char out[SCRATCH_PATH],
                                           const char *name)
{
    struct unstir_train_options o;
    unstir_train_defaults(&o);
    scratch_path(out, base, name);
    o.data = data;
    o.output = out;
    o.n_levels = 2;
    o.channels[0] = 16;
    o.channels[1] = 16;
    o.attention_mask = 2;
    o.attention_head_dim = 8;
    o.norm_groups = 4;
    o.batch = 8; /* 12 pictures: batches straddle epochs */
    o.accumulate = 2;
    o.warmup = 2;
    o.steps = 9;
    o.n_threads = 2;
    o.seed = 5;
    return o;
}

struct unstir_trainer *must_trainer(const struct unstir_train_options *o)
{
    struct unstir_error err;
    struct unstir_trainer *t;
    if (unstir_trainer_new(&t, o, &err) != UNSTIR_OK)
        fail_msg("%s", err.detail);
    return t;
}

struct unstir_train_progress must_step(struct unstir_trainer *t, int n)
{
    struct unstir_error err;
    struct unstir_train_progress p = {0};
    while (n-- > 0)
        if (unstir_trainer_step(t, &p, &err) != UNSTIR_OK)
            fail_msg("%s", err.detail);
    return p;
}
