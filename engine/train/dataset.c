/* dataset.c - load a set of pictures from IDX files, a PNG folder or by name.
 *
 * A folder is looked at once: IDX files by their usual names, else PNG files,
 * one subfolder a class, in order of name, so that class numbers and picture
 * order do not depend on the file system.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/affix.h"
#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/path.h"
#include "base/size.h"

#define PNG_MAX_BYTES ((size_t)64 << 20)

/* Sets that are known by name, with what a model card needs to say. */
struct named_set {
    const char *name, *folder, *title, *licence, *source;
    const char *classes[16];
};

static const struct named_set named_sets[] = {
    {.name = "fashion-mnist",
     .folder = "/usr/share/datasets/fashion-mnist",
     .title = "Fashion-MNIST garments",
     .licence = "MIT",
     .source = "https://github.com/zalandoresearch/fashion-mnist",
     .classes = {"t-shirt", "trouser", "pullover", "dress", "coat", "sandal",
                 "shirt", "sneaker", "bag", "ankle boot"}},
};

/* -- sorted listing ------------------------------------------------------ */

struct listing {
    char **names;
    size_t n, capacity;
};

static void listing_fini(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        alloc_free(l->names[i]);
    alloc_free(l->names);
    memset(l, 0, sizeof *l);
}

static int listing_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Entries of `folder` that are folders (want_folders) or PNG files. */
static enum unstir_status listing_read(struct listing *l, const char *folder,
                                       int want_folders,
                                       struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    char path[PATH_BYTES];
    DIR *dir = opendir(folder);
    if (!dir)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s", folder, strerror(errno));
    for (struct dirent *e; status == UNSTIR_OK && (e = readdir(dir));) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        status = path_join(path, folder, e->d_name, err);
        if (status != UNSTIR_OK || stat(path, &st) != 0)
            continue;
        if (want_folders ? !S_ISDIR(st.st_mode)
                         : !S_ISREG(st.st_mode) || !affix_ends(path, ".png"))
            continue;
        if (l->n >= DATASET_MAX_PICTURES) {
            status = error_set(err, UNSTIR_ERR_LIMIT, "%s: above %u entries",
                               folder, DATASET_MAX_PICTURES);
            break;
        }
        status = alloc_grow(&l->names, &l->capacity, l->n + 1, sizeof *l->names,
                            err);
        if (status == UNSTIR_OK)
            status = alloc_strdup(&l->names[l->n], e->d_name, err);
        if (status == UNSTIR_OK)
            l->n++;
    }
    closedir(dir);
    if (l->n)
        qsort(l->names, l->n, sizeof *l->names, listing_order);
    return status;
}

/* -- pictures of any size to pictures of one ----------------------------- */

/* Append one picture; the first decides size and channels. */
struct collector {
    struct dataset *d;
    uint32_t size;
    size_t capacity, label_capacity;
};

/* The middle square of a picture, in place. */
static void crop_square(struct unstir_image *im)
{
    uint32_t edge = im->width < im->height ? im->width : im->height;
    uint32_t x0 = (im->width - edge) / 2, y0 = (im->height - edge) / 2;
    size_t row = (size_t)edge * im->channels;
    for (uint32_t y = 0; y < edge; y++)
        memmove(im->pixels + y * row,
                im->pixels + ((size_t)(y0 + y) * im->width + x0) * im->channels,
                row);
    im->width = im->height = edge;
}

static enum unstir_status collector_room(struct collector *c, size_t bytes,
                                         struct unstir_error *err)
{
    size_t used = (size_t)c->d->n * bytes;
    if (used + bytes > DATASET_MAX_BYTES)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "more than %zu bytes of pictures", DATASET_MAX_BYTES);
    TRY(alloc_grow(&c->d->pixels, &c->capacity, used + bytes, 1, err));
    return alloc_grow(&c->d->labels, &c->label_capacity, c->d->n + 1u,
                      sizeof *c->d->labels, err);
}

