#!/bin/sh
# t_export.sh - the reference loads what `unstir train` exports: same samples.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/python/environment.sh
exec "$python" tests/python/reference_export.py "${BUILD:-build}/unstir"
