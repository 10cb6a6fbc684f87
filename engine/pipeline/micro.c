/* micro.c - what SDXL is told of how a picture was made.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/micro.h"

#include <math.h>
#include <string.h>

#include "base/compiler.h"
#include "format/json.h"
#include "pipeline/checkpoint.h"
#include "pipeline/request.h"

/* The reference's defaults of SDXL's refiner. */
#define SCORE_TOWARD 6.0
#define SCORE_AWAY   2.5

static const char field_toward[] = "micro_conditioning";
static const char field_away[] = "negative_micro_conditioning";

static const struct micro_field {
    const char *key;
    size_t offset;
} fields[] = {
    {"original_width", offsetof(struct unstir_micro, original_width)},
    {"original_height", offsetof(struct unstir_micro, original_height)},
    {"crop_left", offsetof(struct unstir_micro, crop_left)},
    {"crop_top", offsetof(struct unstir_micro, crop_top)},
    {"target_width", offsetof(struct unstir_micro, target_width)},
    {"target_height", offsetof(struct unstir_micro, target_height)},
};

static const uint32_t *at(const struct unstir_micro *m, size_t i)
{
    return (const uint32_t *)((const char *)m + fields[i].offset);
}

bool micro_is_empty(const struct unstir_micro *m)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (*at(m, i))
            return false;
    return true;
}

static bool is_equal(const struct unstir_micro *a, const struct unstir_micro *b)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (*at(a, i) != *at(b, i))
            return false;
    return true;
}

static bool fits(const struct unstir_micro *m)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (*at(m, i) > MICRO_MAX_PIXELS)
            return false;
    return (m->original_width > 0) == (m->original_height > 0) &&
           (m->target_width > 0) == (m->target_height > 0);
}

static void default_pair(uint32_t *w, uint32_t *h, uint32_t width,
                         uint32_t height)
{
    if (*w == 0) {
        *w = width;
        *h = height;
    }
}

static bool is_said(double v)
{
    return v != UNSTIR_UNSET_F;
}

static bool fault_in(struct micro_fault *fault, const char *field,
                     const char *text)
{
    *fault = (struct micro_fault){field, text};
    return false;
}

/* What a side of an empty request is told. */
static struct unstir_micro default_micro(const struct unstir_model *m,
                                         const struct unstir_request *r)
{
    struct unstir_micro k = {.original_width = r->width,
                             .original_height = r->height};

    if (m->conditioner.n_time_ids == MICRO_MAX_IDS) {
        k.target_width = r->width;
        k.target_height = r->height;
    }
    return k;
}

/* Of networks that are told nothing. */
static bool settle_deaf(const struct unstir_request *q,
                        struct unstir_request *out, struct micro_fault *fault)
{
    static const char text[] = "is of SDXL alone: this network is not told how "
                               "a picture was made";

    out->micro = out->negative_micro = (struct unstir_micro){0};
    out->aesthetic_score = out->negative_aesthetic_score = UNSTIR_UNSET_F;
    if (!micro_is_empty(&q->micro))
        return fault_in(fault, field_toward, text);
    if (!micro_is_empty(&q->negative_micro))
        return fault_in(fault, field_away, text);
    if (is_said(q->aesthetic_score))
        return fault_in(fault, "aesthetic_score", text);
    if (is_said(q->negative_aesthetic_score))
        return fault_in(fault, "negative_aesthetic_score", text);
    return true;
}

static bool settle_score(double asked, double fallback, bool is_read,
                         const char *field, double *out,
                         struct micro_fault *fault)
{
    *out = is_read ? fallback : UNSTIR_UNSET_F;
    if (!is_said(asked))
        return true;
    if (!is_read)
        return fault_in(fault, field,
                        "is of SDXL's refiner: this network is told the "
                        "target size instead");
    if (!(fabs(asked) <= MICRO_MAX_SCORE))
        return fault_in(fault, field, "must be -100 to 100");
    *out = asked;
    return true;
}

/* What the reference would take and pass over. */
static bool check_away(const struct unstir_model *m,
                       const struct unstir_request *out,
                       struct micro_fault *fault)
{
    const struct unstir_micro *toward = &out->micro,
                              *away = &out->negative_micro;
    bool has_crop = away->crop_left > 0 || away->crop_top > 0;
    bool is_same_crop = away->crop_left == toward->crop_left &&
                        away->crop_top == toward->crop_top;

    if (micro_is_empty(away) || is_equal(away, toward))
        return true;
    if (m->reads_picture)
        return fault_in(fault, field_away,
                        "is not told to models that edit pictures, which have "
                        "one for all");
    if (m->conditioner.n_time_ids < MICRO_MAX_IDS)
        return true;
    if (request_has_start(out))
        return has_crop && !is_same_crop
                   ? fault_in(fault, field_away,
                              "has no crop of its own in pictures that begin "
                              "with one: it is that of micro_conditioning")
                   : true;
    return away->original_width && away->target_width
               ? true
               : fault_in(fault, field_away,
                          "needs original and target size, both, in pictures "
                          "that begin in noise");
}