/* Grey to RGB or RGB to grey (Rec. 601 luma), as the set has it. */
static void convert_channels(uint8_t *dst, uint32_t to,
                             const struct unstir_image *im)
{
    size_t n = (size_t)im->width * im->height;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = im->pixels + i * im->channels;
        if (to == im->channels)
            memcpy(dst + i * to, p, to);
        else if (to == 3)
            memset(dst + i * 3, p[0], 3);
        else
            dst[i] =
                (uint8_t)((299u * p[0] + 587u * p[1] + 114u * p[2] + 500u) /
                          1000u);
    }
}

static enum unstir_status collector_add(struct collector *c,
                                        struct unstir_image *im, uint32_t label,
                                        const char *name,
                                        struct unstir_error *err)
{
    struct dataset *d = c->d;
    struct unstir_image resized = {0};
    if (c->size) {
        crop_square(im);
        if (im->width != c->size) {
            TRY(unstir_image_resize(im, c->size, c->size, &resized, err));
            im = &resized;
        }
    }
    enum unstir_status status = UNSTIR_OK;
    if (d->n == 0) {
        d->width = im->width;
        d->height = im->height;
        d->channels = im->channels;
    } else if (im->width != d->width || im->height != d->height) {
        status = error_set(err, UNSTIR_ERR_FORMAT,
                           "%s: %ux%u pixels, the pictures before it have "
                           "%ux%u; give --size to bring them to one size",
                           name, im->width, im->height, d->width, d->height);
    }
    size_t bytes = (size_t)d->width * d->height * d->channels;
    if (status == UNSTIR_OK)
        status = collector_room(c, bytes, err);
    if (status == UNSTIR_OK) {
        convert_channels(d->pixels + (size_t)d->n * bytes, d->channels, im);
        d->labels[d->n] = label;
        d->n++;
    }
    unstir_image_fini(&resized);
    return status;
}

/* -- PNG folders --------------------------------------------------------- */

static enum unstir_status add_png(struct collector *c, const char *path,
                                  uint32_t label, struct unstir_error *err)
{
    struct unstir_image im = {0};
    char *bytes = NULL;
    size_t n;
    TRY(mapfile_read(&bytes, &n, path, PNG_MAX_BYTES, err));
    enum unstir_status status = unstir_png_decode(
        (unsigned char *)bytes, n, c->size ? 8192 : DATASET_MAX_EDGE, &im, err);
    status = error_prefix(status, path, err);
    if (status == UNSTIR_OK)
        status = collector_add(c, &im, label, path, err);
    unstir_image_fini(&im);
    alloc_free(bytes);
    return status;
}

static enum unstir_status add_png_folder(struct collector *c,
                                         const char *folder, uint32_t label,
                                         uint32_t max_pictures,
                                         struct unstir_error *err)
{
    struct listing files = {0};
    char path[PATH_BYTES];
    enum unstir_status status = listing_read(&files, folder, 0, err);
    for (size_t i = 0; status == UNSTIR_OK && i < files.n; i++) {
        if (max_pictures && c->d->n >= max_pictures)
            break;
        status = path_join(path, folder, files.names[i], err);
        if (status == UNSTIR_OK)
            status = add_png(c, path, label, err);
    }
    listing_fini(&files);
    return status;
}

static enum unstir_status open_png(struct dataset *d, const char *folder,
                                   uint32_t size, uint32_t max_pictures,
                                   struct unstir_error *err)
{
    struct collector c = {.d = d, .size = size};
    struct listing classes = {0};
    char path[PATH_BYTES];
    enum unstir_status status = listing_read(&classes, folder, 1, err);
    if (status == UNSTIR_OK && classes.n > DATASET_MAX_CLASSES)
        status = error_set(err, UNSTIR_ERR_LIMIT,
                           "%s: %zu subfolders; at most %u classes", folder,
                           classes.n, DATASET_MAX_CLASSES);
    if (status == UNSTIR_OK && classes.n == 0)
        status = add_png_folder(&c, folder, 0, max_pictures, err);
    for (size_t i = 0; status == UNSTIR_OK && i < classes.n; i++) {
        status = path_join(path, folder, classes.names[i], err);
        if (status == UNSTIR_OK)
            status = add_png_folder(&c, path, (uint32_t)i, max_pictures, err);
    }
    if (status == UNSTIR_OK && d->n == 0)
        status = error_set(err, UNSTIR_ERR_FORMAT,
                           "%s: no pictures: neither IDX files "
                           "(train-images-idx3-ubyte.gz) nor PNG files, in it "
                           "or one folder below",
                           folder);
    if (status == UNSTIR_OK && classes.n > 0) {
        d->class_names = classes.names; /* moved */
        d->n_classes = (uint32_t)classes.n;
        return UNSTIR_OK;
    }
    if (status == UNSTIR_OK) {
        alloc_free(d->labels);
        d->labels = NULL;
    }
    listing_fini(&classes);
    return status;
}

