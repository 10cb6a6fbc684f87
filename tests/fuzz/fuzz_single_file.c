/* fuzz_single_file.c - names and shapes of tensors of whole models in one file.
 *
 * The first line names a kind of tests/data/single_file, whose tensors are
 * taken (or none).  Each further line changes the list:
 *
 *     name 4 320 3 3    a tensor of that shape, or another shape for one
 *     -prefix           forget the tensors whose names begin so
 *
 * All tensors are of one byte an element and share one block of zeros.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "format/json.h"
#include "format/single_file.h"
#include "format/weights_build.h"

#define MAX_LINES 200
#define ZEROS     ((size_t)80 << 20) /* the largest: 49,408 x 1280           */

static const char *const kinds[] = {"sd1", "sd2_inpaint", "sdxl", "refiner"};
#define N_KINDS (sizeof kinds / sizeof *kinds)

/* Kept for the process, so reachable: the leak checker looks away. */
static struct json *bases[N_KINDS];
static uint8_t zeros[ZEROS];

struct line {
    char *name;
    bool is_removal;
    uint32_t rank;
    uint64_t dims[8];
};

struct lines {
    struct line list[MAX_LINES];
    size_t n;
};

static const struct json *base_of(const char *kind)
{
    size_t i = 0, n;
    char path[100], *text;

    while (i < N_KINDS && strcmp(kinds[i], kind) != 0)
        i++;
    if (i == N_KINDS || bases[i])
        return i == N_KINDS ? NULL : bases[i];
    snprintf(path, sizeof path, "tests/data/single_file/%s.json", kind);
    if (mapfile_read(&text, &n, path, 0, NULL) ||
        json_parse(&bases[i], text, n, NULL))
        abort();
    alloc_free(text);
    return bases[i];
}

static void read_line(struct lines *lines, char *text)
{
    struct line *line = &lines->list[lines->n];
    char *at = strchr(text, ' ');

    if (!*text || lines->n == MAX_LINES)
        return;
    *line = (struct line){.is_removal = *text == '-'};
    line->name = text + line->is_removal;
    if (at)
        *at++ = '\0';
    while (at && *at && line->rank < 8) {
        char *end;
        line->dims[line->rank] = strtoull(at, &end, 10);
        if (end == at)
            break;
        line->rank++;
        at = end;
    }
    lines->n++;
}

static bool is_changed(const struct lines *lines, const char *name)
{
    for (size_t i = 0; i < lines->n; i++) {
        const struct line *line = &lines->list[i];
        if (line->is_removal
                ? strncmp(name, line->name, strlen(line->name)) == 0
                : strcmp(name, line->name) == 0)
            return true;
    }
    return false;
}

/* Shapes that no file could hold are the readers' of files to refuse. */
static void add(struct weights *w, const char *name, uint32_t rank,
                const uint64_t *dims)
{
    struct tensor_view v = {
        .name = name, .dtype = DTYPE_U8, .rank = rank, .n = 1, .data = zeros};

    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] > ZEROS || v.n * dims[i] > ZEROS)
            return;
        v.dims[i] = dims[i];
        v.n *= dims[i];
    }
    v.n_bytes = v.n;
    if (weights_add(w, &v, NULL) != UNSTIR_OK)
        abort();
}

static struct weights *weights_of(const struct json *rows,
                                  const struct lines *lines)
{
    struct weights *w;

    if (weights_new(&w, NULL) != UNSTIR_OK)
        abort();
    for (size_t i = 0; i < json_len(rows); i++) {
        const struct json *row = json_at(rows, i), *shape = json_at(row, 1);
        const char *name = json_string(json_at(row, 0));
        uint64_t dims[8];
        for (size_t k = 0; k < json_len(shape) && k < 8; k++)
            dims[k] = (uint64_t)json_int(json_at(shape, k));
        if (!is_changed(lines, name))
            add(w, name, (uint32_t)json_len(shape), dims);
    }
    for (size_t i = 0; i < lines->n; i++)
        if (!lines->list[i].is_removal)
            add(w, lines->list[i].name, lines->list[i].rank,
                lines->list[i].dims);
    if (weights_seal(w, NULL) == UNSTIR_OK)
        return w;
    weights_close(w);
    return NULL;
}

static void check_file(const struct json *rows, const struct lines *lines)
{
    struct weights *w = weights_of(rows, lines);
    struct single_file f;
    struct unstir_error err = {0};

    if (!w)
        return;
    if (single_file_from_weights(&f, w, NULL, &err) != UNSTIR_OK) {
        if (!*err.detail)
            abort();
        return;
    }
    for (int i = 0; i < SINGLE_FILE_PARTS; i++)
        if (f.parts[i].weights && !f.parts[i].config)
            abort();
    single_file_close(&f);
}

void fuzz_single_file(const uint8_t *bytes, size_t n)
{
    struct lines lines = {.n = 0};
    char *text, *at, *end;
    void *memory;

    if (alloc_zero(&memory, n + 1, 1, NULL) != UNSTIR_OK)
        return;
    text = memory;
    memcpy(text, bytes, n);
    end = text + strcspn(text, "\n");
    at = *end ? end + 1 : end;
    *end = '\0';
    while (*at) {
        size_t length = strcspn(at, "\n");
        bool is_last = at[length] == '\0';
        at[length] = '\0';
        read_line(&lines, at);
        at += length + !is_last;
    }
    check_file(json_get(base_of(text), "tensors"), &lines);
    alloc_free(text);
}

FUZZ_ENTRY(fuzz_single_file)
