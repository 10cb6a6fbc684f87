/* latent.c - from what a sampler works on to the pixels of a picture.
 *
 * The sketch of four latent channels is a fixed linear map, fitted by users to
 * what an autoencoder shows: discuss.huggingface.co, "Decoding latents to RGB
 * without upscaling" (Stable Diffusion 1.4, and 2 trained behind the same
 * encoder); StAlKeR7779's for XL, as InvokeAI 4 shows it.  An autoencoder is
 * known by its scaling_factor: the nearest ratio counts, and latents of another
 * scale are brought to that of the fit.  Of other numbers of channels the first
 * ones are shown as they are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/latent.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "model/network.h"
#include "model/tiled.h"
#include "pipeline/checkpoint.h"

/* Layers of a decoder that hold more make it work in bands.  Four may be
 * there at once: Stable Diffusion's decoder is whole up to 700 x 700 pixels,
 * with little memory up to 250 x 250. */
#define MAX_WHOLE        ((size_t)512 << 20)
#define MAX_WHOLE_FRUGAL ((size_t)64 << 20)

struct colours {
    double scaling_factor; /* of the autoencoder that it was fitted to */
    float rgb[4][3];
};

static const struct colours colours[] = {
    {0.18215,
     {{0.298F, 0.207F, 0.208F},
      {0.187F, 0.286F, 0.173F},
      {-0.158F, 0.189F, 0.264F},
      {-0.184F, -0.271F, -0.473F}}},
    {0.13025,
     {{0.3816F, 0.4930F, 0.5320F},
      {-0.3753F, 0.1631F, 0.1739F},
      {0.1770F, 0.3588F, -0.2048F},
      {-0.4350F, -0.2644F, -0.4289F}}},
};

size_t latent_floats(const struct unstir_model *m, uint32_t width,
                     uint32_t height)
{
    return (size_t)m->sample_channels * (height / m->factor) *
           (width / m->factor);
}

size_t latent_picture_floats(const struct unstir_model *m, uint32_t width,
                             uint32_t height)
{
    return (size_t)m->info.channels * height * width;
}

/* -- decoding -------------------------------------------------------------- */

struct tiling latent_tiling(bool is_frugal)
{
    return (struct tiling){.whole_bytes =
                               is_frugal ? MAX_WHOLE_FRUGAL : MAX_WHOLE};
}

static enum unstir_status
decode(const struct unstir_model *m, const struct network *decoder,
       const struct vae_scaling *scaling, struct executor *x,
       const float *sample, uint32_t width, uint32_t height, float *planes,
       float *latent, float *pixels, const struct cancel *cancel,
       struct unstir_error *err)
{
    size_t c = m->sample_channels, n = latent_floats(m, width, height);
    size_t hw = (size_t)width * height, channels = m->info.channels;
    struct network_io io = {
        .n = 1,
        .h = height / m->factor,
        .w = width / m->factor,
        .sample = latent,
        .out = pixels,
    };
    const struct tiling tiling = latent_tiling(m->is_frugal);

    for (size_t i = 0; i < n; i++) {
        float v = sample[i % c * (n / c) + i / c];

        latent[i] = vae_unscale(scaling, i % c, v);
    }
    TRY(tiled_eval(decoder, x, &io, &tiling, cancel, err));
    for (size_t k = 0; k < channels; k++)
        for (size_t i = 0; i < hw; i++)
            planes[k * hw + i] = pixels[i * channels + k];
    return UNSTIR_OK;
}

enum unstir_status latent_decode(const struct unstir_model *m,
                                 struct executor *x, const float *sample,
                                 uint32_t width, uint32_t height, float *planes,
                                 const struct cancel *cancel,
                                 struct unstir_error *err)
{
    return latent_decode_by(m, m->decoder, &m->scaling, x, sample, width,
                            height, planes, cancel, err);
}

enum unstir_status latent_decode_by(const struct unstir_model *m,
                                    const struct network *decoder,
                                    const struct vae_scaling *scaling,
                                    struct executor *x, const float *sample,
                                    uint32_t width, uint32_t height,
                                    float *planes, const struct cancel *cancel,
                                    struct unstir_error *err)
{
    size_t n = latent_floats(m, width, height);
    size_t n_picture = latent_picture_floats(m, width, height);
    enum unstir_status status;
    void *memory;

