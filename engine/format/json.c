/* json.c - reading and writing JSON; the only file that sees jansson.
 *
 * jansson parses, but it has no depth limit as low as ours and would build
 * a tree of many gigabytes from a file of commas; so a scan over the raw
 * bytes bounds depth and number of values before it is called.  A value of
 * ours is a json_t of jansson's under another name.
 *
 * Writing needs no tree: the builder appends text.  It stays silent after a
 * failure and json_finish() reports it, so that callers need no check a line.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jansson and our header share some names; these of jansson's are not used
 * under them.  Its JSON_* macros must not be used below either: they would
 * meet our enumerators. */
#define json_type    jansson_type
#define json_string  jansson_new_string
#define json_real    jansson_new_real
#define JSON_OBJECT  JANSSON_OBJECT
#define JSON_ARRAY   JANSSON_ARRAY
#define JSON_STRING  JANSSON_STRING
#define JSON_INTEGER JANSSON_INTEGER
#define JSON_REAL    JANSSON_REAL
#define JSON_TRUE    JANSSON_TRUE
#define JSON_FALSE   JANSSON_FALSE
#define JSON_NULL    JANSSON_NULL
#include <jansson.h>
#undef json_type
#undef json_string
#undef json_real
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_INTEGER
#undef JSON_REAL
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL

#include "base/alloc.h"
#include "base/mapfile.h"

#define MAX_DEPTH 32

/* The largest honest document is a safetensors header of 1e5 tensors with
 * about 13 values each. */
#define MAX_VALUES 2000000

#define MAX_DIGITS 18 /* of a whole number that 64 bits hold for certain      */

/* Largest whole number that every JSON reader keeps exactly: 2^53 - 1. */
#define MAX_EXACT 9007199254740991u

/* -- reading --------------------------------------------------------------- */

static const json_t *inner(const struct json *v)
{
    return (const json_t *)v;
}

/* Depth and number of values, by looking at brackets and commas outside of
 * strings only; whether it is JSON at all is the parser's business. */
static enum unstir_status scan(const char *text, size_t n,
                               struct unstir_error *err)
{
    size_t depth = 0, n_values = 0;
    bool is_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (is_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                is_string = false;
            continue;
        }
        if (c == '"')
            is_string = true;
        else if (c == ',' || c == ':')
            n_values++;
        else if (c == '[' || c == '{')
            depth++, n_values++;
        else if ((c == ']' || c == '}') && depth > 0)
            depth--;
        if (depth > MAX_DEPTH)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "JSON nested deeper than %d levels at byte %zu",
                             MAX_DEPTH, i);
        if (n_values > MAX_VALUES)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "JSON of more than %d values", MAX_VALUES);
    }
    return UNSTIR_OK;
}

enum unstir_status json_parse(struct json **root, const char *text, size_t n,
                              struct unstir_error *err)
{
    json_error_t why;
    *root = NULL;
    TRY(scan(text, n, err));
    json_t *doc =
        json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!doc && json_error_code(&why) == json_error_out_of_memory)
        return error_set(err, UNSTIR_ERR_NOMEM, "no memory to parse JSON");
    if (!doc)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "not valid JSON: %s at line %d, column %d", why.text,
                         why.line, why.column);
    *root = (struct json *)doc;
    return UNSTIR_OK;
}

enum unstir_status json_read(struct json **root, const char *path,
                             size_t max_bytes, struct unstir_error *err)
{
    enum unstir_status status;
    char *text;
    size_t n;

    *root = NULL;
    TRY(mapfile_read(&text, &n, path, max_bytes, err));
    status = json_parse(root, text, n, err);
    alloc_free(text);
    return error_prefix(status, path, err);
}

void json_widen_integers(char *text, size_t n)
{
    bool is_string = false;

    for (size_t i = 0, end; i < n; i = end) {
        end = i + 1;
        if (is_string && text[i] == '\\')
            end++;
        else if (text[i] == '"')
            is_string = !is_string;
        if (is_string || text[i] < '0' || text[i] > '9')
            continue;
        while (end < n && text[end] && strchr("0123456789.eE+-", text[end]))
            end++;
        bool is_whole = true;
        for (size_t k = i; k < end; k++)
            is_whole = is_whole && text[k] >= '0' && text[k] <= '9';
        if (is_whole && end - i > MAX_DIGITS)
            memcpy(text + end - 3, "e03", 3);
    }
}

