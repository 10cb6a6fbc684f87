# t_b_page.sh - the web page without a browser: it loads nothing from elsewhere,
# its scripts name elements that it has, fields that requests have, members that
# answers have.  t_c_browser.sh uses it.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server

get / -D "$TMP/h" >"$TMP/page"
is "type" "$(header "$TMP/h" Content-Type)" "text/html; charset=utf-8"
like "policy" "$(header "$TMP/h" Content-Security-Policy)" "default-src 'none'*script-src 'self'*"
is "nothing inline" "$(grep -ciE 'unsafe|<style|style=|<script>| on[a-z]+=' "$TMP/h" "$TMP/page" | sed 's/.*://' | xargs)" "0 0"
is "not changed: 304" "$(status "$URL/" -H "If-None-Match: $(header "$TMP/h" ETag)")" 304

# Its files: what it names, and what those name.
mkdir "$TMP/files"
{
    grep -oE '"page/[a-z]+\.[a-z]+"' "$TMP/page" | tr -d '"'
    sed -n 's/.* from "\.\/\([a-z]*\.js\)";/page\/\1/p' server/page/*.js
} | sort -u >"$TMP/names"
while read -r name; do
    case $name in
    *.css) type='text/css; charset=utf-8' ;;
    *) type='text/javascript; charset=utf-8' ;;
    esac
    get "/$name" -D "$TMP/h" -o "$TMP/files/$(basename "$name")"
    is "$name" "$(header "$TMP/h" Content-Type) $(status "$URL/$name" -H "If-None-Match: $(header "$TMP/h" ETag)")" "$type 304"
done <"$TMP/names"
is "every file is used" "$(cd server/page && echo ./*.js ./*.css)" "$(cd "$TMP/files" && echo ./*.js ./*.css)"
is "no other file" "$(status "$URL/page/other.js") $(status "$URL/page/schemas.json") $(status "$URL/page/index.html") $(status "$URL/page/") $(status "$URL/page/%2e%2e%2fpage.css")" "404 404 404 404 404"
is "nothing from elsewhere" "$(cat "$TMP/page" "$TMP"/files/* | sed "s|xmlns='http://www.w3.org/2000/svg'||" | grep -cE 'https?:|//[a-z]+\.|@import|url\(')" 0
is "no markup made from text" "$(cat "$TMP"/files/*.js | grep -cE 'innerHTML|outerHTML|insertAdjacent|document\.write|eval\(')" 0
is "small" "$([ "$(cat "$TMP/page" "$TMP"/files/* | wc -c)" -lt 80000 ] && echo small)" small
if command -v node >/dev/null 2>&1; then
    for file in "$TMP"/files/*.js; do
        is "syntax of $(basename "$file")" "$(node --input-type=module --check <"$file" 2>&1)" ""
    done
else
    echo "skip syntax of the scripts: node is not installed"
fi

# What is in $1 and not in $2, both lists of words.
missing() {
    sort -u "$1" >"$TMP/l1"
    sort -u "$2" >"$TMP/l2"
    comm -23 "$TMP/l1" "$TMP/l2" | xargs
}
# The list is no empty one: what finds it still works.
some() {
    [ "$(wc -l <"$1")" -ge "$2" ] && echo some
}
words() { # PATTERN FILE ...: what the part in brackets matches, a line each
    pattern=$1
    shift
    cat "$@" | grep -oE "$pattern" | sed -E "s/.*$pattern.*/\1/"
}

