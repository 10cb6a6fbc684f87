/* model_labels.c - names of classes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/model_labels.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "format/json.h"

#define MAX_LABELS       100000
#define MAX_LABEL_LENGTH 200

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* [*text, *text + length) without blanks around it. */
static size_t trim(const char **text, size_t length)
{
    while (length && is_blank(**text)) {
        ++*text;
        length--;
    }
    while (length && is_blank((*text)[length - 1]))
        length--;
    return length;
}

static enum unstir_status check_label(const char *name, int64_t class_id,
                                      uint32_t n_classes,
                                      struct unstir_error *err)
{
    size_t length = strlen(name);

    if (length == 0 || length > MAX_LABEL_LENGTH)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "a label has %zu bytes, allowed is 1 to %d", length,
                         MAX_LABEL_LENGTH);
    if (class_id < 0 || class_id >= n_classes)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "label \"%.60s\" is class %lld, the network has "
                         "classes 0 to %lld",
                         name, (long long)class_id, (long long)n_classes - 1);
    return UNSTIR_OK;
}

static enum unstir_status read_own(struct unstir_label *labels, size_t *n,
                                   uint32_t n_classes,
                                   const struct json *object,
                                   struct unstir_error *err)
{
    const char *name;
    const struct json *value;
    size_t i = 0;

    while (json_each(object, &i, &name, &value)) {
        if (json_type(value) != JSON_INT)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "label \"%.60s\" is not a class number", name);
        TRY(check_label(name, json_int(value), n_classes, err));
        labels[(*n)++] = (struct unstir_label){
            .name = name, .class_id = (uint32_t)json_int(value)};
    }
    return UNSTIR_OK;
}

/* "tench, Tinca tinca" names a class twice: cut at commas in a copy. */
static enum unstir_status cut_names(struct unstir_label **labels, size_t *n,
                                    size_t *capacity, char *names,
                                    uint32_t class_id, struct unstir_error *err)
{

    for (char *p = names; p; p = names) {
        char *comma = strchr(p, ',');
        names = comma ? comma + 1 : NULL;
        if (comma)
            *comma = '\0';
        const char *name = p;
        size_t length = trim(&name, strlen(p));
        ((char *)name)[length] = '\0';
        if (length == 0 || length > MAX_LABEL_LENGTH || *n >= MAX_LABELS)
            continue;
        TRY(alloc_grow(labels, capacity, *n + 1, sizeof **labels, err));
        (*labels)[(*n)++] =
            (struct unstir_label){.name = name, .class_id = class_id};
    }
    return UNSTIR_OK;
}

static enum unstir_status read_id2label(struct unstir_label **labels, size_t *n,
                                        char **text, uint32_t n_classes,
                                        const struct json *object,
                                        struct unstir_error *err)
{
    const char *key;
    const struct json *value;
    size_t i = 0, total = 0, capacity = 0;

    while (json_each(object, &i, &key, &value))
        total += strlen(json_string(value)) + 1;
    TRY(alloc_zero(text, total, 1, err));
    char *p = *text;
    i = 0;
    while (json_each(object, &i, &key, &value)) {
        char *end;
        unsigned long class_id = strtoul(key, &end, 10);
        if (end == key || *end || class_id >= n_classes)
            continue;
        size_t length = strlen(json_string(value));
        memcpy(p, json_string(value), length + 1);
        TRY(cut_names(labels, n, &capacity, p, (uint32_t)class_id, err));
        p += length + 1;
    }
    return UNSTIR_OK;
}

static enum unstir_status read_any(struct unstir_label **labels, size_t *n,
                                   char **text, uint32_t n_classes,
                                   const struct json *unstir,
                                   const struct json *index,
                                   struct unstir_error *err)
{
    const struct json *own = json_get(unstir, "labels");
    const struct json *other = json_get(index, "id2label");

    if (own && json_type(own) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT, "labels is not an object");
    if (own) {
        if (json_len(own) > MAX_LABELS)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%zu labels, allowed are %d", json_len(own),
                             MAX_LABELS);
        TRY(alloc_zero(labels, json_len(own), sizeof **labels, err));
        return read_own(*labels, n, n_classes, own, err);
    }
    if (other && json_type(other) == JSON_OBJECT && n_classes)
        return read_id2label(labels, n, text, n_classes, other, err);
    return UNSTIR_OK;
}

enum unstir_status labels_read(struct unstir_label **labels, size_t *n,
                               char **text, uint32_t n_classes,
                               const struct json *unstir,
                               const struct json *index,
                               struct unstir_error *err)
{
    *labels = NULL;
    *n = 0;
    *text = NULL;
    enum unstir_status status =
        read_any(labels, n, text, n_classes, unstir, index, err);
    if (status == UNSTIR_OK)
        return UNSTIR_OK;
    alloc_free(*labels);
    alloc_free(*text);
    *labels = NULL;
    *n = 0;
    *text = NULL;
    return status;
}

static bool is_same(const char *a, size_t length, const char *b)
{
    size_t length_b = trim(&b, strlen(b));

    if (length != length_b)
        return false;
    for (size_t i = 0; i < length; i++)
        if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i]))
            return false;
    return true;
}

const char *labels_nearest(const struct unstir_model_info *info,
                           const char *text)
{
    const char *best = NULL;

    /* nearest_word() wants an array of names: ask it by tournament, two at
     * a time, so that none has to be made. */
    for (size_t i = 0; i < info->n_labels; i++) {
        const char *pair[2] = {best ? best : info->labels[i].name,
                               info->labels[i].name};
        int k = nearest_word(text, pair, best ? 2 : 1);
        if (k >= 0)
            best = pair[k];
    }
    return best;
}

const char *labels_name(const struct unstir_model_info *info, int64_t class_id)
{
    for (size_t i = 0; i < info->n_labels; i++)
        if (info->labels[i].class_id == class_id)
            return info->labels[i].name;
    return NULL;
}

/* All digits, at most 9 of them. */
static bool is_number(const char *text, size_t length, int64_t *out)
{
    if (length == 0 || length > 9)
        return false;
    *out = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *out = *out * 10 + (text[i] - '0');
    }
    return true;
}

enum unstir_status labels_find(const struct unstir_model_info *info,
                               uint32_t n_classes, const char *text,
                               int64_t *class_id, struct unstir_error *err)
{
    const char *p = text;
    size_t length = trim(&p, strlen(p));

    *class_id = -1;
    if (n_classes == 0)
        return error_field(err, "class",
                           "this model has no classes, so it cannot be asked "
                           "for \"%.60s\"",
                           text);
    for (size_t i = 0; i < info->n_labels; i++)
        if (is_same(p, length, info->labels[i].name)) {
            *class_id = info->labels[i].class_id;
            return UNSTIR_OK;
        }
    int64_t number;
    if (is_number(p, length, &number)) {
        if (number < n_classes) {
            *class_id = number;
            return UNSTIR_OK;
        }
        return error_field(err, "class", "class %.*s: classes are 0 to %u",
                           (int)length, p, n_classes - 1);
    }
    const char *near = labels_nearest(info, text);
    return error_field(err, "class",
                       "\"%.60s\" is not a label of this "
                       "model%s%s%s",
                       text, near ? "; did you mean \"" : "", near ? near : "",
                       near ? "\"?" : "");
}