void json_blank_infinities(char *text, size_t n)
{
    static const char infinity[] = "Infinity";
    size_t length = sizeof infinity - 1;
    bool is_string = false;

    for (size_t i = 0; i + length <= n; i++) {
        if (is_string && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            is_string = !is_string;
        } else if (!is_string && memcmp(text + i, infinity, length) == 0) {
            if (i > 0 && text[i - 1] == '-')
                text[i - 1] = ' ';
            memcpy(text + i, "null    ", length);
            i += length - 1;
        }
    }
}

void json_free(struct json *root)
{
    json_decref((json_t *)root);
}

enum json_type json_type(const struct json *v)
{
    if (!v)
        return JSON_NULL;
    switch (inner(v)->type) {
    case JANSSON_OBJECT:
        return JSON_OBJECT;
    case JANSSON_ARRAY:
        return JSON_ARRAY;
    case JANSSON_STRING:
        return JSON_STRING;
    case JANSSON_INTEGER:
        return JSON_INT;
    case JANSSON_REAL:
        return JSON_REAL;
    case JANSSON_TRUE:
    case JANSSON_FALSE:
        return JSON_BOOL;
    case JANSSON_NULL:
        break;
    }
    return JSON_NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
    return (const struct json *)json_object_get(inner(object), key);
}

size_t json_len(const struct json *v)
{
    enum json_type type = json_type(v);
    if (type == JSON_ARRAY)
        return json_array_size(inner(v));
    return type == JSON_OBJECT ? json_object_size(inner(v)) : 0;
}

const struct json *json_at(const struct json *array, size_t i)
{
    return (const struct json *)json_array_get(inner(array), i);
}

/* *i is a cursor: 0 before the first member, then jansson's own iterator,
 * then 1, which no pointer is. */
bool json_each(const struct json *object, size_t *i, const char **key,
               const struct json **value)
{
    json_t *o = (json_t *)object;
    if (json_type(object) != JSON_OBJECT || *i == 1)
        return false;
    void *iter = *i == 0 ? json_object_iter(o) : (void *)(uintptr_t)*i;
    if (!iter) {
        *i = 1;
        return false;
    }
    *key = json_object_iter_key(iter);
    *value = (const struct json *)json_object_iter_value(iter);
    void *next = json_object_iter_next(o, iter);
    *i = next ? (size_t)(uintptr_t)next : 1;
    return true;
}

bool json_bool(const struct json *v)
{
    return v && inner(v)->type == JANSSON_TRUE;
}

int64_t json_int(const struct json *v)
{
    return v ? json_integer_value(inner(v)) : 0;
}

double json_real(const struct json *v)
{
    return v ? json_number_value(inner(v)) : 0.0;
}

const char *json_string(const struct json *v)
{
    const char *text = v ? json_string_value(inner(v)) : NULL;
    return text ? text : "";
}

static const char *type_name(const struct json *v)
{
    switch (json_type(v)) {
    case JSON_NULL:
        return "null";
    case JSON_BOOL:
        return "a boolean";
    case JSON_INT:
        return "a whole number";
    case JSON_REAL:
        return "a number";
    case JSON_STRING:
        return "a string";
    case JSON_ARRAY:
        return "an array";
    case JSON_OBJECT:
        break;
    }
    return "an object";
}

static enum unstir_status wrong_type(const char *key, const char *wanted,
                                     const struct json *v,
                                     struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "\"%s\" is %s, must be %s", key,
                     type_name(v), wanted);
}

enum unstir_status json_get_bool(const struct json *object, const char *key,
                                 bool fallback, bool *out,
                                 struct unstir_error *err)
{
    const struct json *v = json_get(object, key);
    enum json_type type = json_type(v);
    *out = fallback;
    if (type == JSON_NULL)
        return UNSTIR_OK;
    if (type != JSON_BOOL)
        return wrong_type(key, "true or false", v, err);
    *out = json_bool(v);
    return UNSTIR_OK;
}

enum unstir_status json_get_int(const struct json *object, const char *key,
                                int64_t fallback, int64_t min, int64_t max,
                                int64_t *out, struct unstir_error *err)
{
    const struct json *v = json_get(object, key);
    enum json_type type = json_type(v);
    *out = fallback;
    if (type == JSON_NULL)
        return UNSTIR_OK;
    double real = json_real(v);
    bool is_whole =
        type == JSON_INT ||
        (type == JSON_REAL && fabs(real) < 0x1p53 && real == floor(real));
    if (!is_whole)
        return wrong_type(key, "a whole number", v, err);
    int64_t x = type == JSON_INT ? json_int(v) : (int64_t)real;
    if (x < min || x > max)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "\"%s\" is %lld, must be %lld..%lld", key,
                         (long long)x, (long long)min, (long long)max);
    *out = x;
    return UNSTIR_OK;
}