/* -- IDX folders --------------------------------------------------------- */

/* The path of the first of the usual spellings that exists. */
static int find_idx(char *path, const char *folder, const char *stem,
                    const char *kind)
{
    char name[64];
    for (int i = 0; i < 4; i++) {
        const char *mark = i < 2 ? "-" : ".";
        snprintf(name, sizeof name, "%s%s%s-ubyte%s", stem, mark, kind,
                 i % 2 ? "" : ".gz");
        if (path_join(path, folder, name, NULL) == UNSTIR_OK &&
            path_exists(path))
            return 1;
    }
    return 0;
}

static enum unstir_status idx_labels(struct dataset *d, struct idx *labels,
                                     const char *path,
                                     const struct named_set *set,
                                     struct unstir_error *err)
{
    uint32_t top = 0;
    for (uint32_t i = 0; i < d->n; i++)
        top = labels->data[i] > top ? labels->data[i] : top;
    d->n_classes = top + 1;
    if (set && !set->classes[top])
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%s: label %u, but %s has fewer classes", path, top,
                         set->name);
    TRY(alloc_zero(&d->labels, d->n, sizeof *d->labels, err));
    TRY(alloc_zero(&d->class_names, d->n_classes, sizeof *d->class_names, err));
    for (uint32_t i = 0; i < d->n; i++)
        d->labels[i] = labels->data[i];
    for (uint32_t i = 0; i < d->n_classes; i++) {
        char digits[16];
        snprintf(digits, sizeof digits, "%u", i);
        TRY(alloc_strdup(&d->class_names[i], set ? set->classes[i] : digits,
                         err));
    }
    return UNSTIR_OK;
}

/* Move the pixels over, or resize each picture. */
static enum unstir_status idx_pixels(struct dataset *d, struct idx *x,
                                     uint32_t size, struct unstir_error *err)
{
    uint32_t h = x->dims[1], w = x->dims[2];
    uint32_t n = d->n;
    if (size == 0 || (size == h && size == w)) {
        d->width = w;
        d->height = h;
        d->channels = 1;
        d->pixels = x->data;
        x->data = NULL;
        return UNSTIR_OK;
    }
    struct collector c = {.d = d, .size = size};
    d->n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct unstir_image im = {w, h, 1, x->data + (size_t)i * h * w};
        TRY(collector_add(&c, &im, 0, "IDX picture", err));
    }
    alloc_free(d->labels);
    d->labels = NULL;
    return UNSTIR_OK;
}

