/* gguf.c - the reader of the GGUF format, versions 2 and 3, little-endian.
 *
 * File: "GGUF", u32 version, u64 number of tensors, u64 number of keys; then
 * the keys (text, u32 type, value), the tensors' table (text name, u32 rank,
 * u64 dimensions innermost first, u32 type, u64 offset), and, from the next
 * multiple of the alignment, the data.  A text is a u64 length and bytes.
 *
 * The cursor never passes the end of the file: each read asks first whether so
 * much is left, so every loop is bounded by the file's size.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/gguf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/weights_build.h"

#define MAGIC             "GGUF"
#define MAX_KEYS          65536u
#define MAX_TENSORS       100000u
#define MAX_NAME_BYTES    512u
#define MAX_RANK          4u
#define MAX_NESTING       4u /* arrays in arrays                        */
#define DEFAULT_ALIGNMENT 32u
#define MAX_ALIGNMENT     (1u << 20)
#define MAX_TEXT_BYTES    4096u /* of a value that is kept                   */
#define ORIGINAL_SHAPE    "comfy.gguf.orig_shape."

enum value_type {
    VALUE_U8,
    VALUE_I8,
    VALUE_U16,
    VALUE_I16,
    VALUE_U32,
    VALUE_I32,
    VALUE_F32,
    VALUE_BOOL,
    VALUE_TEXT,
    VALUE_ARRAY,
    VALUE_U64,
    VALUE_I64,
    VALUE_F64,
    VALUE_TYPES
};

/* Bytes of one; the least that a text or an array takes. */
static const unsigned char value_sizes[VALUE_TYPES] = {
    [VALUE_U8] = 1,   [VALUE_I8] = 1,     [VALUE_U16] = 2, [VALUE_I16] = 2,
    [VALUE_U32] = 4,  [VALUE_I32] = 4,    [VALUE_F32] = 4, [VALUE_BOOL] = 1,
    [VALUE_TEXT] = 8, [VALUE_ARRAY] = 12, [VALUE_U64] = 8, [VALUE_I64] = 8,
    [VALUE_F64] = 8,
};

/* By the file's numbers.  DTYPE_COUNT: not for us; no name: never given out. */
static const struct {
    const char *name;
    enum dtype dtype;
} tensor_types[] = {
    [0] = {"F32", DTYPE_F32},        [1] = {"F16", DTYPE_F16},
    [2] = {"Q4_0", DTYPE_Q4_0},      [3] = {"Q4_1", DTYPE_Q4_1},
    [6] = {"Q5_0", DTYPE_Q5_0},      [7] = {"Q5_1", DTYPE_Q5_1},
    [8] = {"Q8_0", DTYPE_Q8_0},      [9] = {"Q8_1", DTYPE_COUNT},
    [10] = {"Q2_K", DTYPE_Q2_K},     [11] = {"Q3_K", DTYPE_Q3_K},
    [12] = {"Q4_K", DTYPE_Q4_K},     [13] = {"Q5_K", DTYPE_Q5_K},
    [14] = {"Q6_K", DTYPE_Q6_K},     [15] = {"Q8_K", DTYPE_COUNT},
    [16] = {"IQ2_XXS", DTYPE_COUNT}, [17] = {"IQ2_XS", DTYPE_COUNT},
    [18] = {"IQ3_XXS", DTYPE_COUNT}, [19] = {"IQ1_S", DTYPE_COUNT},
    [20] = {"IQ4_NL", DTYPE_COUNT},  [21] = {"IQ3_S", DTYPE_COUNT},
    [22] = {"IQ2_S", DTYPE_COUNT},   [23] = {"IQ4_XS", DTYPE_COUNT},
    [24] = {"I8", DTYPE_I8},         [25] = {"I16", DTYPE_COUNT},
    [26] = {"I32", DTYPE_I32},       [27] = {"I64", DTYPE_I64},
    [28] = {"F64", DTYPE_F64},       [29] = {"IQ1_M", DTYPE_COUNT},
    [30] = {"BF16", DTYPE_BF16},     [34] = {"TQ1_0", DTYPE_COUNT},
    [35] = {"TQ2_0", DTYPE_COUNT},   [39] = {"MXFP4", DTYPE_COUNT},
    [40] = {"NVFP4", DTYPE_COUNT},
};

/* A text of the file: bytes without an end of their own. */
struct span {
    const char *bytes;
    size_t n;
};

struct key {
    struct span name;
    enum value_type type;
    const unsigned char *value;
};

