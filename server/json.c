/* json.c - strict JSON in; the only file with jansson.h.
 *
 * Depth is counted on the bytes before parsing: the parser's own limit is
 * 2048 and it recurses.  Violations carry the value as it came, cut to a
 * length that cannot fill a log or a reply.
 *
 * SPDX-License-Identifier: MIT
 */
#include "json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unstir.h"

#define GOT_MAX_BYTES    100
#define STRING_MAX_BYTES 4096
#define MAX_NAMES        128
#define POINTER_BYTES    256

struct jdoc {
    json_t *root;
};

/* -------------------------------------------------------------- parsing -- */

struct limits {
    size_t depth, n_values;
};

/* What a byte outside strings adds to; false: that passes a limit. */
static bool count(struct limits *limits, char c)
{
    if (c == '{' || c == '[')
        limits->depth++;
    else if ((c == '}' || c == ']') && limits->depth > 0)
        limits->depth--;
    limits->n_values += c == ',' || c == '{' || c == '[';
    return limits->depth <= JSON_MAX_DEPTH &&
           limits->n_values <= JSON_MAX_VALUES;
}

/* Byte where a limit is passed, or n. */
static size_t limit_at(const char *bytes, size_t n, struct limits *limits)
{
    bool in_string = false;
    size_t i;

    for (i = 0; i < n; i++) {
        char c = bytes[i];

        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && !count(limits, c))
            return i;
    }
    return n;
}

/* The parser's text, without the names of its own options. */
static const char *plain_words(const json_error_t *error)
{
    return json_error_code(error) == json_error_null_character
               ? "\\u0000 is not allowed in a string"
               : error->text;
}

struct jdoc *jdoc_parse(const char *bytes, size_t n, char *why, size_t why_size)
{
    struct limits limits = {0, 0};
    size_t at = limit_at(bytes, n, &limits);
    struct jdoc *doc;
    json_error_t error;

    if (at < n) {
        bool is_deep = limits.depth > JSON_MAX_DEPTH;

        (void)snprintf(why, why_size,
                       is_deep ? "byte %zu: nested more than %d levels deep"
                               : "byte %zu: more than %d values",
                       at, is_deep ? JSON_MAX_DEPTH : JSON_MAX_VALUES);
        return NULL;
    }
    doc = mem_zero(1, sizeof *doc);
    if (!doc) {
        (void)snprintf(why, why_size, "out of memory");
        return NULL;
    }
    doc->root =
        json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!doc->root) {
        (void)snprintf(why, why_size, "line %d, column %d: %s", error.line,
                       error.column, plain_words(&error));
        mem_free(doc);
        return NULL;
    }
    return doc;
}

void jdoc_free(struct jdoc *doc)
{
    if (!doc)
        return;
    json_decref(doc->root);
    mem_free(doc);
}

bool jdoc_is_object(const struct jdoc *doc)
{
    return json_is_object(doc->root);
}

const char *jdoc_string(const struct jdoc *doc, const char *name)
{
    return json_string_value(json_object_get(doc->root, name));
}

/* ----------------------------------------------------- values as JSON text */

/* Longest prefix of at most `max` bytes that ends at a character. */
static size_t utf8_prefix(const char *text, size_t n, size_t max)
{
    if (n <= max)
        return n;
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    return max;
}

static const char *quote_n(struct mem_arena *arena, const char *text, size_t n)
{
    struct buf buf;
    const char *copy;

    buf_init(&buf, 6 * n + 64);
    json_escape(&buf, text, n);
    copy = buf.failed ? NULL : mem_arena_strndup(arena, buf.bytes, buf.n);
    buf_fini(&buf);
    return copy;
}

const char *json_quote(struct mem_arena *arena, const char *text)
{
    return text ? quote_n(arena, text, strlen(text)) : NULL;
}

