/* checkpoint_samplers.c - which samplers suit a model.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "format/json.h"
#include "pipeline/checkpoint_inside.h"

/* -- samplers --------------------------------------------------------------- */

static void refuse(struct checkpoint_sampler *s, const char *why)
{
    s->is_usable = false;
    (void)snprintf(s->reason, sizeof s->reason, "%.150s",
                   why); /* cut is fine */
}

static enum unstir_status samplers_fill(struct unstir_model *m,
                                        const struct json *config,
                                        enum schedule_kin kin,
                                        struct unstir_error *err)
{
    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        enum schedule_kin other = schedule_kin_of(samplers[i]->method);
        struct checkpoint_sampler *s = &m->samplers[i];
        struct unstir_error why = {0};
        if (other != kin) {
            (void)snprintf(why.detail, sizeof why.detail, "it drives %s",
                           schedule_kin_text(other));
            refuse(s, why.detail);
            continue;
        }
        s->is_usable = true;
        enum unstir_status st =
            sampler_schedule_init(samplers[i], &s->schedule, config, &why);
        if (st && (i == m->default_sampler || st == UNSTIR_ERR_NOMEM))
            return error_set(err, st, "%s", why.detail);
        if (st)
            refuse(s, why.detail);
    }
    return UNSTIR_OK;
}

/* The folder's own sampler must work; another one that this configuration
 * does not suit is merely not offered. */
enum unstir_status checkpoint_samplers_load(struct unstir_model *m,
                                            const struct json *config,
                                            struct unstir_error *err)
{
    const char *class_name = "DDPMScheduler";
    enum schedule_kin kin;

    if (config)
        TRY(json_get_string(config, "_class_name", class_name, &class_name,
                            err));
    const struct sampler *own = config && json_get(config, "_class_name")
                                    ? sampler_of_config(config)
                                    : sampler_of_class(class_name);
    if (!schedule_kin_of_class(class_name, &kin) || (!own && kin != KIN_BETAS))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "class \"%.60s\" is not "
                         "something this version can run",
                         class_name);
    if (!own)
        TRY(checkpoint_note(m, err,
                            "its own sampler %.60s is not here; ddim takes its "
                            "place",
                            class_name));
    m->default_sampler = own ? sampler_index(own) : SAMPLER_DDIM;
    return samplers_fill(m, config, kin, err);
}

/* Some methods need a few steps to begin with; what a run of them refuses, it
 * refuses for every number. */
static uint32_t few_steps(const struct sampler *s, const struct schedule *c)
{
    uint32_t most = sampler_max_steps(s, c);

    return most < 4 ? most : 4;
}

/* A sampler that wants output channels that the network lacks is no use; the
 * folder's own one must be. */
enum unstir_status checkpoint_samplers_check(struct unstir_model *m,
                                             struct unstir_error *err)
{
    struct sampler_run_options o = {
        .n = 1, .has_learned_variance = m->has_learned_variance};

    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        struct checkpoint_sampler *s = &m->samplers[i];
        struct unstir_error why = {0};
        struct sampler_run run;
        if (!s->is_usable)
            continue;
        o.n_steps = few_steps(samplers[i], &s->schedule);
        enum unstir_status st =
            sampler_run_init(&run, samplers[i], &s->schedule, &o, &why);
        sampler_run_fini(&run);
        if (st && (i == m->default_sampler || st == UNSTIR_ERR_NOMEM))
            return error_set(err, st, "%s", why.detail);
        if (st)
            refuse(s, why.detail);
    }
    return UNSTIR_OK;
}
