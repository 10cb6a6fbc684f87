/* sampler_table.c - the table of samplers: names, and how they are found.
 *
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <string.h>

#include "base/compiler.h"
#include "base/nearest.h"
#include "format/json.h"
#include "sample/sampler.h"

const struct sampler *const samplers[SAMPLER_COUNT] = {
    [SAMPLER_DDIM] = &sampler_ddim,
    [SAMPLER_DDPM] = &sampler_ddpm,
    [SAMPLER_PNDM] = &sampler_pndm,
    [SAMPLER_LMS] = &sampler_lms,
    [SAMPLER_EULER] = &sampler_euler,
    [SAMPLER_EULER_A] = &sampler_euler_a,
    [SAMPLER_HEUN] = &sampler_heun,
    [SAMPLER_DPM2] = &sampler_dpm2,
    [SAMPLER_DPM2_A] = &sampler_dpm2_a,
    [SAMPLER_DPMPP_2M] = &sampler_dpmpp_2m,
    [SAMPLER_DPMPP_3M] = &sampler_dpmpp_3m,
    [SAMPLER_DPMPP_2M_SDE] = &sampler_dpmpp_2m_sde,
    [SAMPLER_DPMPP_3M_SDE] = &sampler_dpmpp_3m_sde,
    [SAMPLER_DPMPP_2S] = &sampler_dpmpp_2s,
    [SAMPLER_DPMPP_3S] = &sampler_dpmpp_3s,
    [SAMPLER_DPMPP_SDE] = &sampler_dpmpp_sde,
    [SAMPLER_UNIPC] = &sampler_unipc,
    [SAMPLER_DEIS] = &sampler_deis,
    [SAMPLER_LCM] = &sampler_lcm,
    [SAMPLER_TCD] = &sampler_tcd,
    [SAMPLER_DDIM_INVERSE] = &sampler_ddim_inverse,
    [SAMPLER_UNCLIP] = &sampler_unclip,
    [SAMPLER_IPNDM] = &sampler_ipndm,
    [SAMPLER_EDM_EULER] = &sampler_edm_euler,
    [SAMPLER_EDM_DPMPP_2M] = &sampler_edm_dpmpp_2m,
    [SAMPLER_FLOW_EULER] = &sampler_flow_euler,
    [SAMPLER_CONSISTENCY] = &sampler_consistency,
    [SAMPLER_SCORE_VE] = &sampler_score_ve,
    [SAMPLER_SCORE_VP] = &sampler_score_vp,
    [SAMPLER_ANNEALED_LANGEVIN] = &sampler_annealed_langevin,
    [SAMPLER_BINOMIAL] = &sampler_binomial,
    [SAMPLER_DPMPP_2S_A] = &sampler_dpmpp_2s_a,
    [SAMPLER_DPMPP_2M_SDE_HEUN] = &sampler_dpmpp_2m_sde_heun,
};

/* Name, title, other spellings, draws noise after the first, order (unipc,
 * deis: unless a folder says otherwise), source. */