struct reader {
    const char *file; /* for errors                                          */
    const unsigned char *bytes;
    size_t n_bytes, at;
    uint64_t n_keys, n_tensors;
    struct key *keys;
    size_t alignment;
    size_t data_at;
    struct weights *weights;
};

/* -- reading the bytes ------------------------------------------------- */

static uint64_t load_le(const unsigned char *p, size_t n)
{
    uint64_t x = 0;

    while (n > 0)
        x = x << 8 | p[--n];
    return x;
}

static enum unstir_status cut_off(const struct reader *r, const char *what,
                                  struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "%.180s: ends at byte %zu within %s; the download is "
                     "probably incomplete",
                     r->file, r->n_bytes, what);
}

static enum unstir_status take(struct reader *r, size_t n, const char *what,
                               const unsigned char **out,
                               struct unstir_error *err)
{
    *out = r->bytes + r->at;
    if (n > r->n_bytes - r->at)
        return cut_off(r, what, err);
    r->at += n;
    return UNSTIR_OK;
}

static enum unstir_status take_number(struct reader *r, size_t n_bytes,
                                      const char *what, uint64_t *out,
                                      struct unstir_error *err)
{
    const unsigned char *p;

    TRY(take(r, n_bytes, what, &p, err));
    *out = load_le(p, n_bytes);
    return UNSTIR_OK;
}

static enum unstir_status take_text(struct reader *r, const char *what,
                                    struct span *out, struct unstir_error *err)
{
    const unsigned char *p;
    uint64_t n;

    TRY(take_number(r, 8, what, &n, err));
    TRY(take(r, n > SIZE_MAX ? SIZE_MAX : (size_t)n, what, &p, err));
    *out = (struct span){(const char *)p, (size_t)n};
    return UNSTIR_OK;
}

/* 1..512 bytes, none of them a control character. */
static enum unstir_status take_name(struct reader *r, const char *what,
                                    struct span *out, struct unstir_error *err)
{
    TRY(take_text(r, what, out, err));
    if (out->n == 0 || out->n > MAX_NAME_BYTES)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: %s of %zu bytes; allowed are 1 to %u",
                         r->file, what, out->n, MAX_NAME_BYTES);
    for (size_t i = 0; i < out->n; i++)
        if ((unsigned char)out->bytes[i] < 0x20 || out->bytes[i] == 0x7f)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.180s: %s has a control character in byte %zu",
                             r->file, what, i);
    return UNSTIR_OK;
}

/* -- keys -------------------------------------------------------------- */

static enum unstir_status bad_key(const struct reader *r, const struct key *key,
                                  const char *why, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "%.180s: key \"%.*s\" %s", r->file,
                     key->name.n < 100 ? (int)key->name.n : 100,
                     key->name.bytes, why);
}

static enum unstir_status check_type(const struct reader *r,
                                     const struct key *key, uint64_t type,
                                     struct unstir_error *err)
{
    if (type < VALUE_TYPES)
        return UNSTIR_OK;
    return bad_key(r, key, "has a value of unknown type", err);
}

static enum unstir_status skip_value(struct reader *r, const struct key *key,
                                     enum value_type type, unsigned depth,
                                     struct unstir_error *err);

static enum unstir_status skip_array(struct reader *r, const struct key *key,
                                     unsigned depth, struct unstir_error *err)
{
    const unsigned char *p;
    uint64_t type, n;

    if (depth == MAX_NESTING)
        return bad_key(r, key, "has arrays nested deeper than 4", err);
    TRY(take_number(r, 4, "an array", &type, err));
    TRY(take_number(r, 8, "an array", &n, err));
    TRY(check_type(r, key, type, err));
    if (n > (r->n_bytes - r->at) / value_sizes[type])
        return bad_key(r, key, "has an array that is longer than the file",
                       err);
    if (type != VALUE_TEXT && type != VALUE_ARRAY && type != VALUE_BOOL)
        return take(r, (size_t)n * value_sizes[type], "an array", &p, err);
    for (uint64_t i = 0; i < n; i++)
        TRY(skip_value(r, key, (enum value_type)type, depth + 1, err));
    return UNSTIR_OK;
}

static enum unstir_status skip_value(struct reader *r, const struct key *key,
                                     enum value_type type, unsigned depth,
                                     struct unstir_error *err)
{
    const unsigned char *p;
    struct span text;

