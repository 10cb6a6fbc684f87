/* standard_tokenizer.c - the tokenizer of text encoders that came without one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/standard_tokenizer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "format/json.h"
#include "text/bpe.h"

/* OpenCLIP pads with "!", which has number 0. */
#define CONFIG(pad)                               \
    "{\n"                                         \
    "  \"tokenizer_class\": \"CLIPTokenizer\",\n" \
    "  \"model_max_length\": 77,\n"               \
    "  \"bos_token\": \"<|startoftext|>\",\n"     \
    "  \"eos_token\": \"<|endoftext|>\",\n"       \
    "  \"unk_token\": \"<|endoftext|>\",\n"       \
    "  \"pad_token\": \"" pad "\"\n"              \
    "}\n"
static const char clip_config[] = CONFIG("<|endoftext|>");
static const char open_clip_config[] = CONFIG("!");

static enum unstir_status check_path(const char *merges,
                                     struct unstir_error *err)
{
    if (merges)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_ARG,
                     "the text encoder comes without a tokenizer, and the "
                     "standard one, models/clip-bpe/merges.txt, is not where "
                     "the program looks: beside its build folder, or where "
                     "make install puts it");
}

enum unstir_status standard_tokenizer_open(struct bpe **out, const char *merges,
                                           bool is_open_clip,
                                           struct unstir_error *err)
{
    struct bpe_texts texts = {.config = open_clip_config,
                              .n_config = sizeof open_clip_config - 1};
    enum unstir_status status;
    char *text;

    *out = NULL;
    TRY(check_path(merges, err));
    if (!is_open_clip)
        return bpe_open_merges(out, merges, err);
    TRY(mapfile_read(&text, &texts.n_merges, merges, BPE_MAX_FILE_BYTES, err));
    texts.merges = text;
    status = bpe_parse(out, &texts, err);
    alloc_free(text);
    return error_within(status, merges, err);
}

/* -- as files -------------------------------------------------------------- */

static enum unstir_status vocab_text(char **text, const struct bpe *b,
                                     struct unstir_error *err)
{
    struct json_writer *w;
    char name[BPE_MAX_TOKEN_BYTES + 1];

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    for (uint32_t id = 0; id < bpe_info(b)->n_tokens; id++) {
        size_t n;
        const char *token = bpe_token(b, id, &n);

        if (!token)
            continue;
        memcpy(name, token, n);
        name[n] = '\0';
        json_put_int(w, name, id);
    }
    json_close(w);
    return json_finish(text, w, false, err);
}

static enum unstir_status write_text(const char *folder, const char *name,
                                     const char *text, struct unstir_error *err)
{
    char path[PATH_BYTES];

    TRY(path_join(path, folder, name, err));
    return mapfile_write(path, text, strlen(text), err);
}

static enum unstir_status write_vocab(const char *folder, const struct bpe *b,
                                      struct unstir_error *err)
{
    enum unstir_status status;
    char *text;

    TRY(vocab_text(&text, b, err));
    status = write_text(folder, "vocab.json", text, err);
    alloc_free(text);
    return status;
}

/* The table's own first line names its source; the reference's reader knows
 * only this form of it. */
static enum unstir_status merges_text(char **out, const char *path,
                                      struct unstir_error *err)
{
    static const char version[] = "#version: 0.2";
    enum unstir_status status;
    const char *lines;
    char *text;
    size_t n, size;
    void *memory;

    *out = NULL;
    TRY(mapfile_read(&text, &n, path, BPE_MAX_FILE_BYTES, err));
    lines = strchr(text, '\n');
    size = sizeof version + (lines ? strlen(lines) : 0);
    status = alloc_zero(&memory, size, 1, err);
    if (status == UNSTIR_OK) {
        snprintf(memory, size, "%s%s", version, lines ? lines : "");
        *out = memory;
    }
    alloc_free(text);
    return status;
}

static enum unstir_status write_merges(const char *folder, const char *path,
                                       struct unstir_error *err)
{
    enum unstir_status status;
    char *text;

    TRY(merges_text(&text, path, err));
    status = write_text(folder, "merges.txt", text, err);
    alloc_free(text);
    return status;
}

enum unstir_status standard_tokenizer_write(const char *folder,
                                            const char *merges,
                                            bool is_open_clip,
                                            struct unstir_error *err)
{
    enum unstir_status status;
    struct bpe *b;

    TRY(standard_tokenizer_open(&b, merges, is_open_clip, err));
    status = write_vocab(folder, b, err);
    bpe_free(b);
    TRY(status);
    TRY(write_merges(folder, merges, err));
    return write_text(folder, "tokenizer_config.json",
                      is_open_clip ? open_clip_config : clip_config, err);
}