static const char *text_of(const json_t *value, struct mem_arena *arena)
{
    size_t n;

    switch (json_typeof(value)) {
    case JSON_STRING:
        n = utf8_prefix(json_string_value(value), json_string_length(value),
                        GOT_MAX_BYTES);
        if (n == json_string_length(value))
            return quote_n(arena, json_string_value(value), n);
        return json_quote(arena, mem_arena_printf(arena, "%.*s...", (int)n,
                                                  json_string_value(value)));
    case JSON_INTEGER:
        return mem_arena_printf(arena, "%" PRId64,
                                (int64_t)json_integer_value(value));
    case JSON_REAL:
        return mem_arena_printf(arena, "%.15g", json_real_value(value));
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    case JSON_ARRAY:
        return "\"an array\"";
    case JSON_OBJECT:
        return "\"an object\"";
    }
    return "null";
}

/* One step of a pointer from *value; false if there is none. */
static bool step_into(const json_t **value, const char *segment, size_t n)
{
    char name[128];
    size_t k = 0;
    size_t i;

    for (i = 0; i < n && k + 1 < sizeof name; i++) {
        char c = segment[i];

        if (c == '~' && i + 1 < n)
            c = segment[++i] == '1' ? '/' : '~';
        name[k++] = c;
    }
    name[k] = 0;
    if (json_is_object(*value))
        *value = json_object_get(*value, name);
    else if (json_is_array(*value))
        *value = json_array_get(*value, (size_t)strtoul(name, NULL, 10));
    else
        *value = NULL;
    return *value != NULL;
}

const char *jdoc_text(const struct jdoc *doc, const char *pointer,
                      struct mem_arena *arena)
{
    const json_t *value = doc->root;

    while (*pointer == '/') {
        size_t n = strcspn(++pointer, "/");

        if (!step_into(&value, pointer, n))
            return NULL;
        pointer += n;
    }
    return text_of(value, arena);
}

/* --------------------------------------------------------- nearest names -- */

int json_nearest(const char *text, const char *const *names)
{
    size_t n = 0;

    while (names[n])
        n++;
    return unstir_nearest(text, names, n);
}

/* ------------------------------------------------------ fields to a struct */

struct reader {
    struct problem *problem;
    const char *prefix; /* pointer of the object being read                  */
    bool is_lenient;
    bool is_right;
};

/* Pointer of `name` below the prefix, escaped (RFC 6901), cut if long. */
static const char *pointer_to(const struct reader *reader, const char *name)
{
    struct buf buf;
    const char *copy;
    const char *p;

    buf_init(&buf, POINTER_BYTES);
    (void)buf_text(&buf, reader->prefix);
    (void)buf_byte(&buf, '/');
    for (p = name; *p && buf.n + 8 < POINTER_BYTES; p++) {
        if (*p == '~' || *p == '/')
            (void)buf_text(&buf, *p == '~' ? "~0" : "~1");
        else
            (void)buf_byte(&buf, *p);
    }
    buf.n = utf8_prefix(buf.bytes ? buf.bytes : "", buf.n, buf.n);
    copy = buf.bytes
               ? mem_arena_strndup(reader->problem->arena, buf.bytes, buf.n)
               : NULL;
    buf_fini(&buf);
    return copy ? copy : "/";
}

static void violation(struct reader *reader, const char *name,
                      const json_t *value, const char *nearest,
                      const char *format, ...) BUF_PRINTF(5, 6);
static void violation(struct reader *reader, const char *name,
                      const json_t *value, const char *nearest,
                      const char *format, ...)
{
    struct mem_arena *arena = reader->problem->arena;
    va_list args;

    reader->is_right = false;
    va_start(args, format);
    problem_vadd(reader->problem, pointer_to(reader, name),
                 value ? text_of(value, arena) : NULL, nearest, format, args);
    va_end(args);
}

/* "a|b|c" to at most MAX_NAMES names in the arena, ended by NULL. */
static const char *const *choice_names(const char *choices,
                                       struct mem_arena *arena)
{
    const char **names = mem_arena_zero(arena, MAX_NAMES + 1, sizeof *names);
    size_t k = 0;

    while (names && *choices && k < MAX_NAMES) {
        size_t n = strcspn(choices, "|");

        names[k] = mem_arena_strndup(arena, choices, n);
        if (!names[k++])
            return NULL;
        choices += n + (choices[n] == '|');
    }
    return names;
}

