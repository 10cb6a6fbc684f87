/* grow.c - where a deeper network takes a shallower one's weights from.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/grow.h"

#include <stdio.h>
#include <string.h>

#include "format/weights.h"

/* "up_blocks.1.resnets.2.conv1.weight", taken apart. */
struct place {
    int is_up;
    unsigned block, layer;
    char kind[16];    /* resnets or attentions                              */
    const char *rest; /* conv1.weight                                       */
};

static int place_of(const char *name, struct place *p)
{
    char path[8];
    int end = 0;
    if (sscanf(name, "%7[a-z]_blocks.%3u.%15[a-z].%3u.%n", path, &p->block,
               p->kind, &p->layer, &end) != 4 ||
        end == 0)
        return 0;
    p->is_up = strcmp(path, "up") == 0;
    p->rest = name + end;
    return (p->is_up || strcmp(path, "down") == 0) &&
           (strcmp(p->kind, "resnets") == 0 ||
            strcmp(p->kind, "attentions") == 0);
}

static void layer_name(const struct place *p, const char *kind, unsigned layer,
                       const char *rest, char name[GROW_NAME_MAX])
{
    snprintf(name, GROW_NAME_MAX, "%s_blocks.%u.%s.%u.%s",
             p->is_up ? "up" : "down", p->block, kind, layer, rest);
}

/* Whether the graph has it, or the file where no graph is given. */
static int has(const struct graph *g, const struct weights *w, const char *name)
{
    if (!g)
        return weights_find(w, name) != NULL;
    for (param_id i = 0; i < graph_n_params(g); i++)
        if (strcmp(graph_param_at(g, i)->name, name) == 0)
            return 1;
    return 0;
}

/* Layers of p's block there. */
static unsigned count_layers(const struct graph *g, const struct weights *w,
                             const struct place *p)
{
    char name[GROW_NAME_MAX];
    unsigned n = 0;
    for (;; n++) {
        layer_name(p, "resnets", n, "conv1.weight", name);
        if (!has(g, w, name))
            return n;
    }
}

static int file_has_attention(const struct weights *w, const struct place *p)
{
    char name[GROW_NAME_MAX];
    layer_name(p, "attentions", 0, "group_norm.weight", name);
    return has(NULL, w, name);
}

static enum grow_kind new_layer(const char *rest)
{
    if (strcmp(rest, "conv_shortcut.weight") == 0)
        return GROW_PASSING;
    return strcmp(rest, "conv_shortcut.bias") == 0 ? GROW_ZERO : GROW_DRAWN;
}

enum grow_kind grow_source(const struct graph *g, const struct weights *w,
                           const char *name, char from[GROW_NAME_MAX])
{
    struct place p;
    snprintf(from, GROW_NAME_MAX, "%s", name);
    if (!place_of(name, &p))
        return GROW_TAKEN;
    unsigned now = count_layers(g, NULL, &p);
    unsigned old = count_layers(NULL, w, &p);
    if (strcmp(p.kind, "attentions") == 0 && old > 0 &&
        !file_has_attention(w, &p))
        return GROW_DRAWN;
    if (old == 0 || now <= old)
        return GROW_TAKEN;
    unsigned more = now - old;
    if (p.is_up ? p.layer > 0 && p.layer <= more : p.layer >= old)
        return new_layer(p.rest);
    if (p.is_up && p.layer > 0)
        layer_name(&p, p.kind, p.layer - more, p.rest, from);
    return GROW_TAKEN;
}

void grow_pass(float *x, size_t cout, size_t cin)
{
    memset(x, 0, cout * cin * sizeof *x);
    for (size_t i = 0; i < cout && i < cin; i++)
        x[i * cin + i] = 1;
}
