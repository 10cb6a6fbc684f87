/* request_way.c - how the way is gone: sampler, schedule, steps.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/request_inside.h"

#include <math.h>
#include <stdio.h>

#include "base/nearest.h"
#include "pipeline/checkpoint.h"
#include "pipeline/request.h"
#include "pipeline/start.h"

/* "ddim, pndm, ..." */
static void list_samplers(const struct unstir_model *m, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < SAMPLER_COUNT && n < size; i++)
        if (m->samplers[i].is_usable)
            n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "",
                                  samplers[i]->info->name); /* cut is fine */
}

const struct sampler *check_sampler(struct check *c)
{
    const char *name = c->request->sampler;
    const struct unstir_model *m = c->model;
    const struct sampler *s = samplers[m->default_sampler];
    char text[64], others[256];

    if (name && *name) {
        s = sampler_find_scheduled(name, &c->schedule);
    } else if (m->no_default[0]) {
        list_samplers(m, others, sizeof others);
        check_violate(
            c, "sampler", check_quote(text, sizeof text, s->info->name),
            "the model's own sampler cannot run: %s; name another: %s",
            m->no_default, others);
        return NULL;
    }
    if (!s) {
        const struct sampler *near = sampler_nearest(name);
        check_violate(c, "sampler",
                      near ? check_quote(text, sizeof text, near->info->name)
                           : NULL,
                      "sampler \"%.40s\" is not known%s%s%s", name,
                      near ? "; did you mean \"" : "",
                      near ? near->info->name : "", near ? "\"?" : "");
        return NULL;
    }
    c->out->sampler = s->info->name;
    if (!m->samplers[sampler_index(s)].is_usable) {
        check_violate(c, "sampler",
                      check_quote(text, sizeof text, m->info.default_sampler),
                      "sampler \"%s\" does not suit this model: %s",
                      s->info->name, m->samplers[sampler_index(s)].reason);
        return NULL;
    }
    return s;
}

/* The field, else what stands behind the sampler's name, else the default of
 * the model's default sampler. */
void check_schedule(struct check *c, const struct sampler *s)
{
    const struct unstir_model *m = c->model;
    const char *name = c->request->schedule;
    const char *names[SAMPLER_N_SCHEDULES + 1];
    char text[64];

    bool is_said = name && *name;
    bool is_default = is_said && sampler_schedule_is_default(name);
    if (is_said && !is_default)
        c->schedule = sampler_schedule_find(name);
    else if (is_default)
        c->schedule = NULL;
    else if (!c->schedule && s == samplers[m->default_sampler])
        c->schedule = m->default_schedule;
    c->out->schedule = c->schedule ? c->schedule->info->name
                       : is_default && m->default_schedule ? "default"
                                                           : NULL;
    if (!is_said || is_default || c->schedule)
        return;
    for (size_t i = 0; i < SAMPLER_N_SCHEDULES; i++)
        names[i] = sampler_schedule_infos[i].name;
    names[SAMPLER_N_SCHEDULES] = "default";
    int near = nearest_word(name, names, ARRAY_LEN(names));
    check_violate(c, "schedule",
                  near < 0 ? NULL : check_quote(text, sizeof text, names[near]),
                  "schedule \"%.40s\" is not known%s%s%s", name,
                  near < 0 ? "" : "; did you mean \"",
                  near < 0 ? "" : names[near], near < 0 ? "" : "\"?");
}

/* False without memory. */
static bool plan_run(struct check *c, const struct unstir_request *r,
                     const struct sampler *s, struct start *plan)
{
    struct unstir_error err;

    if (start_plan(plan, c->model, r, s, &err) == UNSTIR_OK)
        return true;
    check_note_memory(c, &err);
    return false;
}

/* Refusals that only the sampler knows. */
static void check_run(struct check *c, const struct sampler *s)
{
    struct sampler_run run;
    struct unstir_error err;
    struct start plan;
    if (!plan_run(c, c->out, s, &plan) || plan.first >= plan.end)
        return; /* told by check_strength() */
    struct sampler_run_options o = {
        .n_steps = c->out->steps,
        .first = start_run_first(&plan),
        .share = plan.share,
        .n = 1,
        .schedule = c->schedule,
        .has_learned_variance = c->model->has_learned_variance,
    };

    enum unstir_status st = sampler_run_init(
        &run, s, &c->model->samplers[sampler_index(s)].schedule, &o, &err);
    if (st == UNSTIR_ERR_NOMEM) {
        check_note_memory(c, &err);
    } else if (st) {
        check_violate(c, err.field[0] ? err.field : "sampler", NULL, "%s",
                      err.detail);
    }
    sampler_run_fini(&run);
}

/* Steps are known: is one of them left to run? */
static void check_strength(struct check *c, const struct sampler *s)
{
    double strength = c->out->strength, steps = c->out->steps;
    struct start plan;
    char nearest[32];

    if (!request_has_start(c->out))
        strength = 1;
    else if (!(strength >= 0 && strength <= 1))
        return; /* told */
    if (!plan_run(c, c->out, s, &plan) ||
        (plan.first < plan.end && (!c->model->keeps_steps || strength > 0)))
        return;
    if (c->out->denoising_start > 0 || c->out->denoising_end < 1) {
        check_violate(
            c,
            c->out->denoising_start > 0 ? "denoising_start" : "denoising_end",
            NULL, "from %g to %g lies none of %u steps",
            c->out->denoising_start, c->out->denoising_end, c->out->steps);
        return;
    }
    struct unstir_request whole = *c->out;
    whole.strength = 1;
    if (!plan_run(c, &whole, s, &plan))
        return;
    double least = fmax(1, steps - plan.end + 1);
    (void)snprintf(nearest, sizeof nearest, "%g",
                   ceil(1e4 * least / steps) / 1e4);
    check_violate(c, "strength", nearest,
                  "strength %g leaves none of %u steps to run; at least %s",
                  strength, c->out->steps, nearest);
}

void check_steps(struct check *c, const struct sampler *s)
{
    const struct unstir_model_info *info = &c->model->info;
    uint32_t most = info->max_steps, steps = c->request->steps;
    char nearest[32];

    if (s) {
        uint32_t own = sampler_max_steps(
            s, &c->model->samplers[sampler_index(s)].schedule);
        most = own < most ? own : most;
    }
    if (steps == 0)
        steps = info->default_steps < most ? info->default_steps : most;
    c->out->steps = steps;
    if (steps > most) {
        (void)snprintf(nearest, sizeof nearest, "%u", most);
        check_violate(c, "steps", nearest, "steps must be 1 to %u, not %u",
                      most, steps);
    } else if (s) {
        check_strength(c, s);
        check_run(c, s);
    }
}
