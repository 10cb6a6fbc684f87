/* lora_scan.c - reading the folder of LoRAs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lora_scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "buf.h"
#include "json.h"

#define EXTENSION  ".safetensors"
#define PATH_BYTES 4096

/* PEFT writes a folder, with numbers of its own beside the tensors. */
#define PEFT_FILE   "adapter_model" EXTENSION
#define PEFT_CONFIG "adapter_config.json"
/* So do the trainers of the reference, with the tensors alone. */
#define DIFFUSERS_FILE "pytorch_lora_weights" EXTENSION

/* --------------------------------------------------------------- names -- */

/* C0, delete, and C1 in UTF-8. */
static bool is_control(const unsigned char *text)
{
    return text[0] < 0x20 || text[0] == 0x7f ||
           (text[0] == 0xc2 && text[1] < 0xa0);
}

bool lora_is_name(const char *name, size_t n)
{
    if (n == 0 || n > LORA_NAME_BYTES || name[0] == '.')
        return false;
    for (size_t i = 0; i < n;) {
        const unsigned char *text = (const unsigned char *)name + i;
        size_t length = json_utf8_length(text, n - i);

        if (length == 0 || is_control(text) ||
            strchr("/\\:<>,", name[i]) != NULL)
            return false;
        i += length;
    }
    return true;
}

/* "root/name" with something behind it. */
static bool join(char out[PATH_BYTES], const char *root, const char *name,
                 const char *end)
{
    int length = snprintf(out, PATH_BYTES, "%s/%s%s", root, name, end);

    return length >= 0 && length < PATH_BYTES;
}

static bool has_file(const char *root, const char *name, const char *end)
{
    char path[PATH_BYTES];
    struct stat st;

    return join(path, root, name, end) && stat(path, &st) == 0 &&
           S_ISREG(st.st_mode);
}

static bool is_adapter(const char *root, const char *name)
{
    return has_file(root, name, "/" PEFT_FILE) ||
           has_file(root, name, "/" DIFFUSERS_FILE);
}

/* Length of the name in that of a file or of a folder; 0: it is none. */
static size_t name_length(const char *root, const char *entry)
{
    size_t n = strlen(entry), m = strlen(EXTENSION);

    if (n > m && strcmp(entry + n - m, EXTENSION) == 0)
        return lora_is_name(entry, n - m) ? n - m : 0;
    return lora_is_name(entry, n) && is_adapter(root, entry) ? n : 0;
}

/* ------------------------------------------------------------- one file -- */

void lora_file_free(struct lora_file *file)
{
    if (file == NULL)
        return;
    mem_free(file->path);
    mem_free(file);
}

