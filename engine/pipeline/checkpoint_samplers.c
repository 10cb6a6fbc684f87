/* checkpoint_samplers.c - which samplers suit a model.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "base/compiler.h"
#include "format/json.h"
#include "pipeline/checkpoint_inside.h"

/* -- samplers -------------------------------------------------------------- */

static void refuse(struct checkpoint_sampler *s, const char *why)
{
    s->is_usable = false;
    (void)snprintf(s->reason, sizeof s->reason, "%.150s",
                   why); /* cut is fine */
}

/* The folder's own sampler cannot run.  Another may, if a request names it. */
static enum unstir_status lose_default(struct unstir_model *m, const char *why,
                                       struct unstir_error *err)
{
    size_t i = SAMPLER_DDIM;

    if (m->no_default[0] == '\0')
        (void)snprintf(m->no_default, sizeof m->no_default, "%.150s",
                       why); /* cut is fine */
    while (i < SAMPLER_COUNT && !m->samplers[i].is_usable)
        i++;
    if (i == SAMPLER_COUNT)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED, "%s", m->no_default);
    m->default_sampler = i;
    return UNSTIR_OK;
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
        if (st == UNSTIR_ERR_NOMEM)
            return error_set(err, st, "%s", why.detail);
        if (st)
            refuse(s, why.detail);
    }
    return UNSTIR_OK;
}

/* What a class that is not here drives, told by what its file says. */
static bool guess_kin(const struct json *config, enum schedule_kin *kin)
{
    static const char *const keys[] = {"beta_schedule", "beta_start",
                                       "trained_betas"};

    *kin = KIN_BETAS;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (json_get(config, keys[i]))
            return true;
    return false;
}

/* A sampler that this configuration does not suit is merely not offered. */
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
    char missing[128];
    (void)snprintf(missing, sizeof missing,
                   "class \"%.60s\" is not something this version can run",
                   class_name);
    if (!own && !guess_kin(config, &kin))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED, "%s", missing);
    if (own)
        kin = schedule_kin_of(own->method);
    TRY(samplers_fill(m, config, kin, err));
    if (!own)
        return lose_default(m, missing, err);
    m->default_sampler = sampler_index(own);
    struct checkpoint_sampler *s = &m->samplers[m->default_sampler];
    return s->is_usable ? UNSTIR_OK : lose_default(m, s->reason, err);
}

/* Whether a run of so many steps can begin: at its start, or late, as from a
 * picture; where no signal is left at the first timestep, a run from there on
 * may still have some. */
static enum unstir_status try_steps(const struct unstir_model *m,
                                    size_t sampler, uint32_t n_steps,
                                    struct unstir_error *err)
{
    const struct schedule *schedule = &m->samplers[sampler].schedule;
    const struct sampler *s = samplers[sampler];
    struct sampler_run_options o = {
        .n = 1,
        .n_steps = n_steps,
        .has_learned_variance = m->has_learned_variance,
    };
    struct sampler_run run;
    enum unstir_status st = sampler_run_init(&run, s, schedule, &o, err);

    sampler_run_fini(&run);
    if (st != UNSTIR_ERR_ARG && st != UNSTIR_ERR_UNSUPPORTED)
        return st;
    o.first =
        s->is_inverse ? 0 : sampler_count_steps(s, schedule, NULL, n_steps) - 1;
    st = sampler_run_init(&run, s, schedule, &o, err);
    sampler_run_fini(&run);
    return st;
}

/* Some methods need four steps to begin with.  Of a short table four leading
 * steps with an offset can pass the end where more of them, closer together, do
 * not: the most always fit. */
static enum unstir_status try_sampler(const struct unstir_model *m,
                                      size_t sampler, struct unstir_error *err)
{
    uint32_t most =
        sampler_max_steps(samplers[sampler], &m->samplers[sampler].schedule);
    enum unstir_status st = try_steps(m, sampler, most < 4 ? most : 4, err);

    if (st == UNSTIR_ERR_ARG && most > 4)
        st = try_steps(m, sampler, most, err);
    return st;
}

/* A sampler that wants output channels that the network lacks is no use. */
enum unstir_status checkpoint_samplers_check(struct unstir_model *m,
                                             struct unstir_error *err)
{
    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        struct checkpoint_sampler *s = &m->samplers[i];
        struct unstir_error why = {0};
        enum unstir_status st;

        if (!s->is_usable)
            continue;
        st = try_sampler(m, i, &why);
        if (st == UNSTIR_ERR_NOMEM)
            return error_set(err, st, "%s", why.detail);
        if (st)
            refuse(s, why.detail);
    }
    struct checkpoint_sampler *own = &m->samplers[m->default_sampler];
    if (!own->is_usable)
        TRY(lose_default(m, own->reason, err));
    return m->no_default[0] ? notes_add(&m->notes, err,
                                        "its own sampler cannot run "
                                        "(%s); requests name another",
                                        m->no_default)
                            : UNSTIR_OK;
}