words ' id="([a-z-]+)"' "$TMP/page" >"$TMP/ids"
is "ids differ" "$(sort "$TMP/ids" | uniq -d)" ""
words '\$\("([a-z-]+)"\)' "$TMP"/files/*.js >"$TMP/used"
is "elements that scripts name" "$(some "$TMP/used" 60) $(missing "$TMP/used" "$TMP/ids")" "some "
grep -oE ' (for|aria-labelledby|aria-describedby|data-skip)="[a-z-]+"' "$TMP/page" | sed 's/.*="\(.*\)"/\1/' >"$TMP/used"
is "elements that others name" "$(some "$TMP/used" 5) $(missing "$TMP/used" "$TMP/ids")" "some "
is "every field has a name or a label" "$(grep -E '<(input|select|textarea)' "$TMP/page" | grep -cvE '<label|id="file"')" 0
is "every picture has a text" "$(grep -oE '<img[^>]*>' "$TMP/page" | grep -cv 'alt=')" 0

# Against the interface as it describes itself
get /openapi.json >"$TMP/api"
jq -r '.components.schemas.Generate.properties|to_entries[]|.key, (.key as $k|.value.properties? // {}|keys[]|"\($k).\(.)")' "$TMP/api" >"$TMP/fields"
words ' name="([a-z_.]+)"' "$TMP/page" >"$TMP/used"
sed -i '/^viewport$/d;/^color-scheme$/d' "$TMP/used"
words 'body\.([a-z_]+)' "$TMP"/files/form.js "$TMP"/files/start.js | grep -v '^length$' >>"$TMP/used"
words '[{ ](variation_[a-z]+|seed):' "$TMP/files/main.js" >>"$TMP/used"
is "fields of a request" "$(some "$TMP/used" 20) $(missing "$TMP/used" "$TMP/fields")" "some "
words 'model\??\.([a-z_]+)' "$TMP"/files/form.js "$TMP"/files/start.js "$TMP"/files/loras.js >"$TMP/used"
jq -r '.components.schemas.Model.properties|keys[]' "$TMP/api" >"$TMP/has"
is "members of a model" "$(some "$TMP/used" 20) $(missing "$TMP/used" "$TMP/has")" "some "
words 'limits\.([a-z_]+)' "$TMP"/files/*.js >"$TMP/used"
jq -r '.components.schemas|(.Model, .Capabilities).properties.limits.properties|keys[]' "$TMP/api" >"$TMP/has"
is "limits" "$(some "$TMP/used" 5) $(missing "$TMP/used" "$TMP/has")" "some "
words 'job\.([a-z_]+)' "$TMP/files/viewer.js" "$TMP/files/recent.js" >"$TMP/used"
jq -r '.components.schemas.Job.properties|keys[]' "$TMP/api" >"$TMP/has"
is "members of a job" "$(some "$TMP/used" 20) $(missing "$TMP/used" "$TMP/has")" "some "
words 'job\.urls\.([a-z_]+)' "$TMP/files/viewer.js" >"$TMP/used"
jq -r '.components.schemas.Job.properties.urls.properties|keys[]' "$TMP/api" >"$TMP/has"
is "addresses of a job" "$(some "$TMP/used" 3) $(missing "$TMP/used" "$TMP/has")" "some "
words 'stop\("([a-z]+)"\)' "$TMP/files/viewer.js" >"$TMP/used"
jq -r '.paths["/v1/jobs/{id}/cancel"].post.requestBody.content["application/json"].schema.properties.mode.enum[]' "$TMP/api" >"$TMP/has"
is "ways to stop a job" "$(some "$TMP/used" 2) $(missing "$TMP/used" "$TMP/has")" "some "
{
    grep -ohE '"/[a-z0-9]+[a-z0-9/]*' "$TMP"/files/*.js | sed 's|^"||;s|/$||'
    grep -oE 'href="(v1|openapi)[^"]*"' "$TMP/page" | sed 's|href="\(.*\)"|/\1|'
} >"$TMP/used"
jq -r '.paths|keys[]|sub("/{[a-z0-9]+}$"; "")' "$TMP/api" >"$TMP/has"
is "addresses" "$(some "$TMP/used" 8) $(missing "$TMP/used" "$TMP/has")" "some "

# Each of its commands is one that works.
sed -n '/id="examples"/,/<\/code>/p' "$TMP/page" | sed 's/.*<code[^>]*>//;s/<\/code>.*//' >"$TMP/examples"
is "two examples" "$(grep -c '^curl ' "$TMP/examples")" 2
while read -r line; do
    # shellcheck disable=SC2001
    line=$(echo "$line" | sed "s|ORIGIN|$URL|;s|curl |curl -s -m 60 -o /dev/null -w '%{http_code}' |")
    is "example $line" "$(eval "$line")" 200
done <"$TMP/examples"
finish