static void fill_away(const struct unstir_model *m, struct unstir_request *out)
{
    const struct unstir_micro *toward = &out->micro;
    struct unstir_micro *away = &out->negative_micro;
    bool is_scored = m->conditioner.n_time_ids < MICRO_MAX_IDS;
    bool is_whole = away->original_width && away->target_width;

    if (!is_scored && (request_has_start(out) || !is_whole)) {
        away->crop_left = toward->crop_left;
        away->crop_top = toward->crop_top;
    }
    default_pair(&away->original_width, &away->original_height,
                 toward->original_width, toward->original_height);
    default_pair(&away->target_width, &away->target_height,
                 toward->target_width, toward->target_height);
}

bool micro_settle(const struct unstir_model *m, const struct unstir_request *q,
                  struct unstir_request *out, struct micro_fault *fault)
{
    bool is_scored = m->conditioner.n_time_ids < MICRO_MAX_IDS;
    const struct unstir_micro own = default_micro(m, out);

    if (m->conditioner.n_time_ids == 0)
        return settle_deaf(q, out, fault);
    for (int side = 0; side < 2; side++) {
        const struct unstir_micro *k = side ? &q->negative_micro : &q->micro;
        const char *field = side ? field_away : field_toward;
        if (!fits(k))
            return fault_in(fault, field,
                            "has widths and heights in pairs, of at most "
                            "1048576 pixels");
        if (is_scored && k->target_width)
            return fault_in(fault, field,
                            "has no target size here: this network is told a "
                            "score of beauty instead");
    }
    if (!settle_score(q->aesthetic_score, SCORE_TOWARD, is_scored,
                      "aesthetic_score", &out->aesthetic_score, fault) ||
        !settle_score(q->negative_aesthetic_score, SCORE_AWAY, is_scored,
                      "negative_aesthetic_score",
                      &out->negative_aesthetic_score, fault))
        return false;
    default_pair(&out->micro.original_width, &out->micro.original_height,
                 own.original_width, own.original_height);
    default_pair(&out->micro.target_width, &out->micro.target_height,
                 own.target_width, own.target_height);
    if (!check_away(m, out, fault))
        return false;
    fill_away(m, out);
    return true;
}

bool micro_is_said(const struct unstir_model *m, const struct unstir_request *r)
{
    const struct unstir_micro own = default_micro(m, r);
    bool is_scored = m->conditioner.n_time_ids < MICRO_MAX_IDS;

    if (m->conditioner.n_time_ids == 0)
        return false;
    return !is_equal(&r->micro, &own) || !is_equal(&r->negative_micro, &own) ||
           (is_scored && (r->aesthetic_score != SCORE_TOWARD ||
                          r->negative_aesthetic_score != SCORE_AWAY));
}

void micro_ids(const struct unstir_request *r, size_t n_ids, bool is_toward,
               float ids[MICRO_MAX_IDS])
{
    const struct unstir_micro *k = is_toward ? &r->micro : &r->negative_micro;

    ids[0] = (float)k->original_height;
    ids[1] = (float)k->original_width;
    ids[2] = (float)k->crop_top;
    ids[3] = (float)k->crop_left;
    ids[4] = (float)k->target_height;
    ids[5] = (float)k->target_width;
    if (n_ids < MICRO_MAX_IDS)
        ids[4] = (float)(is_toward ? r->aesthetic_score
                                   : r->negative_aesthetic_score);
}

/* -- JSON ------------------------------------------------------------------- */

static void write_side(struct json_writer *w, const char *key,
                       const struct unstir_micro *k)
{
    json_open_object(w, key);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (k->target_width || !strstr(fields[i].key, "target"))
            json_put_int(w, fields[i].key, *at(k, i));
    json_close(w);
}

void micro_write(struct json_writer *w, const struct unstir_model *m,
                 const struct unstir_request *r)
{
    if (!micro_is_said(m, r))
        return;
    write_side(w, field_toward, &r->micro);
    write_side(w, field_away, &r->negative_micro);
    if (!is_said(r->aesthetic_score))
        return;
    json_put_real(w, "aesthetic_score", r->aesthetic_score);
    json_put_real(w, "negative_aesthetic_score", r->negative_aesthetic_score);
}

static enum unstir_status read_side(const struct json *object, const char *key,
                                    struct unstir_micro *out,
                                    struct unstir_error *err)
{
    const struct json *o = json_get(object, key);
    int64_t v;

    if (!o)
        return UNSTIR_OK;
    if (json_type(o) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT, "%s is not an object", key);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        TRY(json_get_int(o, fields[i].key, 0, 0, MICRO_MAX_PIXELS, &v, err));
        *(uint32_t *)((char *)out + fields[i].offset) = (uint32_t)v;
    }
    return UNSTIR_OK;
}

enum unstir_status micro_read(const struct json *o, struct unstir_request *out,
                              struct unstir_error *err)
{
    TRY(read_side(o, field_toward, &out->micro, err));
    TRY(read_side(o, field_away, &out->negative_micro, err));
    TRY(json_get_real(o, "aesthetic_score", UNSTIR_UNSET_F,
                      &out->aesthetic_score, err));
    return json_get_real(o, "negative_aesthetic_score", UNSTIR_UNSET_F,
                         &out->negative_aesthetic_score, err);
}

bool micro_is_same(const struct unstir_request *a,
                   const struct unstir_request *b)
{
    return is_equal(&a->micro, &b->micro) &&
           is_equal(&a->negative_micro, &b->negative_micro) &&
           a->aesthetic_score == b->aesthetic_score &&
           a->negative_aesthetic_score == b->negative_aesthetic_score;
}
