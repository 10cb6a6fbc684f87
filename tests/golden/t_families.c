/* t_families.c - the networks of latent models.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/compiler.h"
#include "network_golden.h"

static const struct network_golden goldens[] = {
    {"modules/vae_kl", "AutoencoderKL", "decode", "in.z", "out.dec"},
    {"modules/vae_kl", "AutoencoderKL", "encode", "in.img", "out.moments"},
    {"modules/vqmodel", "VQModel", "decode", "in.z", "out.dec"},
    {"modules/vqmodel", "VQModel", "encode", "in.img", "out.h"},
    {"modules/taesd", "AutoencoderTiny", "decode", "in.z", "out.dec"},
    {"modules/taesd", "AutoencoderTiny", "encode", "in.img", "out.enc"},
    {"modules/dit", "DiTTransformer2DModel", NULL, "in.x", "out.out"},
    {"families/unetc_sd1", NULL, NULL, NULL, NULL},
    {"families/unetc_sd1_odd", NULL, NULL, NULL, NULL},
    {"families/unetc_one_pixel", NULL, NULL, NULL, NULL},
    {"families/unetc_sd2", NULL, NULL, NULL, NULL},
    {"families/unetc_nomid", NULL, NULL, NULL, NULL},
    {"families/unetc_small", NULL, NULL, NULL, NULL},
    {"families/unetc_inpaint", NULL, NULL, NULL, NULL},
    {"families/unetc_upscaler", NULL, NULL, NULL, NULL},
    {"families/unetc_projection", NULL, NULL, NULL, NULL},
    {"families/unetc_simple_projection", NULL, NULL, NULL, NULL},
    {"families/unetc_acts", NULL, NULL, NULL, NULL},
    {"families/unetc_layers", NULL, NULL, NULL, NULL},
    {"families/unetc_reversed", NULL, NULL, NULL, NULL},
    {"families/unetc_xl", NULL, NULL, NULL, NULL},
    {"families/unetc_refiner", NULL, NULL, NULL, NULL},
    {"families/unetc_lcm", NULL, NULL, NULL, NULL},
    {"families/vae_decode", NULL, NULL, NULL, NULL},
    {"families/vae_encode", NULL, NULL, NULL, NULL},
    {"families/vae_plain", NULL, NULL, NULL, NULL},
    {"families/vq_decode", NULL, NULL, NULL, NULL},
    {"families/vq_encode", NULL, NULL, NULL, NULL},
    {"families/tiny_decode", NULL, NULL, NULL, NULL},
    {"families/tiny_encode", NULL, NULL, NULL, NULL},
    {"families/dit_wide", NULL, NULL, NULL, NULL},
    {"families/dit_geglu", NULL, NULL, NULL, NULL},
    {"families/unetc_xl_ends", NULL, NULL, NULL, NULL},
    {"families/unetc_lcm_ends", NULL, NULL, NULL, NULL},
    {"families/unetc_resampled", NULL, NULL, NULL, NULL},
    {"families/unetc_heads", NULL, NULL, NULL, NULL},
    {"families/unetc_embedded", NULL, NULL, NULL, NULL},
    {"families/unetc_up_alone", NULL, NULL, NULL, NULL},
    {"families/unetc_fourier", NULL, NULL, NULL, NULL},
    {"families/vq_attends_decode", NULL, NULL, NULL, NULL},
    {"families/vq_attends_encode", NULL, NULL, NULL, NULL},
};

/* With arguments: these files instead. */
int main(int argc, char **argv)
{
    if (argc > 1)
        return network_goldens_run_files(argv + 1, (size_t)argc - 1);
    return network_goldens_run(goldens, ARRAY_LEN(goldens));
}
