/* t_latent_sketch.c - which colours latents are shown in before decoding.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "pipeline/checkpoint.h"
#include "pipeline/latent.h"

static struct unstir_model model_of(double scaling_factor, uint32_t channels)
{
    struct unstir_model m = {.sample_channels = channels, .factor = 2};

    m.decoder = (struct network *)&m; /* there is one: it is not looked at */
    m.info.channels = 3;
    m.scaling.factor = scaling_factor;
    return m;
}

/* One latent place, a unit of one channel, becomes 2 x 2 pixels. */
static void test_family(void **state)
{
    static const struct {
        double scaling_factor;
        size_t channel;
        double rgb[3];
    } rows[] = {
        {0.18215, 0, {0.298, 0.207, 0.208}},    /* SD 1, 2 */
        {0.18215, 3, {-0.184, -0.271, -0.473}}, /* SD 1, 2 */
        {0.13025, 0, {0.3816, 0.4930, 0.5320}}, /* XL */
        {0.13025, 1, {-0.3753, 0.1631, 0.1739}},
        {0.3643, 0, {0.149, 0.1035, 0.104}}, /* twice that of SD 1 */
    };
    float sample[4], planes[12];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_model m = model_of(rows[i].scaling_factor, 4);

        memset(sample, 0, sizeof sample);
        sample[rows[i].channel] = 1;
        latent_sketch(&m, sample, 2, 2, planes);
        for (size_t k = 0; k < 12; k++)
            if (!(fabs((double)planes[k] - rows[i].rgb[k / 4]) <= 1e-6))
                fail_msg("row %zu: [%zu] got %g, wanted %g", i, k,
                         (double)planes[k], rows[i].rgb[k / 4]);
    }
}

static void test_other_channels(void **state)
{
    struct unstir_model m = model_of(0.18215, 3);
    const float sample[3] = {0.5F, -0.25F, 1};
    float planes[12];

    latent_sketch(&m, sample, 2, 2, planes);
    for (size_t k = 0; k < 12; k++)
        assert_true(planes[k] == sample[k / 4]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_family),
        cmocka_unit_test(test_other_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