static const char *name_array(const char *const *names, int only,
                              struct mem_arena *arena)
{
    const char *text = "";
    size_t i;

    for (i = 0; names[i]; i++) {
        if (only >= 0 && (size_t)only != i)
            continue;
        text = mem_arena_printf(arena, "%s%s%s", text, *text ? "," : "",
                                json_quote(arena, names[i]));
        if (!text)
            return NULL;
    }
    return mem_arena_printf(arena, "[%s]", text);
}

static bool take_choice(struct reader *reader, const struct json_field *field,
                        const json_t *value, const char *text)
{
    struct mem_arena *arena = reader->problem->arena;
    const char *const *names = choice_names(field->choices, arena);
    size_t i;

    if (!names)
        return false;
    for (i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0)
            return true;
    violation(reader, field->name, value,
              name_array(names, json_nearest(text, names), arena),
              "must be one of %s", field->choices);
    return false;
}

static const char *take_text(struct reader *reader,
                             const struct json_field *field,
                             const json_t *value)
{
    size_t limit = field->max_bytes ? field->max_bytes : STRING_MAX_BYTES;
    size_t n = json_string_length(value);
    const char *text = json_string_value(value);
    const char *copy;

    if (n > limit) {
        violation(reader, field->name, value, NULL,
                  "is %zu bytes long; at most %zu are allowed", n, limit);
        return NULL;
    }
    if (field->choices && !take_choice(reader, field, value, text))
        return NULL;
    if (field->kind == JSON_KIND_FILE)
        return text;
    copy = mem_arena_strndup(reader->problem->arena, text, n);
    if (!copy)
        violation(reader, field->name, NULL, NULL, "does not fit in memory");
    return copy;
}

/* The integer in `value`; false after a violation. */
static bool take_int(struct reader *reader, const struct json_field *field,
                     const json_t *value, int64_t *out)
{
    struct mem_arena *arena = reader->problem->arena;
    bool is_limited = field->min != 0 || field->max != 0;
    double real;

    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        if (*out < -JSON_SAFE_INTEGER) /* leaves INT64_MIN to the callers    */
            *out = -JSON_SAFE_INTEGER;
    } else if (json_is_real(value)) {
        real = json_real_value(value);
        if (real != floor(real)) {
            violation(
                reader, field->name, value,
                mem_arena_printf(arena, "[%.0f,%.0f]", floor(real), ceil(real)),
                "must be a whole number");
            return false;
        }
        /* Larger ones are whole too; no field takes them. */
        *out = (int64_t)fmin(fmax(real, -(double)JSON_SAFE_INTEGER),
                             (double)JSON_SAFE_INTEGER);
    } else {
        violation(reader, field->name, value, NULL, "must be a whole number");
        return false;
    }
    if (is_limited &&
        ((double)*out < field->min || (double)*out > field->max)) {
        violation(reader, field->name, value,
                  mem_arena_printf(arena, "[%.0f]",
                                   (double)*out < field->min ? field->min
                                                             : field->max),
                  "must be %.0f..%.0f", field->min, field->max);
        return false;
    }
    return true;
}

/* A whole number, written as one or like 3.0 or 1e3, which JSON Schema takes
 * for the same; above 2^53-1 a real does not say which one is meant.        */
static bool is_whole(const json_t *value, int64_t *out)
{
    double real;

    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    real = json_is_real(value) ? json_real_value(value) : 0.5;
    if (real != floor(real) || fabs(real) > (double)JSON_SAFE_INTEGER)
        return false;
    *out = (int64_t)real;
    return true;
}

