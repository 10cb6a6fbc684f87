#!/bin/sh
# t_pipelines.sh - we run what the reference saves: drawn pipelines, layouts on
# disk and requests, the last sample and the picture compared.
#
# A fixed set of seeds (more by hand: differ.py --seed, --count).
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/python/environment.sh
exec "$python" tools/goldens/differ.py --build "${BUILD:-build}" --count 2 --kind \
    sd sdxl refiner lcm img2img lcmimg inpaint edit ddpm ddim pixels score consistency \
    ldm ditpipe
