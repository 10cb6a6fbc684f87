/* fuzz_folder_config.c - the JSON files of a model folder: model_index.json,
 * unet/config.json, scheduler_config.json, unstir.json and an index of
 * shards, parted by NUL bytes.  They are written to a folder and opened, then
 * the network's graph and the schedules are built from them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "model/network.h"
#include "ops/graph.h"
#include "pipeline/model_labels.h"
#include "sample/schedule.h"

static const char *const files[] = {
    "model_index.json",
    "unet/config.json",
    "scheduler_config.json",
    "unstir.json",
    "unet/diffusion_pytorch_model.safetensors.index.json",
};
#define N_FILES (sizeof(files) / sizeof(*files))

static void path_of(char path[256], const char *folder, const char *name)
{
    snprintf(path, 256, "%s/%s", folder, name);
}

static void write_files(const char *folder, const uint8_t *bytes, size_t n)
{
    char path[256];
    path_of(path, folder, "unet");
    (void)mkdir(path, 0700);
    for (size_t i = 0; i < N_FILES && n > 0; i++) {
        const uint8_t *nul = memchr(bytes, 0, n);
        size_t length = nul ? (size_t)(nul - bytes) : n;
        path_of(path, folder, files[i]);
        FILE *f = length > 0 ? fopen(path, "wb") : NULL;
        if (f) {
            (void)fwrite(bytes, 1, length, f);
            (void)fclose(f);
        }
        bytes += length + (nul != NULL);
        n -= length + (nul != NULL);
    }
}

static void remove_files(const char *folder)
{
    char path[256];
    for (size_t i = 0; i < N_FILES; i++) {
        path_of(path, folder, files[i]);
        (void)unlink(path);
    }
    path_of(path, folder, "unet");
    (void)rmdir(path);
    (void)rmdir(folder);
}

static void build_schedules(const struct json *config)
{
    for (int m = 0; m < METHOD_COUNT; m++) {
        struct schedule_config c;
        struct schedule s;
        uint32_t timesteps[7];
        if (schedule_config_parse(&c, config, (enum schedule_method)m, NULL) !=
            UNSTIR_OK)
            continue;
        if (schedule_init(&s, &c, NULL) != UNSTIR_OK)
            continue;
        (void)schedule_timesteps(&s, 7, timesteps, NULL);
        schedule_fini(&s);
    }
}

static void read_labels(const struct diffusers_folder *f)
{
    struct unstir_label *labels;
    size_t n;
    char *text;
    if (labels_read(&labels, &n, &text, 10, f->unstir, f->index, NULL) !=
        UNSTIR_OK)
        return;
    for (size_t i = 0; i < n; i++)
        if (!labels[i].name)
            abort();
    alloc_free(labels);
    alloc_free(text);
}

void fuzz_folder_config(const uint8_t *bytes, size_t n)
{
    char folder[] = "/tmp/unstir-fuzz-XXXXXX";
    struct diffusers_folder f;
    struct graph *g;
    struct unstir_error err;
    if (!mkdtemp(folder))
        return;
    write_files(folder, bytes, n);
    if (diffusers_folder_open(&f, folder, true, &err) == UNSTIR_OK) {
        if (network_graph(&g, f.unet_config, 1, 16, 16, &err) == UNSTIR_OK)
            graph_free(g);
        build_schedules(f.scheduler_config);
        read_labels(&f);
        diffusers_folder_close(&f);
    }
    remove_files(folder);
}

FUZZ_ENTRY(fuzz_folder_config)
