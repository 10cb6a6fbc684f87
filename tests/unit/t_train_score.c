/* t_train_score.c - training of scores: the gradient, the folder that it
 * leaves, its sheet, and going on after a stop.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "must.h"
#include "small_training.h"
#include "train/trainer.h"

static struct unstir_train_options small_score(char out[SCRATCH_PATH],
                                               const char *name)
{
    struct unstir_train_options o = small_training(out, name);
    o.objective = "score";
    o.accumulate = 1;
    return o;
}

/* The mean loss of the step that was just taken, with other weights. */
static double loss_along(struct unstir_trainer *t, const float *p,
                         const float *d, double by)
{
    struct learner_batch b = {t->sample, t->timestep, t->label,
                              t->target, t->weight,   t->loss};
    struct params *s = &t->learner.params;
    struct unstir_error err;
    double loss;
    for (size_t i = 0; i < s->n_trained; i++)
        s->p[i] = (float)((double)p[i] + by * (double)d[i]);
    memset(s->g, 0, s->n * sizeof *s->g);
    learner_repack(&t->learner);
    must(learner_gradients(&t->learner, &b, &loss, &err), &err);
    return loss;
}

/* Along the gradient the loss rises by its norm: through the division by
 * sigma, the Fourier embedding and everything between.  The step of 1e-2 of
 * the weights' norm over three digits of f32 in the loss leaves some 1e-2. */
static void test_score_gradient(void **state)
{
    char out[SCRATCH_PATH];
    struct unstir_train_options o = small_score(out, "a");
    struct unstir_error err;
    float *p, *d;
    double square = 0;
    (void)state;
    struct unstir_trainer *t = must_trainer(&o);
    must_step(t, 4);
    struct params *s = &t->learner.params;
    must(alloc_zero(&p, s->n, sizeof *p, &err), &err);
    must(alloc_zero(&d, s->n, sizeof *d, &err), &err);
    memcpy(p, s->p, s->n * sizeof *p);
    loss_along(t, p, d, 0);
    memcpy(d, s->g, s->n * sizeof *d);
    for (size_t i = 0; i < s->n_trained; i++)
        square += (double)d[i] * (double)d[i];
    double h = 0.01 / sqrt(square);
    double slope = (loss_along(t, p, d, h) - loss_along(t, p, d, -h)) / (2 * h);
    if (!(fabs(slope / square - 1) < 0.02))
        fail_msg("slope along the gradient: wanted %g, got %g", square, slope);
    alloc_free(p);
    alloc_free(d);
    unstir_trainer_free(t);
}

/* sigma_max is the largest distance of two pictures in 0..1: between bars that
 * lie apart, 16 pixels differ by 235 of 255. */
static void test_score_export(void **state)
{
    static const struct {
        const char *file, *says;
    } wanted[] = {
        {"model_index.json", "\"ScoreSdeVePipeline\""},
        {"scheduler/scheduler_config.json", "\"ScoreSdeVeScheduler\""},
        {"scheduler/scheduler_config.json", "\"sigma_max\": 3.686"},
        {"unet/config.json", "\"fourier\""},
        {"unstir.json", "\"score_ve\""},
    };
    char out[SCRATCH_PATH], path[SCRATCH_PATH];
    struct unstir_train_options o = small_score(out, "a");
    struct unstir_error err;
    (void)state;
    struct unstir_trainer *t = must_trainer(&o);
    must_step(t, 1);
    must(unstir_trainer_export(t, out, true, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        char *text;
        size_t n;
        scratch_path(path, out, wanted[i].file);
        must(mapfile_read(&text, &n, path, 1 << 20, &err), &err);
        if (!strstr(text, wanted[i].says))
            fail_msg("%s: wanted %s in %s", wanted[i].file, wanted[i].says,
                     text);
        alloc_free(text);
    }
    /* Half precision keeps the frequencies as they are. */
    const struct graph *g = t->learner.graph;
    for (param_id id = 0; id < graph_n_params(g); id++) {
        const struct graph_param *gp = graph_param_at(g, id);
        const float *x = t->learner.params.p + t->learner.params.offset[id];
        uint16_t narrow[64];
        float wide[64];
        if (gp->role != PARAM_FOURIER)
            continue;
        assert_in_range(gp->n, 1, 64);
        dtype_store(narrow, DTYPE_F16, x, gp->n);
        dtype_load(wide, narrow, DTYPE_F16, gp->n);
        assert_memory_equal(wide, x, gp->n * sizeof *x);
    }
    unstir_trainer_free(t);
}

/* The sheet is made by the sampler that the folder names. */
static void test_score_sheet(void **state)
{
    char out[SCRATCH_PATH], path[SCRATCH_PATH], *bytes;
    struct unstir_train_options o = small_score(out, "a");
    struct unstir_error err;
    size_t n;
    (void)state;
    o.n_timesteps = 5;
    struct unstir_trainer *t = must_trainer(&o);
    must_step(t, 2);
    must(unstir_trainer_report(t, true, &err), &err);
    scratch_path(path, out, "training/samples-00000002.png");
    must(mapfile_read(&bytes, &n, path, 1 << 20, &err), &err);
    assert_memory_equal(bytes, "\x89PNG", 4);
    alloc_free(bytes);
    unstir_trainer_free(t);
}

static void test_score_resumes(void **state)
{
    char out[SCRATCH_PATH], other[SCRATCH_PATH];
    struct unstir_train_options o = small_score(out, "a");
    struct unstir_error err;
    struct unstir_trainer *t, *whole;
    (void)state;
    t = must_trainer(&o);
    must_step(t, 3);
    must(unstir_trainer_save(t, &err), &err);
    unstir_trainer_free(t);
    must(unstir_trainer_resume(&t, out, 1, &err), &err);
    must_step(t, 3);
    o = small_score(other, "b");
    whole = must_trainer(&o);
    must_step(whole, 6);
    assert_memory_equal(t->learner.params.p, whole->learner.params.p,
                        t->learner.params.n * sizeof(float));
    unstir_trainer_free(t);
    unstir_trainer_free(whole);
}

static void test_no_bound_of_scores(void **state)
{
    char out[SCRATCH_PATH];
    struct unstir_train_options o = small_score(out, "a");
    struct unstir_train_bound b;
    struct unstir_error err;
    (void)state;
    struct unstir_trainer *t = must_trainer(&o);
    assert_int_equal(unstir_trainer_bound(t, &b, &err), UNSTIR_ERR_ARG);
    unstir_trainer_free(t);
}

#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, small_training_begin, small_training_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_score_gradient),     TEST(test_score_export),
        TEST(test_score_sheet),        TEST(test_score_resumes),
        TEST(test_no_bound_of_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
