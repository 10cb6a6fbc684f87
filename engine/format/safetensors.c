/* safetensors.c - the reader of the safetensors format.
 *
 * File: 8 bytes little-endian header length N, N bytes of JSON, tensor data.
 * Everything in it is taken for hostile; the rules are those of the format's
 * own reader, stricter where parsers are known to differ (duplicate names,
 * unknown members), with ceilings of ours on counts and lengths.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "format/json.h"
#include "format/pickle.h"
#include "format/weights_build.h"

#define MAX_HEADER_BYTES 100000000u /* the format's own ceiling              */
#define MAX_TENSORS      100000u

/* Types of the format that no network here can use, with the bytes of a number.
 * Tensors of the first ones stand in files beside the weights (masks, counters)
 * and are left out; those of 0 are weights themselves. */
static const struct {
    const char *name;
    size_t size;
} foreign_types[] = {
    {"BOOL", 1},    {"I16", 2},     {"U16", 2},         {"U32", 4},
    {"U64", 8},     {"C64", 8},     {"F4", 0},          {"F6_E2M3", 0},
    {"F6_E3M2", 0}, {"F8_E8M0", 0}, {"F8_E4M3FNUZ", 0}, {"F8_E5M2FNUZ", 0},
};

#define LEFT_OUT DTYPE_COUNT /* of a tensor that only takes its place        */

struct reader {
    const char *file; /* for errors                                          */
    const unsigned char *bytes;
    size_t n_bytes;
    const unsigned char *data;
    size_t n_data;
    struct json *header;
    struct weights *weights;
};

static enum unstir_status bad(const struct reader *r, const char *tensor,
                              const char *why, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "%.180s: tensor \"%.100s\" %s",
                     r->file, tensor, why);
}

static uint64_t load_u64(const unsigned char *p)
{
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static enum unstir_status parse_header(struct reader *r,
                                       struct unstir_error *err)
{
    if (r->n_bytes < 8)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: %zu bytes, too short for a safetensors file "
                         "(at least 8)",
                         r->file, r->n_bytes);
    uint64_t n = load_u64(r->bytes);
    if (n > MAX_HEADER_BYTES)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: header of %llu bytes, at most %u are "
                         "allowed; this is hardly a safetensors file",
                         r->file, (unsigned long long)n, MAX_HEADER_BYTES);
    if (n > r->n_bytes - 8)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: header of %llu bytes but the file has %zu; "
                         "the download is probably incomplete",
                         r->file, (unsigned long long)n, r->n_bytes);
    const char *text = (const char *)r->bytes + 8;
    if (n == 0 || text[0] != '{')
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: the header does not begin with '{'", r->file);
    TRY(error_prefix(json_parse(&r->header, text, (size_t)n, err), r->file,
                     err));
    r->data = r->bytes + 8 + n;
    r->n_data = r->n_bytes - 8 - (size_t)n;
    return UNSTIR_OK;
}

static enum unstir_status check_metadata(const struct reader *r,
                                         const struct json *all,
                                         struct unstir_error *err)
{
    size_t i = 0;
    const char *key;
    const struct json *value;
    if (json_type(all) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: " SAFETENSORS_METADATA " must be an object",
                         r->file);
    while (json_each(all, &i, &key, &value))
        if (json_type(value) != JSON_STRING)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.200s: " SAFETENSORS_METADATA
                             " \"%.100s\" must be a string",
                             r->file, key);
    return UNSTIR_OK;
}

/* *size: bytes of a number. */
static enum unstir_status read_dtype(const struct reader *r,
                                     const struct json *v,
                                     struct tensor_view *t, size_t *size,
                                     struct unstir_error *err)
{
    size_t i = 0;
    if (json_type(v) != JSON_STRING)
        return bad(r, t->name, "has no \"dtype\" string", err);
    const char *name = json_string(v);
    if (dtype_parse(name, &t->dtype)) {
        *size = dtype_size(t->dtype);
        return UNSTIR_OK;
    }
    while (i < ARRAY_LEN(foreign_types) &&
           strcmp(name, foreign_types[i].name) != 0)
        i++;
    if (i == ARRAY_LEN(foreign_types))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" has unknown dtype "
                         "\"%.20s\"",
                         r->file, t->name, name);
    *size = foreign_types[i].size;
    t->dtype = LEFT_OUT;
    return *size ? UNSTIR_OK
                 : error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "%.180s: tensor \"%.100s\" is of type %s, which "
                             "is not supported (F32, F16, BF16, F64, F8, I8, "
                             "U8, I32, I64 are)",
                             r->file, t->name, name);
}

static enum unstir_status read_shape(const struct reader *r,
                                     const struct json *v,
                                     struct tensor_view *t, size_t size,
                                     struct unstir_error *err)
{
    if (json_type(v) != JSON_ARRAY)
        return bad(r, t->name, "has no \"shape\" array", err);
    if (json_len(v) > SAFETENSORS_MAX_RANK)
        return bad(r, t->name, "has more than 8 dimensions", err);
    t->rank = (uint32_t)json_len(v);
    t->n = 1;
    bool fits = true;
    for (uint32_t i = 0; i < t->rank; i++) {
        const struct json *d = json_at(v, i);
        if (json_type(d) != JSON_INT || json_int(d) < 0)
            return bad(r, t->name,
                       "has a dimension that is no whole number from 0 up",
                       err);
        t->dims[i] = (uint64_t)json_int(d);
        fits &= size_mul(t->n, (size_t)t->dims[i], &t->n);
    }
    if (!fits || !size_mul(t->n, size, &t->n_bytes))
        return bad(r, t->name, "is larger than memory can be (overflow)", err);
    return UNSTIR_OK;
}