    if (type == VALUE_ARRAY)
        return skip_array(r, key, depth, err);
    if (type == VALUE_TEXT)
        return take_text(r, "a text value", &text, err);
    TRY(take(r, value_sizes[type], "a value", &p, err));
    if (type == VALUE_BOOL && *p > 1)
        return bad_key(r, key, "is a truth value other than 0 and 1", err);
    return UNSTIR_OK;
}

static int compare_spans(const struct span *a, const struct span *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int order = memcmp(a->bytes, b->bytes, n);

    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

static int compare_keys(const void *a, const void *b)
{
    return compare_spans(&((const struct key *)a)->name,
                         &((const struct key *)b)->name);
}

static enum unstir_status read_keys(struct reader *r, struct unstir_error *err)
{

    TRY(alloc_zero(&r->keys, (size_t)r->n_keys, sizeof *r->keys, err));
    for (uint64_t i = 0; i < r->n_keys; i++) {
        struct key *key = &r->keys[i];
        uint64_t type;

        TRY(take_name(r, "the name of a key", &key->name, err));
        TRY(take_number(r, 4, "a key", &type, err));
        TRY(check_type(r, key, type, err));
        key->type = (enum value_type)type;
        key->value = r->bytes + r->at;
        TRY(skip_value(r, key, key->type, 0, err));
    }
    if (r->n_keys > 1)
        qsort(r->keys, (size_t)r->n_keys, sizeof *r->keys, compare_keys);
    for (uint64_t i = 1; i < r->n_keys; i++)
        if (compare_keys(&r->keys[i - 1], &r->keys[i]) == 0)
            return bad_key(r, &r->keys[i], "stands twice", err);
    return UNSTIR_OK;
}

static const struct key *find_key(const struct reader *r, const char *name)
{
    const struct key wanted = {.name = {name, strlen(name)}};

    return r->n_keys == 0 ? NULL
                          : bsearch(&wanted, r->keys, (size_t)r->n_keys,
                                    sizeof *r->keys, compare_keys);
}

static enum unstir_status find_alignment(struct reader *r,
                                         struct unstir_error *err)
{
    const struct key *key = find_key(r, "general.alignment");

    r->alignment = DEFAULT_ALIGNMENT;
    if (!key)
        return UNSTIR_OK;
    if (key->type != VALUE_U32)
        return bad_key(r, key, "must be of type u32", err);
    r->alignment = (size_t)load_le(key->value, 4);
    if (r->alignment < 8 || r->alignment > MAX_ALIGNMENT ||
        (r->alignment & (r->alignment - 1)) != 0)
        return bad_key(r, key, "must be a power of two, 8 to 1048576", err);
    return UNSTIR_OK;
}

/* -- texts for weights_metadata() -------------------------------------- */

static bool is_plain(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] < 0x20 || bytes[i] > 0x7e)
            return false;
    return true;
}

static void put_text(struct json_writer *w, const struct key *key)
{
    char name[MAX_NAME_BYTES + 1], text[MAX_TEXT_BYTES + 1];
    uint64_t n = load_le(key->value, 8);

    if (n > MAX_TEXT_BYTES || !is_plain(key->value + 8, (size_t)n) ||
        !is_plain((const unsigned char *)key->name.bytes, key->name.n))
        return;
    memcpy(name, key->name.bytes, key->name.n);
    name[key->name.n] = '\0';
    memcpy(text, key->value + 8, (size_t)n);
    text[n] = '\0';
    json_put_string(w, name, text);
}

/* The texts in ASCII, in the form that safetensors has them. */
static enum unstir_status make_header(const struct reader *r,
                                      struct json **header,
                                      struct unstir_error *err)
{
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_open_object(w, SAFETENSORS_METADATA);
    for (uint64_t i = 0; i < r->n_keys; i++)
        if (r->keys[i].type == VALUE_TEXT)
            put_text(w, &r->keys[i]);
    json_close(w);
    json_close(w);
    return json_finish_value(header, w, err);
}

/* -- tensors ----------------------------------------------------------- */

static enum unstir_status bad_tensor(const struct reader *r, const char *name,
                                     const char *why, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "%.180s: tensor \"%.100s\" %s",
                     r->file, name, why);
}

static enum unstir_status take_shape(struct reader *r, struct tensor_view *t,
                                     struct unstir_error *err)
{
    uint64_t rank;

