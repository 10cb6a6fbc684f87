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
#include "format/late_digest.h"
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

#define DIGEST_LEN 64
#define NAME_LEN   16 /* of the digest in a file's name                       */

/* Where the packs of a network are kept, and by which key. */
struct place {
    char folder[PATH_BYTES];
    char ending[PACK_FILE_KEY]; /* of the file's name: part and fingerprint  */
    char words[PACK_FILE_KEY - DIGEST_LEN - 1]; /* both, in the key          */
    struct pack_key key;
    /* Once the digest is known. */
    bool is_settled;
    char path[PATH_BYTES], text[PACK_FILE_KEY]; /* text: the key's           */
};

/* In letters that any file system takes. */
static void make_plain(char *name)
{
    for (char *p = name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                    "0123456789-._",
                    *p))
            *p = '_';
}

/* What is as long as allowed fits: find_place() saw to that. */
static void settle_place(struct place *p, const char *digest)
{
    int n = snprintf(p->path, sizeof p->path, "%s/", p->folder);

    (void)snprintf(p->text, sizeof p->text, "%.*s %s", DIGEST_LEN, digest,
                   p->words);
    (void)snprintf(p->path + n, sizeof p->path - (size_t)n, "%.*s%s", NAME_LEN,
                   digest, p->ending);
    make_plain(p->path + n);
    p->is_settled = true;
}

/* false: it is not to be cached. */
static bool find_place(struct place *p, const struct packs *packs,
                       const struct pack_cache *cache, const char *fingerprint)
{
    size_t least;
    int n;

    p->key =
        (struct pack_key){p->text, packs_layout(packs), packs_bytes(packs)};
    if (!cache || (!cache->digest && !cache->late))
        return false;
    least = cache->min_bytes ? cache->min_bytes : PACK_CACHE_MIN_BYTES;
    if (p->key.n_bytes < least || !pack_cache_folder(p->folder, cache->folder))
        return false;
    n = snprintf(p->words, sizeof p->words, "%s %s", cache->part, fingerprint);
    if (n < 0 || (size_t)n >= sizeof p->words)
        return false;
    n = snprintf(p->ending, sizeof p->ending, "-%s-%s.pack", cache->part,
                 fingerprint); /* shorter than the key */
    make_plain(p->ending);
    if (strlen(p->folder) + 1 + NAME_LEN + (size_t)n >= sizeof p->path)
        return false;
    if (!cache->late)
        settle_place(p, cache->digest);
    return true;
}

/* -- looking up ------------------------------------------------------------ */

struct network_packs {
    const struct packs *packs;
    const struct graph *g;
};

/* Whether a file could be of these packs, whatever its digest. */
static bool is_alike(const char *path, const void *arg)
{
    const struct network_packs *n = arg;
    struct unstir_error why;
    struct mapfile map;
    bool is_it;

    if (pack_file_is_ours(path, &why) != UNSTIR_OK ||
        mapfile_open(&map, path, 0, &why) != UNSTIR_OK)
        return false;
    is_it = map.n_bytes >= PACK_FILE_HEADER &&
            packs_compare(n->packs, n->g, &map, PACK_FILE_HEADER, &why) ==
                UNSTIR_OK;
    mapfile_close(&map);
    return is_it;
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
    struct late_digest *late; /* borrowed; settles the place                 */
    const void *image;
    pthread_t thread;
};

static void *write_packs(void *arg)
{
    struct pack_writer *w = arg;
    struct unstir_error why;
    char digest[65];

    if (!w->place.is_settled) {
        if (late_digest_wait(w->late, digest, &why) != UNSTIR_OK)
            return NULL;
        settle_place(&w->place, digest);
    }
    (void)pack_file_write(w->place.path, &w->place.key, w->image, &why);
    return NULL;
}

/* NULL: nothing is written. */
static struct pack_writer *try_store(const struct packs *packs,
                                     const struct place *p,
                                     struct late_digest *late)
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
    w->late = late;
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

/* Settle the place of a late digest, unless nothing can be there: then nobody
 * need wait. */
static enum unstir_status await_place(struct place *p,
                                      const struct network_packs *n,
                                      struct late_digest *late,
                                      struct unstir_error *err)
{
    char digest[65];

    if (!late_digest_is_ready(late) &&
        !pack_folder_any(p->folder, p->ending, is_alike, n))
        return UNSTIR_OK;
    TRY(late_digest_wait(late, digest, err));
    settle_place(p, digest);
    return UNSTIR_OK;
}

static enum unstir_status
take_cached(struct packs *packs, const struct graph *g, struct place *p,
            struct late_digest *late, enum pack_source *source,
            struct pack_writer **writer, struct unstir_error *err)
{
    const struct network_packs n = {packs, g};

    if (!p->is_settled)
        TRY(await_place(p, &n, late, err));
    if (p->is_settled && try_map(packs, g, p)) {
        *source = PACK_MAPPED;
        return UNSTIR_OK;
    }
    TRY(packs_fill(packs, g, err));
    *writer = try_store(packs, p, late);
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
    status = find_place(p, packs, cache, fingerprint)
                 ? take_cached(packs, g, p, cache->late, source, writer, err)
                 : packs_fill(packs, g, err);
    alloc_free(p);
    if (status != UNSTIR_OK)
        goto out;
    *out = packs;
    packs = NULL;
out:
    packs_free(packs);
    return status;
}
