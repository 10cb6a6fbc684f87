/* pickle.c - files of PyTorch's own format, which are never read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/pickle.h"

#include <string.h>
#include <strings.h>

#include "base/compiler.h"

/* A safetensors file begins with the length of its header in 8 bytes, of which
 * the upper half is never used. */
bool pickle_is(const void *bytes, size_t n)
{
    static const unsigned char zeros[4];
    const unsigned char *p = bytes;

    if (n < 8 || memcmp(p + 4, zeros, sizeof zeros) == 0)
        return false;
    return memcmp(p, "PK\3\4", 4) == 0 ||
           (p[0] == 0x80 && p[1] >= 2 && p[1] <= 5);
}

bool pickle_is_name(const char *name)
{
    static const char *const ends[] = {".bin", ".ckpt", ".pt", ".pth", ".pkl"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < ARRAY_LEN(ends); i++)
        if (strcasecmp(dot, ends[i]) == 0)
            return true;
    return false;
}

enum unstir_status pickle_refuse(const char *path, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "%.150s: is a pickle file, which can run code when it is "
                     "read, and is refused; convert it once where that is "
                     "safe: python -c \"import torch, safetensors.torch as s; "
                     "d = torch.load('IN', weights_only=True); "
                     "s.save_file(d.get('state_dict', d), "
                     "'OUT.safetensors')\"",
                     path);
}
