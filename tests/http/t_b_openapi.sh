# t_b_openapi.sh - the document says what is true: every address answers as it
# says, every answer has exactly the members of its schema.
#
# SPDX-License-Identifier: MIT
. tests/http/lib.sh
start_server --max-queue 1 --quantum 1h --lora-dir tests/data/lora
get /openapi.json -D "$TMP/h" >"$TMP/api"
is "version" "$(jq -r .openapi "$TMP/api")" 3.1.0
is "not changed: 304" "$(status "$URL/openapi.json" -H "If-None-Match: $(header "$TMP/h" ETag)")" 304
is "operation ids differ" "$(jq '[.paths[][].operationId]|length == (unique|length)' "$TMP/api")" true
is "every reference leads somewhere" "$(jq -c '. as $all | [.. | objects | ."$ref"? // empty | (ltrimstr("#/")|split("/")) as $path | select(($all | getpath($path)) == null)]' "$TMP/api")" '[]'
is "every {name} of a path is a parameter" "$(jq -c '[.paths|to_entries[]|.key as $path|.value[]|([.parameters[]|select(.in == "path").name] == [$path|scan("{([a-z0-9]+)}")[0]])]|all' "$TMP/api")" true
is "JSON has a schema" "$(jq -c '[.paths|del(.["/openapi.json"])[][].responses[].content?["application/json"]? // empty|has("schema")]|all' "$TMP/api")" true

# Every method of every path is what OPTIONS allows.
jq -r '.paths|to_entries[]|"\(.key) \(.value|keys|map(ascii_upcase)|sort|join(","))"' "$TMP/api" | while read -r path methods; do
    allow=$(curl -s -X OPTIONS -D - "$URL$(echo "$path" | sed 's/{[a-z0-9]*}/x/g')" | tr -d '\r' | sed -n 's/^Allow: //p' |
        tr -d ' ' | tr ',' '\n' | grep -v 'HEAD\|OPTIONS' | sort | xargs | tr ' ' ,)
    [ "$allow" = "$methods" ] || echo "$path: $methods, Allow says $allow"
done >"$TMP/differ"
is "methods are those that OPTIONS allows" "$(cat "$TMP/differ")" ""

# valid(schema): where a value breaks it, in words.  Members that no schema
# names are faults too: the document must not fall behind.
cat >"$TMP/valid.jq" <<'JQ'
def kind: if type == "number" and . == floor then ["integer", "number"] else [type] end;
def faults($all; $s; $at):
    if $s["$ref"] then faults($all; $all | getpath($s["$ref"] | ltrimstr("#/") | split("/")); $at)
    else . as $v
    | (if $s.type == null then empty
       else ([$s.type] | flatten) as $types
       | select(any($v | kind[]; . as $k | $types | index($k) != null) | not)
       | "\($at): \($v | type), not \($types | join(" or "))" end),
      (select($s.enum and ($s.enum | index($v)) == null) | "\($at): \($v) is none of \($s.enum)"),
      (select(type == "object" and $s.properties)
       | ($s.required // [] | .[] | select(. as $k | $v | has($k) | not) | "\($at): no \(.)"),
         (keys[] | . as $k
          | if $s.properties[$k] then $v[$k] | faults($all; $s.properties[$k]; "\($at).\($k)")
            else "\($at).\($k): not in the schema" end)),
      (select(type == "object" and $s.additionalProperties and ($s.properties | not))
       | to_entries[] | .key as $k | .value | faults($all; $s.additionalProperties; "\($at).\($k)")),
      (select(type == "array" and $s.items)
       | to_entries[] | .key as $i | .value | faults($all; $s.items; "\($at)[\($i)]"))
    end;
[. as $v | $api[0] as $all | $v | faults($all; {"$ref": "#/components/schemas/\($name)"}; $name)] | join("; ")
JQ
fits() { # NAME SCHEMA: the JSON on stdin
    is "$1 fits $2" "$(jq -r --slurpfile api "$TMP/api" --arg name "$2" -f "$TMP/valid.jq")" ""
}
is "the test finds faults" "$(echo '{"object":"job","id":7,"x":1}' | jq -r --slurpfile api "$TMP/api" --arg name Job -f "$TMP/valid.jq" | grep -c 'no status.*Job.id: number, not string.*Job.x: not in the schema')" 1

post /generate '{"prompt":"bag","n":2}' -H 'Accept: application/json' >"$TMP/j"
fits "POST /generate" Job <"$TMP/j"
slow=$(new_job "{$SLOW,\"n\":4}")
wait_step "$slow" 1
get "/v1/jobs/$slow" | fits "a running job" Job
post /v1/jobs '{"output":{"png_level":9},"preview":{"max_edge":8},"deadline_s":9999,"seed":"18446744073709551615"}' >"$TMP/j"
fits "a queued job" Job <"$TMP/j"
queued=$(jq -r .id "$TMP/j")
post /v1/jobs '{}' | fits "429" Problem
post "/v1/jobs/$queued/cancel" '{}' | fits "a canceled job" Job
get "/v1/jobs/$slow" -X DELETE
get /v1/jobs | fits "the list" JobList
id=$(new_job '{"width":62,"height":64,"steps":1000,"deadline_s":0.2}')
wait_job "$id" | fits "a failed job" Job
post /generate '{"stepz":1,"steps":0}' | fits "422" Problem
get /nothing | fits "404" Problem
get "/v1/jobs?stat=1" | fits "422 of a query" Problem
post /v1/estimate '{}' | fits "estimate" Estimate
post /v1/estimate '{"loras":["style:0.5:0.6"]}' | fits "a request with LoRAs" Estimate
get /v1/loras | fits "LoRAs, one of them no LoRA" LoraList
get /v1/models | fits "models" ModelList
get /v1/models/tiny | fits "a model" Model
get /v1/capabilities | fits "capabilities" Capabilities
get /v1/status | fits "status" Status
for word in live ready startup; do
    get "/health/$word" | fits "$word" Health
done
get /problems/gone | fits "an explanation" Help
finish
