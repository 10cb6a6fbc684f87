/* generation_step.c - all generations of a batch go on by one step, or none.
 *
 *   once     pictures and texts are encoded
 *   rounds   each generation's first evaluation, then the second of those whose
 *            sampler has one, and so on
 *   last     a latent model's last step decodes its sample, or hands it over to
 *            the refiner
 *   commit   every `next` becomes `now`
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation_inside.h"
#include "pipeline/latent.h"
#include "pipeline/relay.h"

static void state_copy(struct sampler_state *dst,
                       const struct sampler_state *src, size_t n,
                       size_t n_history)
{
    memcpy(dst->sample, src->sample, n * sizeof(float));
    memcpy(dst->estimate, src->estimate, n * sizeof(float));
    memcpy(dst->history, src->history, n_history * n * sizeof(float));
    dst->n_held = src->n_held;
    dst->rng = src->rng;
}

static void prepare(struct unstir_generation *const *gens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct unstir_generation *g = gens[i];
        state_copy(&g->next, &g->now, g->run.n, g->run.sampler->n_history);
        deep_begin(&g->deep);
        g->cancel.next = i + 1 < n ? &gens[i + 1]->cancel : NULL;
    }
}

static void commit(struct unstir_generation *g)
{
    struct sampler_state done = g->next;

    g->next = g->now;
    g->now = done;
    deep_commit(&g->deep);
    g->step++;
    if (g->relay.ready)
        relay_pass(g);
}

static enum unstir_status check_members(struct unstir_generation *const *gens,
                                        size_t n, struct unstir_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (generation_is_done(gens[i]))
            return error_set(err, UNSTIR_ERR_ARG,
                             "the picture is finished after %u steps",
                             gens[i]->step - gens[i]->start.first);
        for (size_t k = 0; k < i; k++)
            if (gens[k] == gens[i])
                return error_set(err, UNSTIR_ERR_ARG,
                                 "a generation stands twice in a batch");
    }
    return UNSTIR_OK;
}

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

/* The pages of the model's files that one part has read need not stay beside
 * those of the next, if memory is to be low or the network, which is evaluated
 * again and again, reads none: the system has them, if it has room. */
static void turn_page(const struct unstir_model *m)
{
    if (m->is_frugal || !network_info(m->net)->is_in_place)
        checkpoint_source_forget(&m->source);
}

/* The picture of what the last step made; it is a part of that step. */
static enum unstir_status decode_last(struct unstir_generation *g,
                                      struct unstir_executor *x,
                                      const struct cancel *cancel,
                                      struct unstir_error *err)
{
    uint32_t width = g->request.width, height = g->request.height;

    if (!g->model->decoder || g->is_left_latent)
        return UNSTIR_OK;
    if (!g->decoded) {
        TRY(alloc_aligned(&g->decoded,
                          latent_picture_floats(g->model, width, height),
                          sizeof(float), err));
    }
    double start = now_ms();
    turn_page(g->model);
    TRY(latent_decode(g->model, x->inner, generation_state_result(g, &g->next),
                      width, height, g->decoded, cancel, err));
    g->times.decode_ms += now_ms() - start;
    return UNSTIR_OK;
}

/* What the last step of a run made is decoded, or where a refiner begins. */
static enum unstir_status end_run(struct unstir_generation *g,
                                  struct unstir_executor *x,
                                  const struct cancel *cancel,
                                  struct unstir_error *err)
{
    if (!relay_is_ahead(g))
        return decode_last(g, x, cancel, err);
    turn_page(g->model);
    return relay_prepare(g, generation_state_result(g, &g->next), err);
}

static enum unstir_status encode_texts(struct unstir_generation *const *gens,
                                       size_t n, struct unstir_executor *x,
                                       struct unstir_error *err)
{
    struct pool *pool = executor_pool(x->inner);

    for (size_t i = 0; i < n; i++) {
        bool is_first = !gens[i]->text.memory;
        double start = now_ms();

        TRY(conditioning_encode(&gens[i]->text, pool, &gens[0]->cancel, err));
        if (is_first && gens[i]->text.memory)
            turn_page(gens[i]->model);
        gens[i]->times.text_ms += now_ms() - start;
    }
    return UNSTIR_OK;
}

/* Before the states are copied: what comes of it stays, whatever comes of the
 * step. */
static enum unstir_status encode_pictures(struct unstir_generation *const *gens,
                                          size_t n, struct unstir_executor *x,
                                          struct unstir_error *err)
{
    for (size_t i = 0; i < n; i++)
        TRY(start_encode(&gens[i]->start, gens[i]->model, &gens[i]->request,
                         &gens[i]->run, &gens[i]->now, x->inner,
                         &gens[0]->cancel, err));
    return UNSTIR_OK;
}

enum unstir_status generation_step(struct unstir_generation *const *gens,
                                   size_t n, struct unstir_executor *x,
                                   struct unstir_error *err)
{
    enum unstir_status st;
    bool is_any = true;

    TRY(check_members(gens, n, err));
    if (n == 0)
        return UNSTIR_OK;
    TRY(encode_pictures(gens, n, x, err));
    prepare(gens, n);
    st = encode_texts(gens, n, x, err);
    for (uint32_t eval = 0; is_any && !st; eval++) {
        if (cancel_is_raised(&gens[0]->cancel))
            st = error_set(err, UNSTIR_ERR_CANCELLED, "cancelled");
        else
            st = generation_round(gens, n, eval, x, &is_any, err);
    }
    for (size_t i = 0; i < n && !st; i++)
        if (gens[i]->step + 1 == gens[i]->start.end)
            st = end_run(gens[i], x, &gens[0]->cancel, err);
    for (size_t i = 0; i < n; i++) {
        gens[i]->cancel.next = NULL;
        if (st)
            relay_drop(gens[i]);
        else
            commit(gens[i]);
    }
    return st;
}