const struct unstir_sampler_info sampler_infos[SAMPLER_COUNT] = {
    [SAMPLER_DDIM] = {"ddim", "DDIM", "", false, 1, "arXiv:2010.02502"},
    [SAMPLER_DDPM] = {"ddpm", "DDPM", "ancestral", true, 1, "arXiv:2006.11239"},
    [SAMPLER_PNDM] = {"pndm", "PNDM", "plms", false, 4, "arXiv:2202.09778"},
    [SAMPLER_LMS] = {"lms", "LMS", "", false, 4, "k-diffusion"},
    [SAMPLER_EULER] = {"euler", "Euler", "", false, 1, "arXiv:2206.00364"},
    [SAMPLER_EULER_A] = {"euler_a", "Euler a", "euler_ancestral", true, 1,
                         "k-diffusion"},
    [SAMPLER_HEUN] = {"heun", "Heun", "", false, 2, "arXiv:2206.00364"},
    [SAMPLER_DPM2] = {"dpm2", "DPM2", "kdpm2", false, 2, "arXiv:2206.00364"},
    [SAMPLER_DPM2_A] = {"dpm2_a", "DPM2 a", "dpm2_ancestral,kdpm2_a", true, 2,
                        "k-diffusion"},
    [SAMPLER_DPMPP_2M] = {"dpmpp_2m", "DPM++ 2M",
                          "dpmsolver++,dpm++,dpmsolver_multistep", false, 2,
                          "arXiv:2211.01095"},
    [SAMPLER_DPMPP_3M] = {"dpmpp_3m", "DPM++ 3M", "", false, 3,
                          "arXiv:2211.01095"},
    [SAMPLER_DPMPP_2M_SDE] = {"dpmpp_2m_sde", "DPM++ 2M SDE",
                              "dpmpp_2m_sde_gpu,sde_dpmsolver++", true, 2,
                              "arXiv:2211.01095"},
    [SAMPLER_DPMPP_3M_SDE] = {"dpmpp_3m_sde", "DPM++ 3M SDE",
                              "dpmpp_3m_sde_gpu", true, 3, "arXiv:2211.01095"},
    [SAMPLER_DPMPP_2S] = {"dpmpp_2s", "DPM++ 2S", "dpmsolver_singlestep", false,
                          2, "arXiv:2211.01095"},
    [SAMPLER_DPMPP_3S] = {"dpmpp_3s", "DPM++ 3S", "", false, 3,
                          "arXiv:2211.01095"},
    [SAMPLER_DPMPP_SDE] = {"dpmpp_sde", "DPM++ SDE",
                           "dpmpp_sde_gpu,dpmsolver_sde", true, 2,
                           "arXiv:2211.01095"},
    [SAMPLER_UNIPC] = {"unipc", "UniPC", "uni_pc_bh2", false, 2,
                       "arXiv:2302.04867"},
    [SAMPLER_DEIS] = {"deis", "DEIS", "", false, 2, "arXiv:2204.13902"},
    [SAMPLER_LCM] = {"lcm", "LCM", "", true, 1, "arXiv:2310.04378"},
    [SAMPLER_TCD] = {"tcd", "TCD", "", true, 1, "arXiv:2402.19159"},
    [SAMPLER_DDIM_INVERSE] = {"ddim_inverse", "DDIM inverse", "", false, 1,
                              "arXiv:2211.09794"},
    [SAMPLER_UNCLIP] = {"unclip", "UnCLIP", "", true, 1, "arXiv:2204.06125"},
    [SAMPLER_IPNDM] = {"ipndm", "IPNDM", "", false, 4, "arXiv:2204.13902"},
    [SAMPLER_EDM_EULER] = {"edm_euler", "EDM Euler", "", false, 1,
                           "arXiv:2206.00364"},
    [SAMPLER_EDM_DPMPP_2M] = {"edm_dpmpp_2m", "EDM DPM++ 2M", "", false, 2,
                              "arXiv:2211.01095"},
    [SAMPLER_FLOW_EULER] = {"flow_euler", "Flow Euler", "flow_match_euler",
                            false, 1, "arXiv:2403.03206"},
    [SAMPLER_CONSISTENCY] = {"consistency", "Consistency", "cm", true, 1,
                             "arXiv:2303.01469"},
    [SAMPLER_SCORE_VE] = {"score_ve", "Score VE", "sde_ve", true, 1,
                          "arXiv:2011.13456"},
    [SAMPLER_SCORE_VP] = {"score_vp", "Score VP", "sde_vp", true, 1,
                          "arXiv:2011.13456"},
    [SAMPLER_ANNEALED_LANGEVIN] = {"annealed_langevin", "Annealed Langevin",
                                   "ald", true, 1, "arXiv:1907.05600"},
    [SAMPLER_BINOMIAL] = {"binomial", "Binomial", "bits", true, 1,
                          "arXiv:1503.03585"},
    [SAMPLER_DPMPP_2S_A] = {"dpmpp_2s_a", "DPM++ 2S a", "dpmpp_2s_ancestral",
                            true, 2, "k-diffusion"},
    [SAMPLER_DPMPP_2M_SDE_HEUN] = {"dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun",
                                   "dpmpp_2m_sde_heun_gpu", true, 2,
                                   "arXiv:2211.01095"},
};