enum unstir_status json_get_real(const struct json *object, const char *key,
                                 double fallback, double *out,
                                 struct unstir_error *err)
{
    const struct json *v = json_get(object, key);
    enum json_type type = json_type(v);
    *out = fallback;
    if (type == JSON_NULL)
        return UNSTIR_OK;
    if (type != JSON_INT && type != JSON_REAL)
        return wrong_type(key, "a number", v, err);
    *out = json_real(v);
    return UNSTIR_OK;
}

enum unstir_status json_get_string(const struct json *object, const char *key,
                                   const char *fallback, const char **out,
                                   struct unstir_error *err)
{
    const struct json *v = json_get(object, key);
    enum json_type type = json_type(v);
    *out = fallback;
    if (type == JSON_NULL)
        return UNSTIR_OK;
    if (type != JSON_STRING)
        return wrong_type(key, "a string", v, err);
    *out = json_string(v);
    return UNSTIR_OK;
}

/* -- writing --------------------------------------------------------------- */

struct json_writer {
    char *text;
    size_t n, capacity;
    char closers[MAX_DEPTH]; /* of the open containers                       */
    bool is_empty[MAX_DEPTH + 1];
    size_t depth;
    struct unstir_error why; /* the first failure                            */
};

enum unstir_status json_writer_new(struct json_writer **out,
                                   struct unstir_error *err)
{
    *out = NULL;
    TRY(alloc_zero(out, 1, sizeof(struct json_writer), err));
    (*out)->is_empty[0] = true;
    return UNSTIR_OK;
}

void json_writer_free(struct json_writer *w)
{
    if (!w)
        return;
    alloc_free(w->text);
    alloc_free(w);
}

static void put_bytes(struct json_writer *w, const char *bytes, size_t n)
{
    if (w->why.status != UNSTIR_OK ||
        alloc_grow(&w->text, &w->capacity, w->n + n + 1, 1, &w->why) !=
            UNSTIR_OK)
        return;
    memcpy(w->text + w->n, bytes, n);
    w->n += n;
}

static void put_text(struct json_writer *w, const char *text)
{
    put_bytes(w, text, strlen(text));
}

static void put_quoted(struct json_writer *w, const char *s)
{
    put_text(w, "\"");
    for (const char *p = s; *p;) {
        size_t n = 0;
        while ((unsigned char)p[n] >= 0x20 && p[n] != '"' && p[n] != '\\')
            n++;
        put_bytes(w, p, n);
        p += n;
        if (!*p)
            break;
        char escape[8];
        if (*p == '\n')
            snprintf(escape, sizeof(escape), "\\n");
        else if (*p == '\t')
            snprintf(escape, sizeof(escape), "\\t");
        else if (*p == '"' || *p == '\\')
            snprintf(escape, sizeof(escape), "\\%c", *p);
        else
            snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char)*p);
        put_text(w, escape);
        p++;
    }
    put_text(w, "\"");
}

/* What stands in front of every value: a comma, the key. */
static void put_lead(struct json_writer *w, const char *key)
{
    if (!w->is_empty[w->depth])
        put_text(w, ",");
    w->is_empty[w->depth] = false;
    if (key) {
        put_quoted(w, key);
        put_text(w, ":");
    }
}

static void open_container(struct json_writer *w, const char *key,
                           const char *opener, char closer)
{
    if (w->depth == MAX_DEPTH) {
        error_set(&w->why, UNSTIR_ERR_INTERNAL,
                  "JSON written deeper than %d levels", MAX_DEPTH);
        return;
    }
    put_lead(w, key);
    put_text(w, opener);
    w->closers[w->depth++] = closer;
    w->is_empty[w->depth] = true;
}

void json_open_object(struct json_writer *w, const char *key)
{
    open_container(w, key, "{", '}');
}

void json_open_array(struct json_writer *w, const char *key)
{
    open_container(w, key, "[", ']');
}

void json_close(struct json_writer *w)
{
    if (w->depth == 0)
        return;
    put_bytes(w, &w->closers[--w->depth], 1);
}

void json_put_string(struct json_writer *w, const char *key, const char *v)
{
    put_lead(w, key);
    put_quoted(w, v);
}