static bool take_seed(struct reader *reader, const struct json_field *field,
                      const json_t *value, uint64_t *out)
{
    const char *text = json_string_value(value);
    const char *nearest = NULL;
    char *end = NULL;
    int64_t whole;

    if (is_whole(value, &whole)) {
        if (whole >= 0) {
            *out = (uint64_t)whole;
            return true;
        }
        nearest = "[0]";
    }
    if (text && *text && strspn(text, "0123456789") == strlen(text)) {
        errno = 0;
        *out = strtoull(text, &end, 10);
        if (errno == 0)
            return true;
        nearest = "[\"18446744073709551615\"]";
    }
    violation(reader, field->name, value, nearest,
              "must be a whole number from 0, or decimal digits in a string, "
              "at most 18446744073709551615");
    return false;
}

static bool take_number(struct reader *reader, const struct json_field *field,
                        const json_t *value, double *out)
{
    struct mem_arena *arena = reader->problem->arena;

    if (!json_is_number(value)) {
        violation(reader, field->name, value, NULL, "must be a number");
        return false;
    }
    *out = json_number_value(value);
    if ((field->min != 0 || field->max != 0) &&
        !(*out >= field->min && *out <= field->max)) {
        violation(reader, field->name, value,
                  mem_arena_printf(arena, "[%.15g]",
                                   *out < field->min ? field->min : field->max),
                  "must be %.15g..%.15g", field->min, field->max);
        return false;
    }
    return true;
}

static const char *take_label(struct reader *reader,
                              const struct json_field *field,
                              const json_t *value)
{
    int64_t whole;

    if (json_is_string(value))
        return take_text(reader, field, value);
    if (is_whole(value, &whole))
        return mem_arena_printf(reader->problem->arena, "%" PRId64, whole);
    violation(reader, field->name, value, NULL,
              "must be a string or a whole number");
    return NULL;
}

static void read_object(struct reader *reader, const json_t *object,
                        const struct json_field *fields, char *out);
static bool take(struct reader *reader, const struct json_field *field,
                 const json_t *value, char *out);

static bool take_object(struct reader *reader, const struct json_field *field,
                        const json_t *value, char *out)
{
    const char *outer = reader->prefix;

    if (!json_is_object(value)) {
        violation(reader, field->name, value, NULL, "must be an object");
        return false;
    }
    reader->prefix = pointer_to(reader, field->name);
    read_object(reader, value, field->fields, out);
    reader->prefix = outer;
    return true;
}

/* Item i of a list, or one that stands for the list. */
static bool take_item(struct reader *reader, const struct json_field *field,
                      const json_t *value, const char *name, char *out)
{
    struct json_field item = {.name = name, .fields = field->fields};

    if (!json_is_string(value))
        return take_object(reader, &item, value, out);
    item = field->fields[0];
    item.name = name;
    return take(reader, &item, value, out);
}

static bool take_items(struct reader *reader, const struct json_field *field,
                       const json_t *value, struct json_list *list)
{
    const char *outer = reader->prefix;
    bool is_right = true;

    reader->prefix = pointer_to(reader, field->name);
    for (size_t i = 0; i < list->n; i++) {
        char name[24];

        (void)snprintf(name, sizeof name, "%zu", i);
        is_right &= take_item(reader, field, json_array_get(value, i), name,
                              (char *)list->items + i * field->item_bytes);
    }
    reader->prefix = outer;
    return is_right;
}

static bool take_list(struct reader *reader, const struct json_field *field,
                      const json_t *value, struct json_list *list)
{
    bool is_list = json_is_array(value);

    list->n = is_list ? json_array_size(value) : 1;
    if (list->n > field->max_items) {
        violation(reader, field->name, value, NULL,
                  "has %zu items; at most %zu are allowed", list->n,
                  field->max_items);
        return false;
    }
    list->items =
        mem_arena_zero(reader->problem->arena, list->n + 1, field->item_bytes);
    if (!list->items) {
        violation(reader, field->name, NULL, NULL, "does not fit in memory");
        return false;
    }
    if (is_list)
        return take_items(reader, field, value, list);
    if (!json_is_string(value) && !json_is_object(value)) {
        violation(reader, field->name, value, NULL, "must be a list");
        return false;
    }
    return take_item(reader, field, value, field->name, list->items);
}