struct lora_file *lora_file_find(struct lora_file *const *files, size_t n,
                                 const char *name)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, files[middle]->name);

        if (order == 0)
            return files[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static struct lora_stamp stamp_of(const struct stat *st)
{
    return (struct lora_stamp){
        .n_bytes = (uint64_t)st->st_size,
        .inode = (uint64_t)st->st_ino,
        .device = (uint64_t)st->st_dev,
        .modified_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 +
                       (int64_t)st->st_mtim.tv_nsec,
        .changed_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 +
                      (int64_t)st->st_ctim.tv_nsec};
}

static bool is_same(const struct lora_stamp *a, const struct lora_stamp *b)
{
    return a->n_bytes == b->n_bytes && a->inode == b->inode &&
           a->device == b->device && a->modified_ns == b->modified_ns &&
           a->changed_ns == b->changed_ns;
}

/* Where a file of the folder really is: links that lead out of it, and what is
 * no regular file, are none of it. */
static bool locate(const char *root, const char *name, const char *end,
                   char *path, struct stat *st)
{
    char given[PATH_BYTES];
    size_t n = strlen(root);

    if (!join(given, root, name, end) || realpath(given, path) == NULL ||
        strncmp(path, root, n) != 0 ||
        (path[n] != '/' && strcmp(root, "/") != 0))
        return false;
    return stat(path, st) == 0 && S_ISREG(st->st_mode);
}

/* A file of the name before a folder; a configuration that leads out of the
 * root makes none of a folder. */
static bool find(const char *root, const char *name, char *path,
                 struct lora_stamp *stamp)
{
    char config[PATH_BYTES];
    struct lora_stamp beside;
    struct stat st;

    if (locate(root, name, EXTENSION, path, &st) ||
        (!has_file(root, name, "/" PEFT_FILE) &&
         locate(root, name, "/" DIFFUSERS_FILE, path, &st))) {
        *stamp = stamp_of(&st);
        return true;
    }
    if (!locate(root, name, "/" PEFT_FILE, path, &st))
        return false;
    *stamp = stamp_of(&st);
    if (!locate(root, name, "/" PEFT_CONFIG, config, &st))
        return !join(config, root, name, "/" PEFT_CONFIG) ||
               lstat(config, &st) != 0;
    beside = stamp_of(&st);
    stamp->n_bytes += beside.n_bytes;
    stamp->inode ^= beside.inode << 1;
    if (beside.modified_ns > stamp->modified_ns)
        stamp->modified_ns = beside.modified_ns;
    if (beside.changed_ns > stamp->changed_ns)
        stamp->changed_ns = beside.changed_ns;
    return true;
}

/* Errors of the system name paths: those are for no client. */
static void tell(struct lora_file *file, const struct unstir_error *error)
{
    (void)snprintf(file->why, sizeof file->why, "%.255s",
                   error->status == UNSTIR_ERR_IO ? "the file cannot be read"
                                                  : error->detail);
}

/* False without memory: it is tried again the next time. */
static bool inspect(struct lora_file *file, uint64_t max_bytes)
{
    struct unstir_error error;
    char label[LORA_NAME_BYTES + 8];

    if (file->stamp.n_bytes > max_bytes) {
        (void)snprintf(file->why, sizeof file->why,
                       "the file has %llu bytes; --lora-bytes allows %llu",
                       (unsigned long long)file->stamp.n_bytes,
                       (unsigned long long)max_bytes);
        return true;
    }
    (void)snprintf(label, sizeof label, "LoRA %s", file->name);
    file->is_usable =
        unstir_lora_inspect(&file->details, file->path, label,
                            (size_t)max_bytes, &error) == UNSTIR_OK;
    if (!file->is_usable)
        tell(file, &error);
    return file->is_usable || error.status != UNSTIR_ERR_NOMEM;
}

static struct lora_file *read_file(const char *name, const char *path,
                                   const struct lora_stamp *stamp,
                                   uint64_t max_bytes)
{
    struct lora_file *file = mem_zero(1, sizeof *file);

    if (file == NULL)
        return NULL;
    (void)snprintf(file->name, sizeof file->name, "%s", name);
    file->path = mem_strdup(path);
    file->stamp = *stamp;
    if (file->path != NULL && inspect(file, max_bytes))
        return file;
    lora_file_free(file);
    return NULL;
}

/* Add the file of this name to what was found, if it is one. */
static void take(struct lora_folder *folder, const char *root, const char *name)
{
    struct lora_file *known =
        lora_file_find(folder->known, folder->n_known, name);
    struct lora_file *file;
    char path[PATH_BYTES];
    struct lora_stamp stamp;

    if (!find(root, name, path, &stamp))
        return;
    if (known != NULL && is_same(&known->stamp, &stamp) &&
        strcmp(known->path, path) == 0)
        file = known;
    else
        file = read_file(name, path, &stamp, folder->max_bytes);
    if (file != NULL)
        folder->files[folder->n++] = file;
}

/* ----------------------------------------------------------- the folder -- */

typedef char lora_name[LORA_NAME_BYTES + 1];

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The first max_files names; the rest is counted. */
static size_t list(struct lora_folder *folder, DIR *dir, const char *root,
                   lora_name *names)
{
    const struct dirent *entry;
    size_t n = 0;

    while ((entry = readdir(dir)) != NULL) {
        size_t length = name_length(root, entry->d_name);

        if (length == 0)
            continue;
        if (n == folder->max_files) {
            folder->n_left_out++;
            continue;
        }
        memcpy(names[n], entry->d_name, length);
        names[n++][length] = '\0';
    }
    qsort(names, n, sizeof *names, compare);
    return n;
}

static void read_all(struct lora_folder *folder, DIR *dir, const char *root,
                     lora_name *names)
{
    size_t n = list(folder, dir, root, names);

    for (size_t i = 0; i < n && !atomic_load(&folder->is_stopping); i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            take(folder, root, names[i]);
}

void lora_folder_read(struct lora_folder *folder)
{
    lora_name *names = mem_zero(folder->max_files, sizeof *names);
    char root[PATH_BYTES];
    DIR *dir = NULL;

    folder->n = folder->n_left_out = 0;
    folder->files = mem_zero(folder->max_files, sizeof(struct lora_file *));
    if (names == NULL || folder->files == NULL)
        (void)snprintf(folder->why, sizeof folder->why, "out of memory");
    else if (realpath(folder->path, root) == NULL ||
             (dir = opendir(root)) == NULL)
        (void)snprintf(folder->why, sizeof folder->why, "%.180s: %s",
                       folder->path, strerror(errno));
    folder->is_good = dir != NULL;
    if (dir != NULL) {
        read_all(folder, dir, root, names);
        (void)closedir(dir);
    }
    mem_free(names);
}