const struct unstir_schedule_info sampler_schedule_infos[SAMPLER_N_SCHEDULES] =
    {
        {"karras", "Karras", "ka"},
        {"exponential", "Exponential", ""},
        {"beta", "Beta", ""},
        {"lu", "Lu", "lu_lambdas"},
        {"align_your_steps", "Align Your Steps", "ays"},
        {"align_your_steps_xl", "Align Your Steps XL", "ays_xl,ays_sdxl"},
        {"linspace", "Linspace", "uniform,normal,discrete"},
        {"leading", "Leading", "ddim,ddim_uniform"},
        {"trailing", "Trailing", "sgm_uniform,simple"},
};

const struct sampler_schedule sampler_schedules[SAMPLER_N_SCHEDULES] = {
    {&sampler_schedule_infos[0], false, SIGMAS_KARRAS},
    {&sampler_schedule_infos[1], false, SIGMAS_EXPONENTIAL},
    {&sampler_schedule_infos[2], false, SIGMAS_BETA},
    {&sampler_schedule_infos[3], false, SIGMAS_LU},
    {&sampler_schedule_infos[4], false, SIGMAS_AYS},
    {&sampler_schedule_infos[5], false, SIGMAS_AYS_XL},
    {&sampler_schedule_infos[6], true, SPACING_LINSPACE},
    {&sampler_schedule_infos[7], true, SPACING_LEADING},
    {&sampler_schedule_infos[8], true, SPACING_TRAILING},
};

#define MAX_LETTERS       40 /* of a name that is compared with               */
#define SAMPLER_MAX_NAMES (4 * SAMPLER_COUNT)

/* Case, blanks, '-' and '_' do not count, '+' is a 'p': "Euler a" is
 * "euler_a", "DPM++ 2M" is "dpmpp_2m". */
static int letter(char c)
{
    return c == '+' ? 'p' : tolower((unsigned char)c);
}

static bool is_end(const char *text)
{
    return text[strspn(text, " -_\t")] == '\0';
}

/* How much of `text` spells `name`, or 0; a name has letters. */
static size_t spelled(const char *text, const char *name)
{
    const char *at = text;

    for (;;) {
        while (*at && strchr(" -_\t", *at))
            at++;
        while (*name && strchr(" -_\t", *name))
            name++;
        if (*name == '\0' || *name == ',')
            return (size_t)(at - text);
        if (letter(*at) != letter(*name))
            return 0;
        at++;
        name++;
    }
}

/* Does `text` begin with `name` or one of its aliases?  The longest counts. */
static size_t spelled_any(const char *text, const char *name,
                          const char *aliases)
{
    size_t longest = spelled(text, name);

    for (const char *p = aliases; p && *p; p = strchr(p, ',')) {
        p += *p == ',';
        size_t n = spelled(text, p);
        longest = n > longest ? n : longest;
    }
    return longest;
}

bool sampler_schedule_is_default(const char *name)
{
    size_t n = spelled_any(name, "default", "automatic");

    return n && is_end(name + n);
}

const struct sampler_schedule *sampler_schedule_find(const char *name)
{
    for (size_t i = 0; i < SAMPLER_N_SCHEDULES; i++) {
        const struct sampler_schedule *s = &sampler_schedules[i];
        size_t n = spelled_any(name, s->info->name, s->info->alias);
        if (n && is_end(name + n))
            return s;
    }
    return NULL;
}

static const struct sampler *
find_scheduled(const char *name, const struct sampler_schedule **schedule)
{
    *schedule = NULL;
    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        const struct unstir_sampler_info *info = samplers[i]->info;
        size_t n = spelled_any(name, info->name, info->alias);
        if (n && is_end(name + n))
            return samplers[i];
    }
    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        const struct unstir_sampler_info *info = samplers[i]->info;
        size_t n = spelled_any(name, info->name, info->alias);
        if (n)
            *schedule = sampler_schedule_find(name + n);
        if (*schedule)
            return samplers[i];
    }
    return NULL;
}