static const char *take_string(struct reader *reader,
                               const struct json_field *field,
                               const json_t *value)
{
    if (json_is_string(value))
        return take_text(reader, field, value);
    violation(reader, field->name, value, NULL, "must be a string");
    return NULL;
}

/* One value into its place; true if it was taken. */
static bool take(struct reader *reader, const struct json_field *field,
                 const json_t *value, char *out)
{
    union {
        const char *text;
        int64_t integer;
        uint64_t seed;
        double number;
        bool flag;
        struct json_list list;
    } v;
    size_t size = 0;

    switch (field->kind) {
    case JSON_KIND_STRING:
    case JSON_KIND_FILE:
    case JSON_KIND_LABEL:
        v.text = field->kind == JSON_KIND_LABEL
                     ? take_label(reader, field, value)
                     : take_string(reader, field, value);
        size = v.text ? sizeof v.text : 0;
        break;
    case JSON_KIND_BOOL:
        v.flag = json_is_true(value);
        size = sizeof v.flag;
        if (!json_is_boolean(value)) {
            violation(reader, field->name, value, "[true,false]",
                      "must be true or false");
            return false;
        }
        break;
    case JSON_KIND_INT:
        size =
            take_int(reader, field, value, &v.integer) ? sizeof v.integer : 0;
        break;
    case JSON_KIND_SEED:
        size = take_seed(reader, field, value, &v.seed) ? sizeof v.seed : 0;
        break;
    case JSON_KIND_NUMBER:
        size =
            take_number(reader, field, value, &v.number) ? sizeof v.number : 0;
        break;
    case JSON_KIND_OBJECT:
        return take_object(reader, field, value, out + field->offset);
    case JSON_KIND_LIST:
        size = take_list(reader, field, value, &v.list) ? sizeof v.list : 0;
        break;
    }
    if (size)
        memcpy(out + field->offset, &v, size);
    return size != 0;
}

static const struct json_field *find_field(const struct json_field *fields,
                                           const char *name)
{
    for (; fields->name; fields++)
        if (strcmp(fields->name, name) == 0 ||
            (fields->alias && strcmp(fields->alias, name) == 0))
            return fields;
    return NULL;
}

static void unknown_field(struct reader *reader, const char *name,
                          const json_t *value, const struct json_field *fields)
{
    const char *names[MAX_NAMES + 1] = {NULL};
    size_t n = 0;
    int near;

    for (; fields->name && n < MAX_NAMES; fields++)
        names[n++] = fields->name;
    near = json_nearest(name, names);
    if (near < 0)
        violation(reader, name, value, NULL, "is not a known field");
    else
        violation(reader, name, value,
                  json_quote(reader->problem->arena, names[near]),
                  "is not a known field; did you mean \"%s\"?", names[near]);
}

static void read_object(struct reader *reader, const json_t *object,
                        const struct json_field *fields, char *out)
{
    bool seen[MAX_NAMES] = {false};
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)object, name, value)
    {
        const struct json_field *field = find_field(fields, name);
        size_t index = field ? (size_t)(field - fields) : 0;

        if (!field) {
            if (!reader->is_lenient)
                unknown_field(reader, name, value, fields);
            continue;
        }
        assert(index < MAX_NAMES);
        if (seen[index]) {
            violation(reader, name, value, NULL,
                      "is given twice, as \"%s\" and as \"%s\"", field->name,
                      field->alias ? field->alias : field->name);
            continue;
        }
        seen[index] = true;
        if (json_is_null(value) || !take(reader, field, value, out))
            continue;
        if (field->present != JSON_NO_PRESENT)
            memcpy(out + field->present, &(bool){true}, sizeof(bool));
    }
}

bool jdoc_read(const struct jdoc *doc, const struct json_field *fields,
               void *out, bool is_lenient, struct problem *problem)
{
    struct reader reader = {problem, "", is_lenient, true};

    if (!json_is_object(doc->root)) {
        problem_add(problem, "", "the body must be a JSON object",
                    text_of(doc->root, problem->arena), NULL);
        return false;
    }
    read_object(&reader, doc->root, fields, out);
    return reader.is_right;
}