    TRY(take_number(r, 4, "the table of tensors", &rank, err));
    if (rank > MAX_RANK)
        return bad_tensor(r, t->name, "has more than 4 dimensions", err);
    t->rank = (uint32_t)rank;
    t->n = 1;
    for (uint32_t i = t->rank; i-- > 0;) { /* innermost first */
        TRY(take_number(r, 8, "the table of tensors", &t->dims[i], err));
        if (t->dims[i] == 0)
            return bad_tensor(r, t->name, "has a dimension of 0", err);
        if (t->dims[i] > SIZE_MAX || !size_mul(t->n, (size_t)t->dims[i], &t->n))
            return bad_tensor(r, t->name, "is larger than memory can be", err);
    }
    return UNSTIR_OK;
}

/* Some writers store a tensor whose rows fill no blocks as rows of 256 numbers
 * and keep its shape, outermost dimension first, as a list of whole numbers
 * under a key of its own. */
static enum unstir_status restore_shape(const struct reader *r,
                                        struct tensor_view *t,
                                        struct unstir_error *err)
{
    char name[MAX_NAME_BYTES + sizeof ORIGINAL_SHAPE];
    const struct key *key;
    uint64_t rank;
    size_t n = 1;

    (void)snprintf(name, sizeof name, ORIGINAL_SHAPE "%s", t->name); /* fits */
    key = find_key(r, name);
    if (!key)
        return UNSTIR_OK;
    if (key->type != VALUE_ARRAY || load_le(key->value, 4) != VALUE_I32)
        return bad_key(r, key, "must be a list of i32", err);
    rank = load_le(key->value + 4, 8);
    if (rank == 0 || rank > MAX_RANK)
        return bad_key(r, key, "must have 1 to 4 dimensions", err);
    for (uint64_t i = 0; i < rank; i++) {
        t->dims[i] = load_le(key->value + 12 + 4 * i, 4);
        if (t->dims[i] > INT32_MAX || !size_mul(n, (size_t)t->dims[i], &n))
            return bad_key(r, key, "is not the shape of its tensor", err);
    }
    if (n != t->n)
        return bad_key(r, key, "is not the shape of its tensor", err);
    t->rank = (uint32_t)rank;
    return UNSTIR_OK;
}

static enum unstir_status take_type(struct reader *r, struct tensor_view *t,
                                    struct unstir_error *err)
{
    uint64_t type;
    size_t block, blocks;

    TRY(take_number(r, 4, "the table of tensors", &type, err));
    if (type >= ARRAY_LEN(tensor_types) || !tensor_types[type].name)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" is of unknown type %llu",
                         r->file, t->name, (unsigned long long)type);
    t->dtype = tensor_types[type].dtype;
    if (t->dtype == DTYPE_COUNT)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%.180s: tensor \"%.100s\" is of type %s, which is "
                         "not supported (F32, F16, BF16, " DTYPE_BLOCK_NAMES
                         " are)",
                         r->file, t->name, tensor_types[type].name);
    block = dtype_block(t->dtype);
    if (block > 1 && (t->rank == 0 || t->dims[t->rank - 1] % block != 0))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" is of type %s: its rows "
                         "must be multiples of %zu",
                         r->file, t->name, tensor_types[type].name, block);
    blocks = t->n / block;
    if (!size_mul(blocks, dtype_size(t->dtype), &t->n_bytes))
        return bad_tensor(r, t->name, "is larger than memory can be", err);
    return UNSTIR_OK;
}

/* The data's place is known when the table has been read: until then `data`
 * points as far behind the file's first byte as the tensor stands behind the
 * data's. */
static enum unstir_status take_offset(struct reader *r, struct tensor_view *t,
                                      struct unstir_error *err)
{
    uint64_t offset;

    TRY(take_number(r, 8, "the table of tensors", &offset, err));
    if (offset % r->alignment != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" begins at byte %llu of the "
                         "data, must be a multiple of %zu",
                         r->file, t->name, (unsigned long long)offset,
                         r->alignment);
    if (offset > r->n_bytes || t->n_bytes > r->n_bytes - (size_t)offset)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" begins at byte %llu of the "
                         "data and takes %zu, but the file has %zu; the "
                         "download is probably incomplete",
                         r->file, t->name, (unsigned long long)offset,
                         t->n_bytes, r->n_bytes);
    t->data = r->bytes + (size_t)offset;
    return UNSTIR_OK;
}

static enum unstir_status read_tensor(struct reader *r,
                                      struct unstir_error *err)
{
    char name[MAX_NAME_BYTES + 1];
    struct tensor_view t = {.name = name};
    struct span span;