static enum unstir_status read_offsets(const struct reader *r,
                                       const struct json *v,
                                       struct tensor_view *t,
                                       struct unstir_error *err)
{
    const struct json *b = json_at(v, 0), *e = json_at(v, 1);
    if (json_type(v) != JSON_ARRAY || json_len(v) != 2 ||
        json_type(b) != JSON_INT || json_type(e) != JSON_INT ||
        json_int(b) < 0 || json_int(e) < 0)
        return bad(r, t->name,
                   "needs \"data_offsets\" of two whole numbers from 0 up",
                   err);
    uint64_t begin = (uint64_t)json_int(b), end = (uint64_t)json_int(e);
    if (end < begin)
        return bad(r, t->name, "ends before it begins", err);
    if (end > r->n_data)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" ends at byte %llu but the "
                         "file has %zu bytes of data; the download is "
                         "probably incomplete: compare the file's size with "
                         "its source",
                         r->file, t->name, (unsigned long long)end, r->n_data);
    if (end - begin != t->n_bytes)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" takes %llu bytes but its "
                         "shape and dtype %s need %zu",
                         r->file, t->name, (unsigned long long)(end - begin),
                         t->dtype == LEFT_OUT ? "" : dtype_name(t->dtype),
                         t->n_bytes);
    t->data = r->data + begin;
    return UNSTIR_OK;
}

static enum unstir_status read_tensor(struct reader *r, const char *name,
                                      const struct json *v,
                                      struct unstir_error *err)
{
    static const char *const members[] = {"dtype", "shape", "data_offsets"};
    struct tensor_view t = {.name = name};
    size_t i = 0, size;
    const char *key;
    const struct json *member;
    if (strlen(name) > SAFETENSORS_MAX_NAME)
        return bad(r, name, "has a name of more than 512 bytes", err);
    if (name[0] == '\0')
        return bad(r, name, "has an empty name", err);
    if (json_type(v) != JSON_OBJECT)
        return bad(r, name, "must be described by an object", err);
    while (json_each(v, &i, &key, &member)) {
        size_t k = 0;
        while (k < ARRAY_LEN(members) && strcmp(key, members[k]) != 0)
            k++;
        if (k == ARRAY_LEN(members))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.180s: tensor \"%.100s\" has unknown member "
                             "\"%.60s\"",
                             r->file, name, key);
    }
    TRY(read_dtype(r, json_get(v, "dtype"), &t, &size, err));
    TRY(read_shape(r, json_get(v, "shape"), &t, size, err));
    TRY(read_offsets(r, json_get(v, "data_offsets"), &t, err));
    return weights_add(r->weights, &t, err);
}

static int compare_places(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    const unsigned char *p = x->data, *q = y->data;
    if (p != q)
        return p < q ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* Tensors must tile the data: no overlap, no hole, nothing behind. */
static enum unstir_status check_tiling(struct reader *r,
                                       struct unstir_error *err)
{
    struct weights *w = r->weights;
    const unsigned char *end = r->data;
    if (w->n > 1)
        qsort(w->views, w->n, sizeof(*w->views), compare_places);
    for (size_t i = 0; i < w->n; i++) {
        const struct tensor_view *t = &w->views[i];
        const unsigned char *begin = t->data;
        if (begin != end)
            return error_set(
                err, UNSTIR_ERR_FORMAT,
                "%.180s: tensor \"%.100s\" begins at byte %zu of the data, "
                "must be %zu (%s)",
                r->file, t->name, (size_t)(begin - r->data),
                (size_t)(end - r->data), begin < end ? "overlap" : "hole");
        end = begin + t->n_bytes;
    }
    size_t used = (size_t)(end - r->data);
    if (used != r->n_data)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: %zu bytes of data behind the last tensor",
                         r->file, r->n_data - used);
    return UNSTIR_OK;
}

static void leave_out(struct weights *w)
{
    for (size_t i = 0; i < w->n;)
        if (w->views[i].dtype == LEFT_OUT)
            weights_drop(w, i);
        else
            i++;
}

static enum unstir_status read_all(struct reader *r, struct unstir_error *err)
{
    size_t i = 0;
    const char *name;
    const struct json *v;
    size_t n_tensors = json_len(r->header) -
                       (json_get(r->header, SAFETENSORS_METADATA) != NULL);
    if (n_tensors > MAX_TENSORS)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: %zu tensors, at most %u are allowed", r->file,
                         n_tensors, MAX_TENSORS);
    while (json_each(r->header, &i, &name, &v)) {
        if (strcmp(name, SAFETENSORS_METADATA) == 0)
            TRY(check_metadata(r, v, err));
        else
            TRY(read_tensor(r, name, v, err));
    }
    TRY(check_tiling(r, err));
    leave_out(r->weights);
    return weights_seal(r->weights, err);
}

enum unstir_status safetensors_read(struct weights *w, struct json **header,
                                    const char *name,
                                    const unsigned char *bytes, size_t n_bytes,
                                    struct unstir_error *err)
{
    struct reader r = {
        .file = name, .bytes = bytes, .n_bytes = n_bytes, .weights = w};
    enum unstir_status status = parse_header(&r, err);

    *header = r.header;
    if (status == UNSTIR_ERR_FORMAT && pickle_is(bytes, n_bytes))
        return pickle_refuse(name, err);
    return status == UNSTIR_OK ? read_all(&r, err) : status;
}

enum unstir_status safetensors_open(struct weights **out, const char *path,
                                    struct unstir_error *err)
{
    return weights_open_as(out, path, safetensors_read, err);
}

enum unstir_status safetensors_parse(struct weights **out, const void *bytes,
                                     size_t n_bytes, const char *name,
                                     struct unstir_error *err)
{
    return weights_parse_as(out, bytes, n_bytes, name, safetensors_read, err);
}