/* k_euler_a: names of k-diffusion, as older programs write them.  And the
 * reference's own, DPMSolverMultistepScheduler. */
const struct sampler *
sampler_find_scheduled(const char *name,
                       const struct sampler_schedule **schedule)
{
    size_t n = spelled(name, "k");
    const struct sampler *s = find_scheduled(name, schedule);

    if (!s && n)
        s = find_scheduled(name + n, schedule);
    return s ? s : sampler_of_class(name);
}

const struct sampler *sampler_find(const char *name)
{
    const struct sampler_schedule *schedule;
    const struct sampler *s = sampler_find_scheduled(name, &schedule);

    return schedule ? NULL : s;
}

/* The letters of a name, up to a comma; false if they have no room. */
static bool spell(char *out, size_t room, const char *text)
{
    size_t n = 0;

    for (; *text && *text != ',' && n < room; text++)
        if (!strchr(" -_\t", *text))
            out[n++] = (char)letter(*text);
    if (n == room)
        return false;
    out[n] = '\0';
    return true;
}

/* What begins with a name is near it, however it goes on ("Euler CFG++"). */
static const struct sampler *beginning_of(const char *name)
{
    const struct sampler *best = NULL;
    size_t most = 0;

    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        const struct unstir_sampler_info *info = samplers[i]->info;
        size_t n = spelled_any(name, info->name, info->alias);
        if (n > most) {
            most = n;
            best = samplers[i];
        }
    }
    return best;
}

const struct sampler *sampler_nearest(const char *name)
{
    char spelt[SAMPLER_MAX_NAMES][MAX_LETTERS], wanted[MAX_LETTERS];
    const char *words[SAMPLER_MAX_NAMES];
    const struct sampler *owner[SAMPLER_MAX_NAMES];
    size_t n = 0;

    if (!spell(wanted, MAX_LETTERS, name))
        return beginning_of(name);
    for (size_t i = 0; i < SAMPLER_COUNT; i++)
        for (const char *p = samplers[i]->info->name; p && *p;) {
            if (n < SAMPLER_MAX_NAMES && spell(spelt[n], MAX_LETTERS, p)) {
                words[n] = spelt[n];
                owner[n++] = samplers[i];
            }
            const char *comma = strchr(p, ',');
            p = p == samplers[i]->info->name ? samplers[i]->info->alias
                : comma                      ? comma + 1
                                             : NULL;
        }
    int near = nearest_word(wanted, words, n);
    return near >= 0 ? owner[near] : beginning_of(name);
}

const struct sampler *sampler_of_class(const char *class_name)
{
    for (size_t i = 0; i < SAMPLER_COUNT; i++)
        if (strcmp(schedule_class_name(samplers[i]->method),
                   schedule_twin(class_name)) == 0)
            return samplers[i];
    return NULL;
}

const struct sampler *sampler_of_config(const struct json *config)
{
    const struct sampler *best = NULL;
    int most = 0;
    const char *class_name =
        schedule_twin(json_string(json_get(config, "_class_name")));
    const char *kind = json_string(json_get(config, "algorithm_type"));
    const struct json *order = json_get(config, "solver_order");
    bool is_third = order && json_int(order) == 3;
    bool is_sde = strncmp(kind, "sde-", 4) == 0;
    const char *type = json_string(json_get(config, "solver_type"));
    bool is_heun = is_sde && strcmp(type, "heun") == 0;

    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        const struct sampler *s = samplers[i];
        if (strcmp(schedule_class_name(s->method), class_name) != 0)
            continue;
        int likeness = 1 + 4 * ((s->order == 3) == is_third) +
                       2 * (s->is_sde == is_sde) + (s->is_heun == is_heun);
        if (likeness > most) {
            most = likeness;
            best = s;
        }
    }
    return best;
}

size_t sampler_index(const struct sampler *s)
{
    size_t i = 0;
    while (i < SAMPLER_COUNT && samplers[i] != s)
        i++;
    return i;
}