    TRY(take_name(r, "the name of a tensor", &span, err));
    memcpy(name, span.bytes, span.n);
    name[span.n] = '\0';
    TRY(take_shape(r, &t, err));
    TRY(take_type(r, &t, err));
    TRY(take_offset(r, &t, err));
    TRY(restore_shape(r, &t, err));
    TRY(weights_add(r->weights, &t, err));
    return weights_rename(r->weights, r->weights->n - 1, name, err);
}

static int compare_places(const void *a, const void *b)
{
    const unsigned char *p = ((const struct tensor_view *)a)->data;
    const unsigned char *q = ((const struct tensor_view *)b)->data;

    return (p > q) - (p < q);
}

/* In order, each tensor begins at the first aligned byte behind the one before
 * and the file ends with the last, or with the padding behind it. */
static enum unstir_status check_tiling(struct reader *r,
                                       struct unstir_error *err)
{
    size_t n_data = r->n_bytes - r->data_at, end = 0;
    struct weights *w = r->weights;

    if (w->n > 1)
        qsort(w->views, w->n, sizeof *w->views, compare_places);
    for (size_t i = 0; i < w->n; i++) {
        struct tensor_view *t = &w->views[i];
        size_t begin = (size_t)((const unsigned char *)t->data - r->bytes);
        size_t wanted = size_align(end, r->alignment);

        if (begin != wanted)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.180s: tensor \"%.100s\" begins at byte %zu of "
                             "the data, must be %zu (%s)",
                             r->file, t->name, begin, wanted,
                             begin < wanted ? "overlap" : "hole");
        end = begin + t->n_bytes;
        if (end > n_data)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.180s: tensor \"%.100s\" ends at byte %zu but "
                             "the file has %zu bytes of data; the download is "
                             "probably incomplete",
                             r->file, t->name, end, n_data);
        t->data = r->bytes + r->data_at + begin;
    }
    if (n_data != end && n_data != size_align(end, r->alignment))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: %zu bytes of data behind the last tensor",
                         r->file, n_data - end);
    return UNSTIR_OK;
}

/* -- the whole --------------------------------------------------------- */

static enum unstir_status check_version(const struct reader *r,
                                        uint64_t version,
                                        struct unstir_error *err)
{
    if (version == 2 || version == 3)
        return UNSTIR_OK;
    if ((version & 0xffff) == 0 && version != 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "%.200s: a GGUF file for big-endian machines",
                         r->file);
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%.200s: GGUF version %llu; supported: 2 and 3", r->file,
                     (unsigned long long)version);
}

static enum unstir_status read_head(struct reader *r, struct unstir_error *err)
{
    uint64_t version;

    if (!gguf_is(r->bytes, r->n_bytes))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: does not begin with \"GGUF\"", r->file);
    r->at = sizeof MAGIC - 1;
    TRY(take_number(r, 4, "the head", &version, err));
    TRY(check_version(r, version, err));
    TRY(take_number(r, 8, "the head", &r->n_tensors, err));
    TRY(take_number(r, 8, "the head", &r->n_keys, err));
    if (r->n_tensors > MAX_TENSORS || r->n_keys > MAX_KEYS)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: %llu tensors and %llu keys; at most %u and "
                         "%u are allowed",
                         r->file, (unsigned long long)r->n_tensors,
                         (unsigned long long)r->n_keys, MAX_TENSORS, MAX_KEYS);
    return UNSTIR_OK;
}

static enum unstir_status read_all(struct reader *r, struct unstir_error *err)
{
    TRY(read_head(r, err));
    TRY(read_keys(r, err));
    TRY(find_alignment(r, err));
    for (uint64_t i = 0; i < r->n_tensors; i++)
        TRY(read_tensor(r, err));
    r->data_at = size_align(r->at, r->alignment);
    if (r->data_at > r->n_bytes) {
        if (r->n_tensors > 0)
            return cut_off(r, "the padding before the data", err);
        r->data_at = r->n_bytes;
    }
    TRY(check_tiling(r, err));
    return weights_seal(r->weights, err);
}

bool gguf_is(const void *bytes, size_t n)
{
    return n >= sizeof MAGIC - 1 && memcmp(bytes, MAGIC, sizeof MAGIC - 1) == 0;
}

enum unstir_status gguf_read(struct weights *w, struct json **header,
                             const char *name, const unsigned char *bytes,
                             size_t n_bytes, struct unstir_error *err)
{
    struct reader r = {
        .file = name, .bytes = bytes, .n_bytes = n_bytes, .weights = w};
    enum unstir_status status = read_all(&r, err);

    if (status == UNSTIR_OK)
        status = make_header(&r, header, err);
    alloc_free(r.keys);
    return status;
}
