/* pack_cache.c - packed weights from the folder of an earlier start.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/pack_cache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/thread.h"
#include "format/pack_file.h"

bool pack_cache_folder(char path[PATH_BYTES], const char *word)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"UNSTIR_CACHE_DIR", ""},
                  {"XDG_CACHE_HOME", "/unstir"},
                  {"HOME", "/.cache/unstir"}};

    if (!word || !*word || strcmp(word, "none") == 0)
        return false;
    if (strcmp(word, "auto") != 0)
        return snprintf(path, PATH_BYTES, "%s", word) < PATH_BYTES;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        const char *value = getenv(places[i].variable);

        if (value && value[0] == '/')
            return snprintf(path, PATH_BYTES, "%s%s", value, places[i].below) <
                   PATH_BYTES;
    }
    return false;
}

const char *pack_source_name(enum pack_source source)
{
    return source == PACK_MAPPED   ? "mapped"
           : source == PACK_STORED ? "stored"
                                   : "built";
}

/* Digest, part and fingerprint, in letters that any file system takes. */
static bool make_path(char path[PATH_BYTES], const char *folder,
                      const struct pack_cache *cache, const char *fingerprint)
{
    size_t start = strlen(folder) + 1;
    int n = snprintf(path, PATH_BYTES, "%s/%.16s-%s-%s.pack", folder,
                     cache->digest, cache->part, fingerprint);

    if (n < 0 || n >= PATH_BYTES)
        return false;
    for (char *p = path + start; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                    "0123456789-._",
                    *p))
            *p = '_';
    return true;
}

/* Where the packs of a network are kept, and by which key. */
struct place {
    char folder[PATH_BYTES], path[PATH_BYTES], text[PACK_FILE_KEY];
    struct pack_key key;
};

/* false: it is not to be cached. */
static bool find_place(struct place *p, const struct packs *packs,
                       const struct pack_cache *cache, const char *fingerprint)
{
    size_t least;
    int n;

    p->key =
        (struct pack_key){p->text, packs_layout(packs), packs_bytes(packs)};
    if (!cache || !cache->digest)
        return false;
    least = cache->min_bytes ? cache->min_bytes : PACK_CACHE_MIN_BYTES;
    if (p->key.n_bytes < least ||
        !pack_cache_folder(p->folder, cache->folder) ||
        !make_path(p->path, p->folder, cache, fingerprint))
        return false;
    n = snprintf(p->text, sizeof p->text, "%s %s %s", cache->digest,
                 cache->part, fingerprint);
    return n > 0 && (size_t)n < sizeof p->text;
}

static bool try_map(struct packs *packs, const struct graph *g,
                    const struct place *p)
{
    struct unstir_error why;
    struct mapfile map;

    if (pack_file_open(&map, p->path, &p->key, &why) != UNSTIR_OK)
        return false;
    if (packs_adopt(packs, g, &map, PACK_FILE_HEADER, &why) == UNSTIR_OK)
        return true;
    mapfile_close(&map);
    return false;
}

/* -- writing --------------------------------------------------------------- */

struct pack_writer {
    struct place place;
    const void *image;
    pthread_t thread;
};

static void *write_packs(void *arg)
{
    struct pack_writer *w = arg;
    struct unstir_error why;

    (void)pack_file_write(w->place.path, &w->place.key, w->image, &why);
    return NULL;
}

/* NULL: nothing is written. */
static struct pack_writer *try_store(const struct packs *packs,
                                     const struct place *p)
{
    struct unstir_error why;
    struct pack_writer *w;

    if (pack_folder_make(p->folder, &why) != UNSTIR_OK ||
        !pack_folder_trim(p->folder, p->key.n_bytes + PACK_FILE_HEADER,
                          PACK_CACHE_MAX_BYTES) ||
        alloc_zero(&w, 1, sizeof *w, &why) != UNSTIR_OK)
        return NULL;
    w->place = *p;
    w->place.key.text = w->place.text;
    w->image = packs_image(packs);
    if (thread_start(&w->thread, "unstir packs", write_packs, w) == 0)
        return w;
    alloc_free(w);
    return NULL;
}

void pack_writer_finish(struct pack_writer *w)
{
    if (!w)
        return;
    (void)pthread_join(w->thread, NULL); /* fails on our own bugs only */
    alloc_free(w);
}

/* -- all ------------------------------------------------------------------- */

static enum unstir_status take(struct packs *packs, const struct graph *g,
                               const struct place *p, bool is_cached,
                               enum pack_source *source,
                               struct pack_writer **writer,
                               struct unstir_error *err)
{
    if (is_cached && try_map(packs, g, p)) {
        *source = PACK_MAPPED;
        return UNSTIR_OK;
    }
    TRY(packs_fill(packs, g, err));
    if (is_cached)
        *writer = try_store(packs, p);
    if (*writer)
        *source = PACK_STORED;
    return UNSTIR_OK;
}

enum unstir_status
packs_new_cached(struct packs **out, const struct graph *g,
                 const struct kernel_table *table, enum lower_mode mode,
                 const struct packs_params *params,
                 const struct pack_cache *cache, const char *fingerprint,
                 enum pack_source *source, struct pack_writer **writer,
                 struct unstir_error *err)
{
    enum unstir_status status;
    enum pack_source unused;
    struct packs *packs;
    struct place *p;

    *out = NULL;
    *writer = NULL;
    source = source ? source : &unused;
    *source = PACK_BUILT;
    TRY(packs_new_empty(&packs, g, table, mode, params, err));
    status = alloc_zero(&p, 1, sizeof *p, err);
    if (status != UNSTIR_OK)
        goto out;
    status = take(packs, g, p, find_place(p, packs, cache, fingerprint), source,
                  writer, err);
    alloc_free(p);
    if (status != UNSTIR_OK)
        goto out;
    *out = packs;
    packs = NULL;
out:
    packs_free(packs);
    return status;
}