void json_put_int(struct json_writer *w, const char *key, int64_t v)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)v);
    put_lead(w, key);
    put_text(w, text);
}

void json_put_u64(struct json_writer *w, const char *key, uint64_t v)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    put_lead(w, key);
    if (v > MAX_EXACT)
        put_quoted(w, text);
    else
        put_text(w, text);
}

/* The fewest digits that read back as the same double.  printf and strtod
 * follow the locale alike, and a comma is put right at the end. */
void json_put_real(struct json_writer *w, const char *key, double v)
{
    char text[40];
    if (!isfinite(v)) {
        json_put_null(w, key);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    char *comma = strchr(text, ',');
    if (comma)
        *comma = '.';
    put_lead(w, key);
    put_text(w, text);
    if (!strpbrk(text, ".e"))
        put_text(w, ".0");
}

void json_put_bool(struct json_writer *w, const char *key, bool v)
{
    put_lead(w, key);
    put_text(w, v ? "true" : "false");
}

void json_put_null(struct json_writer *w, const char *key)
{
    put_lead(w, key);
    put_text(w, "null");
}

/* Recursion is bounded: a parsed document has at most MAX_DEPTH levels. */
void json_put_value(struct json_writer *w, const char *key,
                    const struct json *v)
{
    const char *name;
    const struct json *member;
    size_t i = 0;
    switch (json_type(v)) {
    case JSON_NULL:
        json_put_null(w, key);
        break;
    case JSON_BOOL:
        json_put_bool(w, key, json_bool(v));
        break;
    case JSON_INT:
        json_put_int(w, key, json_int(v));
        break;
    case JSON_REAL:
        json_put_real(w, key, json_real(v));
        break;
    case JSON_STRING:
        json_put_string(w, key, json_string(v));
        break;
    case JSON_ARRAY:
        json_open_array(w, key);
        for (; i < json_len(v); i++)
            json_put_value(w, NULL, json_at(v, i));
        json_close(w);
        break;
    case JSON_OBJECT:
        json_open_object(w, key);
        while (json_each(v, &i, &name, &member))
            json_put_value(w, name, member);
        json_close(w);
        break;
    }
}

static void put_newline(struct json_writer *w, size_t depth)
{
    put_text(w, "\n");
    for (size_t i = 0; i < depth; i++)
        put_text(w, "  ");
}

/* The same document with a line a value; empty containers stay closed up. */
static void indent(struct json_writer *to, const struct json_writer *from)
{
    size_t depth = 0;
    bool is_string = false;
    for (size_t i = 0; i < from->n; i++) {
        char c = from->text[i];
        if (is_string) {
            size_t n = c == '\\' ? 2 : 1;
            put_bytes(to, &from->text[i], n);
            i += n - 1;
            is_string = c != '"';
            continue;
        }
        bool is_open = c == '{' || c == '[';
        bool is_closed_at_once =
            is_open && (from->text[i + 1] == '}' || from->text[i + 1] == ']');
        if (is_closed_at_once) {
            put_bytes(to, &from->text[i++], 2);
            continue;
        }
        if (c == '}' || c == ']')
            put_newline(to, --depth);
        put_bytes(to, &c, 1);
        if (is_open)
            depth++;
        if (is_open || c == ',')
            put_newline(to, depth);
        if (c == ':')
            put_text(to, " ");
        is_string = c == '"';
    }
    put_text(to, "\n");
}

enum unstir_status json_finish(char **text, struct json_writer *w,
                               bool is_indented, struct unstir_error *err)
{
    struct json_writer pretty = {0};
    struct json_writer *done = w;
    enum unstir_status status;
    *text = NULL;
    put_bytes(w, "", 0);
    while (w->depth > 0)
        json_close(w);
    if (is_indented && w->why.status == UNSTIR_OK) {
        indent(&pretty, w);
        done = &pretty;
    }
    status = done->why.status;
    if (status == UNSTIR_OK) {
        done->text[done->n] = '\0';
        *text = done->text;
        done->text = NULL;
    } else {
        error_set(err, status, "%s", done->why.detail);
    }
    alloc_free(pretty.text);
    json_writer_free(w);
    return status;
}

enum unstir_status json_finish_value(struct json **root, struct json_writer *w,
                                     struct unstir_error *err)
{
    enum unstir_status status;
    char *text;

    *root = NULL;
    TRY(json_finish(&text, w, false, err));
    status = json_parse(root, text, strlen(text), err);
    alloc_free(text);
    return status;
}