    if (!m->decoder) {
        memcpy(planes, sample, n * sizeof *planes);
        return UNSTIR_OK;
    }
    TRY(alloc_aligned(&memory, n + n_picture, sizeof(float), err));
    status = decode(m, decoder, scaling, x, sample, width, height, planes,
                    memory, (float *)memory + n, cancel, err);
    alloc_free(memory);
    return status;
}

/* -- encoding -------------------------------------------------------------- */

bool latent_is_encodable(const struct unstir_model *m)
{
    return m->encoder.config != NULL;
}

static enum unstir_status encode(const struct unstir_model *m,
                                 const struct network *encoder,
                                 struct executor *x, const float *pictures,
                                 uint32_t n, uint32_t width, uint32_t height,
                                 float **moments, const struct cancel *cancel,
                                 struct unstir_error *err)
{
    size_t hw = latent_floats(m, width, height) / m->sample_channels;
    size_t c = network_info(encoder)->out_channels, one = c * hw;
    struct network_io io = {
        .n = n, .h = height, .w = width, .sample = pictures};
    void *memory;

    /* pixels as the network leaves them, and planes */
    TRY(alloc_aligned(&memory, 2 * n * one, sizeof(float), err));
    float *planes = memory, *pixels = planes + n * one;
    io.out = pixels;
    const struct tiling tiling = latent_tiling(m->is_frugal);
    enum unstir_status st = tiled_eval(encoder, x, &io, &tiling, cancel, err);
    if (st) {
        alloc_free(memory);
        return st;
    }
    for (size_t i = 0; i < n * one; i++)
        planes[i] = pixels[i / one * one + i % hw * c + i % one / hw];
    *moments = planes;
    return UNSTIR_OK;
}

enum unstir_status latent_encode(const struct unstir_model *m,
                                 struct executor *x, const float *pictures,
                                 uint32_t n, uint32_t width, uint32_t height,
                                 float **moments, bool *has_variance,
                                 const struct cancel *cancel,
                                 struct unstir_error *err)
{
    struct network_options o = {.isa = m->info.isa,
                                .precision = m->encoder.precision,
                                .mode = LOWER_FUSED,
                                .part = "encode"};
    struct network *encoder;

    *moments = NULL;
    if (o.precision == UNSTIR_PRECISION_INT8)
        o.precision = UNSTIR_PRECISION_AUTO; /* as of the decoder */
    TRY(network_open(&encoder, m->encoder.config, m->encoder.weights,
                     m->encoder.seed, &o, err));
    uint32_t channels = network_info(encoder)->out_channels;
    *has_variance = channels == 2 * m->sample_channels;
    enum unstir_status st =
        *has_variance || channels == m->sample_channels
            ? encode(m, encoder, x, pictures, n, width, height, moments, cancel,
                     err)
            : error_set(err, UNSTIR_ERR_FORMAT,
                        "the encoder writes %u channels for latents of %u",
                        channels, m->sample_channels);
    network_free(encoder);
    return st;
}

/* -- sketches -------------------------------------------------------------- */

static const struct colours *colours_of(const struct unstir_model *m)
{
    const struct colours *best = NULL;
    double least = INFINITY;

    if (m->sample_channels != 4 || m->info.channels != 3)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(colours); i++) {
        double d =
            fabs(log(fabs(m->scaling.factor) / colours[i].scaling_factor));
        if (d < least) {
            least = d;
            best = &colours[i];
        }
    }
    return best;
}

static float colour(const struct colours *map, double scale,
                    const float *sample, size_t hw, size_t at, size_t channel)
{
    float sum = 0;

    for (size_t k = 0; k < 4; k++)
        sum += map->rgb[k][channel] * sample[k * hw + at];
    return (float)((double)sum * scale);
}

void latent_sketch(const struct unstir_model *m, const float *sample,
                   uint32_t width, uint32_t height, float *planes)
{
    uint32_t w = width / m->factor, h = height / m->factor;
    size_t hw = (size_t)h * w, n = latent_picture_floats(m, width, height);

    if (!m->decoder) {
        memcpy(planes, sample, n * sizeof *planes);
        return;
    }
    const struct colours *map = colours_of(m);
    double scale = map ? map->scaling_factor / m->scaling.factor : 1;
    for (size_t i = 0; i < n; i++) {
        size_t channel = i / ((size_t)width * height);
        size_t y = i / width % height / m->factor, x = i % width / m->factor;

        planes[i] = map ? colour(map, scale, sample, hw, y * w + x, channel)
                        : sample[channel % m->sample_channels * hw + y * w + x];
    }
}
