# t_c_browser.sh - the web page in a real browser, without a window.
#
# Skipped, loudly, where there is no Chromium ($CHROMIUM, or by its usual
# names), and with sanitizers: they look at the server, which others try.
#
# SPDX-License-Identifier: MIT
case ${BUILD:-build} in
*san-*)
    echo "skip the page in a browser: the release build tries it"
    exit 0
    ;;
esac
if ! python3 -c 'import sys; sys.path.insert(0, "tests/support"); import browser; sys.exit(not browser.find())'; then
    echo "SKIP the page in a browser: no Chromium here (CHROMIUM=/path/to/it)"
    exit 0
fi
. tests/http/lib.sh
mkdir "$TMP/edit"
cp -r tests/data/edit/. tests/data/models/tiny-text/vae tests/data/models/tiny-text/text_encoder \
    tests/data/models/tiny-text/tokenizer tests/data/models/tiny-text/scheduler "$TMP/edit"
start_server -m tests/data/models/tiny-text -m "$TMP/edit" --lora-dir tests/data/lora
python3 tests/http/browse.py "$URL" "$TMP" || FAILED=1
finish