static enum unstir_status open_idx(struct dataset *d, const char *images,
                                   const char *labels_path,
                                   const struct named_set *set, uint32_t size,
                                   uint32_t max_pictures,
                                   struct unstir_error *err)
{
    struct idx x = {0}, y = {0};
    enum unstir_status status = idx_read(&x, images, 3, DATASET_MAX_BYTES, err);
    if (status == UNSTIR_OK && labels_path)
        status = idx_read(&y, labels_path, 1, DATASET_MAX_PICTURES, err);
    if (status != UNSTIR_OK)
        goto out;
    if (x.dims[0] > DATASET_MAX_PICTURES || x.dims[1] > DATASET_MAX_EDGE ||
        x.dims[2] > DATASET_MAX_EDGE) {
        status =
            error_set(err, UNSTIR_ERR_LIMIT,
                      "%s: %u pictures of %ux%u; at most %u of %ux%u", images,
                      x.dims[0], x.dims[2], x.dims[1], DATASET_MAX_PICTURES,
                      DATASET_MAX_EDGE, DATASET_MAX_EDGE);
        goto out;
    }
    if (labels_path && y.dims[0] != x.dims[0]) {
        status =
            error_set(err, UNSTIR_ERR_FORMAT, "%s: %u labels for %u pictures",
                      labels_path, y.dims[0], x.dims[0]);
        goto out;
    }
    d->n = max_pictures && max_pictures < x.dims[0] ? max_pictures : x.dims[0];
    status = idx_pixels(d, &x, size, err);
    if (status == UNSTIR_OK && labels_path)
        status = idx_labels(d, &y, labels_path, set, err);
out:
    alloc_free(x.data);
    alloc_free(y.data);
    return status;
}

/* -- entry --------------------------------------------------------------- */

static const struct named_set *named_set_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(named_sets); i++)
        if (strcmp(named_sets[i].name, name) == 0)
            return &named_sets[i];
    return NULL;
}

static enum unstir_status open_folder(struct dataset *d, const char *folder,
                                      const struct named_set *set,
                                      uint32_t size, uint32_t max_pictures,
                                      struct unstir_error *err)
{
    char images[PATH_BYTES], labels[PATH_BYTES];
    struct stat st;
    if (stat(folder, &st) != 0)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s%s", folder,
                         strerror(errno),
                         set ? " (Debian: apt-get install "
                               "dataset-fashion-mnist; or set UNSTIR_DATA)"
                             : "");
    if (!S_ISDIR(st.st_mode))
        return error_set(err, UNSTIR_ERR_ARG,
                         "%s: not a folder of IDX files or pictures", folder);
    if (find_idx(images, folder, "train-images", "idx3"))
        return open_idx(
            d, images,
            find_idx(labels, folder, "train-labels", "idx1") ? labels : NULL,
            set, size, max_pictures, err);
    return open_png(d, folder, size, max_pictures, err);
}

enum unstir_status dataset_open(struct dataset *d, const char *where,
                                uint32_t size, uint32_t max_pictures,
                                struct unstir_error *err)
{
    memset(d, 0, sizeof *d);
    if (size > DATASET_MAX_EDGE)
        return error_set(err, UNSTIR_ERR_ARG, "size %u: at most %u pixels",
                         size, DATASET_MAX_EDGE);
    if (dataset_is_toy(where)) {
        if (size)
            return error_field(err, "size", "%s has a size of its own", where);
        return dataset_make_toy(d, where, max_pictures, err);
    }
    const struct named_set *set = named_set_find(where);
    const char *folder = where;
    if (set) {
        const char *own = getenv("UNSTIR_DATA");
        folder = own && own[0] ? own : set->folder;
        d->title = set->title;
        d->licence = set->licence;
        d->source = set->source;
    }
    enum unstir_status status =
        open_folder(d, folder, set, size, max_pictures, err);
    if (status != UNSTIR_OK)
        dataset_close(d);
    return status;
}

void dataset_close(struct dataset *d)
{
    alloc_free(d->pixels);
    alloc_free(d->labels);
    if (d->class_names)
        for (uint32_t i = 0; i < d->n_classes; i++)
            alloc_free(d->class_names[i]);
    alloc_free(d->class_names);
    memset(d, 0, sizeof *d);
}

void dataset_picture(const struct dataset *d, uint32_t i, int is_mirrored,
                     float *out)
{
    size_t row = (size_t)d->width * d->channels;
    const uint8_t *p = d->pixels + (size_t)i * d->height * row;
    for (uint32_t y = 0; y < d->height; y++, p += row, out += row)
        for (uint32_t x = 0; x < d->width; x++) {
            uint32_t from = is_mirrored ? d->width - 1 - x : x;
            for (uint32_t c = 0; c < d->channels; c++)
                out[x * d->channels + c] =
                    (float)p[from * d->channels + c] / 127.5f - 1.0f;
        }
}
