/* pack_cache.h - packed weights from the folder of an earlier start.
 *
 * Packing a network takes seconds; mapping and checking what an earlier start
 * packed takes as long as reading it.  The key is what the bytes depend on:
 * digest of the weights, part of the model, rung, rules version, precision.
 * A file that is missing, damaged, foreign or of another version is written
 * anew; a folder that cannot be read or written is no error.
 *
 * The digest may still be on its way (late_digest.h).  It is waited for if the
 * folder has a file that could be of these weights, by its name, its size and a
 * sample of its contents: to map it takes less than to pack them.  Else they are
 * packed meanwhile, and who writes them waits.
 *
 * Small networks are packed faster than they are looked up and have no file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_PACK_CACHE_H
#define MODEL_PACK_CACHE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/path.h"
#include "ops/lower.h"

struct late_digest;

struct pack_cache {
    const char *folder; /* or "auto"; NULL or "none": no cache               */
    const char *digest; /* of the weights; NULL: no cache                    */
    const char *part;   /* of the model, "unet"                              */
    size_t min_bytes;   /* of an image worth a file; 0: the default          */
    struct late_digest *late; /* what tells the digest; NULL: it is known.  To
                                 outlive the writer                          */
};

#define PACK_CACHE_MIN_BYTES ((size_t)64 << 20)
#define PACK_CACHE_MAX_BYTES ((uint64_t)16 << 30) /* of all files          */

/* The folder that a word names: itself; "auto": $UNSTIR_CACHE_DIR,
 * $XDG_CACHE_HOME/unstir or $HOME/.cache/unstir, relative paths passed over.
 * false: none. */
bool pack_cache_folder(char path[PATH_BYTES], const char *word);

enum pack_source {
    PACK_BUILT,  /* no cache, or not for this network                        */
    PACK_STORED, /* built, and being written for the next start              */
    PACK_MAPPED, /* from the cache                                           */
};

/* "built", "stored", "mapped" */
const char *pack_source_name(enum pack_source source);

/* The writing of packs, by a thread of its own while they are used: seconds for
 * what takes gigabytes.  To be waited for before the packs end, as long as a
 * late digest takes as well; where that fails nothing is written.  NULL: nothing
 * is. */
struct pack_writer;
void pack_writer_finish(struct pack_writer *w);

/* packs_new() by way of the cache.  Of *source (may be NULL) only speed and
 * logs depend.  *writer is the caller's; on failure it is NULL.  A late digest
 * that was waited for fails as late_digest_wait(). */
enum unstir_status
packs_new_cached(struct packs **out, const struct graph *g,
                 const struct kernel_table *table, enum lower_mode mode,
                 const struct packs_params *params,
                 const struct pack_cache *cache, const char *fingerprint,
                 enum pack_source *source, struct pack_writer **writer,
                 struct unstir_error *err);

#endif
