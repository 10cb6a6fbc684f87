#!/bin/sh
# t_cli.sh - the command line: exit codes, errors, reproducibility, files.
#
# Runs $BUILD/unstir on the tiny random models of tests/data; one "ok name" or
# "not ok name" a test.
#
# SPDX-License-Identifier: MIT
set -u
cd "$(dirname "$0")/../.." || exit 1
U=$PWD/${BUILD:-build}/unstir
M=$PWD/tests/data/models
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
cd "$W" || exit 1
unset UNSTIR_MODEL UNSTIR_THREADS UNSTIR_PRECISION UNSTIR_ISA

ok() {
    echo "ok cli_$1"
}
not_ok() {
    echo "not ok cli_$1"
    shift
    for line in "$@"; do echo "    $line"; done
}

# expect NAME CODE WORDS COMMAND...: the exit code, and words in the output
# (stdout and stderr together); WORDS "" checks the code alone.
expect() {
    name=$1 code=$2 words=$3
    shift 3
    "$@" >"$W/.out" 2>&1 </dev/null
    got=$?
    if [ $got -ne "$code" ]; then
        not_ok "$name" "exit $got, wanted $code" "$(head -c 600 "$W/.out")"
    elif [ -n "$words" ] && ! grep -qF -- "$words" "$W/.out"; then
        not_ok "$name" "wanted: $words" "got: $(head -c 600 "$W/.out")"
    else
        ok "$name"
    fi
}

# same NAME FILE FILE
same() {
    if cmp -s "$2" "$3"; then ok "$1"; else not_ok "$1" "$2 and $3 differ"; fi
}

# holds NAME CONDITION...: a shell condition
holds() {
    name=$1
    shift
    if "$@"; then ok "$name"; else not_ok "$name" "$*"; fi
}

# equal NAME GOT WANTED
equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "got: $2" "wanted: $3"; fi
}

# The JSON header of a safetensors file.
header() {
    tail -c +9 "$1" | head -c "$(od -An -tu8 -N8 "$1" | tr -d ' ')"
}

gen() {
    "$U" generate -m "$M/tiny" "$@"
}

# -- usage and help ---------------------------------------------------------
expect no_command 2 "usage: unstir COMMAND" "$U"
expect unknown_command 2 "did you mean generate?" "$U" generat
expect option_first 2 "--json: unknown option; a command comes first" "$U" --json
expect overview 0 "inspect" "$U" --help
expect version 0 "unstir 0." "$U" --version
for c in serve generate train noise inspect convert bench healthcheck version; do
    expect "help_$c" 0 "" "$U" help $c
done
expect help_of_option 0 "unstir generate -p sneaker" "$U" generate --help
for c in serve generate train convert; do
    expect help_$c 0 "  -h, --help" "$U" "$c" --help
    equal help_width_$c "$("$U" "$c" --help | sed '/^Examples:/,$d' | grep -cE '.{80}| $')" 0
done
expect help_disk_full 1 "stdout: cannot write" sh -c '"$1" help >/dev/full' - "$U"
expect help_unknown 2 "did you mean noise?" "$U" help nois
expect man_page 0 ".TH UNSTIR 1" "$U" help --man
expect completion_unknown 2 "fish" "$U" help --completion tcsh
"$U" help --completion bash >bash.sh
expect completion_bash 0 "" sh -c 'command -v bash >/dev/null || exit 0; bash -n bash.sh'
expect completion_has_steps 0 "--steps" cat bash.sh
equal version_json "$("$U" version --json | jq -r 'has("kernels")')" true

# -- options ----------------------------------------------------------------
expect unknown_option 2 "--stps: unknown option; did you mean --steps?" gen --stps 3
expect unknown_letter 2 "-x: unknown option" gen -x
expect value_missing 2 "--steps needs a value" gen --steps
expect value_for_flag 2 "--force takes no value" gen --force=1
expect not_a_number 2 "--steps 3x: must be a whole number" gen --steps 3x
expect steps_0 2 "--steps 0: must be 1.." gen --steps 0
expect steps_above 2 "1000" gen --steps 1001
expect negative_count 2 "-n -1: must be a whole number" gen -n -1
expect bad_real 2 "--eta nan: must be a number" gen --eta nan
expect eta_above 2 "--eta 1.5: must be 0..1" gen --eta 1.5
expect bad_seed 2 "2^64-1" gen --seed -1
expect seed_above 2 "--seed 18446744073709551616: must be 0..2^64-1" gen --seed 18446744073709551616
expect unknown_sampler 2 "did you mean ddim?" gen --sampler ddmi
expect sampler_help 0 "ddpm" "$U" generate --sampler help
expect unknown_isa 2 "--isa avx3: this CPU runs" gen --isa avx3
expect bad_precision 2 "must be one of auto, f32, bf16" gen --precision q4
expect negative_of_labels 2 "--negative: tiny reads no text" gen --negative x
expect lora_by_name 2 "LoRA x: no x.safetensors, x/adapter_model.safetensors or x/pytorch_lora_weights.safetensors in" gen --lora x
expect unknown_label 2 'did you mean "sneaker"' gen -p snaeker
expect class_above 2 "class" gen --class 99
expect class_and_prompt 2 "give one" gen -p bag --class bag
expect label_without_classes 2 "no classes" "$U" generate -m "$M/tiny-rgb" -p cat
expect extra_operand 2 "takes options only; did you mean -p \"foo\"?" gen foo
expect bad_size 2 "" gen --width 13
expect raw_steps_alone 2 "needs --raw" gen --raw-steps
expect stop_alone 2 "needs --save-state" gen --stop-after 1
expect bad_suffix 2 "must end in .png" gen -o x.gif
expect bad_progress 2 "did you mean bar?" gen --progress bra
expect env_error 2 "UNSTIR_THREADS x: must be a whole number" env UNSTIR_THREADS=x "$U" generate -m "$M/tiny"
holds nothing_was_written [ -z "$(find . -name '*.png')" ]

# -- pictures ---------------------------------------------------------------
expect first 0 "a.png" gen -p sneaker --seed 7 -o a.png --threads 1
holds png_signature [ "$(head -c 8 a.png | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]
gen -p sneaker --seed 7 -o b.png --threads 2 >/dev/null
same threads_1_and_2 a.png b.png
gen --class=7 --seed=7 -o c.png >/dev/null
same class_by_number a.png c.png
gen --class ' Sneaker ' --seed 7 -o - >d.png
same to_stdout a.png d.png
gen -p sneaker --seed 8 -o e.png -q >/dev/null
holds other_seed_other_bytes [ "$(cmp -s a.png e.png; echo $?)" -eq 1 ]
gen -p sneaker --seed 7 -n 3 -o 'n-{i}-{seed}.png' >names
same batch_first a.png n-1-7.png
same batch_second e.png n-2-8.png
equal names_on_stdout "$(tr '\n' ' ' <names)" "n-1-7.png n-2-8.png n-3-9.png "
gen -p sneaker --seed 7 -n 2 -o m.png >/dev/null
same numbered_in_batch e.png m-2.png
UNSTIR_MODEL=$M/tiny UNSTIR_THREADS=1 "$U" generate -p sneaker --seed 7 -o f.png >/dev/null
same environment a.png f.png
gen -p sneaker --seed 7 -n 2 --variation-seed 4 --variation-strength 0.2 -o 'v-{seed}.png' >names
equal variations_are_numbered "$(tr '\n' ' ' <names)" "v-7.png v-7-2.png "
gen -p sneaker --seed 7 --variation-seed 5 --variation-strength 0.2 -o v.png >/dev/null
same variation_alone v.png v-7-2.png
equal variation_seeds "$(gen -p sneaker --seed 7 -n 2 --variation-seed 4 --variation-strength 0.2 --json -o w.png | jq -c '[.seeds,.variation_seeds]')" "[[7,7],[4,5]]"
expect variation_seed_printed 0 "variation seed " gen -p sneaker --seed 7 --variation-strength 0.2 -o x.png
expect variation_seed_alone 2 "needs a --variation-strength" gen --variation-seed 4
expect variation_above 2 "--variation-strength 2: must be 0..1" gen --variation-strength 2
expect variation_in_file 0 "Variation seed: 5, Variation seed strength: 0.2" cat v.png
expect class_none 0 "" gen --class none --seed 1 -o none.png
expect metadata 0 '"seed":7' cat a.png
gen -p sneaker --seed 7 -o bare.png --no-metadata >/dev/null
expect no_metadata 1 "" grep -q '"seed":7' bare.png
expect rectangular 0 "" gen --width 16 --height 24 --seed 1 -o rect.png
expect isa_scalar 0 "" gen -p sneaker --seed 7 --isa scalar -o scalar.png
expect half_precision_model 0 "" "$U" generate -m "$M/tiny-rgb" --seed 1 -o rgb.png
expect png_level 0 "" gen -p sneaker --seed 7 --png-level 9 -o level.png
# Formats, and pictures to begin with
echo "no picture" >notes.txt
magic() {
    head -c 12 "$1" | od -An -tx1 | tr -d ' \n'
}
gen -p sneaker --seed 7 -o j.jpg --grid g.jpeg --timeline t.webp --animate f.webp >/dev/null
equal jpeg_signature "$(magic j.jpg | cut -c1-6) $(magic g.jpeg | cut -c1-6)" "ffd8ff ffd8ff"
equal webp_signature "$(magic t.webp | cut -c17-24)" 57454250
holds film_has_frames [ "$(grep -c ANMF f.webp)" -ge 1 ]
expect jpeg_metadata 0 "&quot;seed&quot;:7" grep -a unstir:request j.jpg
gen -p sneaker --seed 7 -o l.webp --quality 100 >/dev/null
gen -p bag --init l.webp --strength 0.4 --seed 3 -o i1.png >/dev/null
gen -p bag --init a.png --strength 0.4 --seed 3 -o i2.png --threads 2 >/dev/null
expect begun_from_lossless 0 '"strength":0.4' grep -a init_image_sha256 i1.png
holds init_changes [ "$(cmp -s i2.png a.png; echo $?)" -eq 1 ]
gen -p bag --init - --strength 0.4 --seed 3 -o i3.png <a.png >/dev/null
same init_from_stdin i2.png i3.png
expect mask 0 "" gen -p bag --init a.png --mask a.png --seed 3 -o k.png
expect mask_alone 2 "--mask needs --init" gen --mask a.png -o zz.png
expect strength_alone 2 "--strength needs --init" gen --strength 0.5 -o zz.png
expect no_step_left 2 "at least 0.1" gen --init a.png --steps 10 --strength 0.05 -o zz.png
expect not_a_picture 3 "neither like PNG nor JPEG nor WebP" gen --init notes.txt -o zz.png
expect film_suffix 2 "films are written as .webp" gen --animate f.png -o zz.png
expect inverse_needs_picture 2 "needs an init_image" gen --sampler ddim_inverse -o zz.png
expect inverse 0 "" gen --sampler ddim_inverse --init a.png -o inv.png
gen -p bag --init a.png --strength 0.5 --steps 10 --seed 3 -o w1.png >/dev/null
gen -p bag --init a.png --strength 0.5 --steps 10 --seed 3 --stop-after 2 --save-state half.state -o w2.png >/dev/null 2>&1
expect resume_of_picture 0 "" gen --resume half.state -o w2.png
same resumed_picture w1.png w2.png
expect noise_reads_jpeg 0 "" "$U" noise j.jpg --steps 3 -o strip.webp
holds seed_is_told [ -n "$(gen -o s.png 2>&1 | grep 'seed [0-9]')" ]

# -- files ------------------------------------------------------------------
expect exists 2 "a.png: exists; --force replaces it" gen -o a.png
expect forced 0 "" gen -p sneaker --seed 9 -o f.png --force
holds forced_replaced [ "$(cmp -s a.png f.png; echo $?)" -eq 1 ]
expect grid_exists 2 "exists" gen --grid a.png -o zz.png
gen --seed 1 >/dev/null 2>&1
gen --seed 1 >/dev/null 2>&1
holds numbered_default [ -f out-2.png ]
same numbered_same out.png out-2.png
expect name_twice 2 "put {i} in the name" sh -c "printf 'bag\nbag\n' | '$U' generate -m '$M/tiny' -p - -o '{prompt}-{seed}.png'"
expect no_folder 1 "missing/x.png" gen -o missing/x.png
expect no_folder_named 1 "folder missing" gen --grid missing/x.png
expect all_wrong 2 "must be 1 to 1000, not 2000; nearest: 1000" gen -p snaeker --steps 2000
expect all_wrong_prompt 2 '--prompt: "snaeker" is not a label' gen -p snaeker --steps 2000
expect labels_listed 2 "it has t-shirt, " gen -p xyzzy
expect film_name 2 "x.gif: films are written as .webp" gen --animate x.gif
expect healthcheck_url 2 "must begin with http://" "$U" healthcheck ftp://x
expect train_near 1 "did you mean the set fashion-mnist" "$U" train --data fashion-mnsit -o m --steps 3
holds no_leftovers [ -z "$(find . -name '*.part*')" ]
printf 'bag\n\nankle boot\n' >prompts
gen -p @prompts --seed 5 -o '{prompt}.png' >names
equal prompts_of_a_file "$(tr '\n' ' ' <names)" "bag.png ankle-boot.png "
gen -p - --seed 5 -o 'in-{i}.png' <prompts >/dev/null
same prompts_of_stdin ankle-boot.png in-2.png
expect prompts_missing 1 "nofile" gen -p @nofile
expect stdout_takes_one 2 "stdout takes one picture" gen -n 2 -o -
expect grid_and_timeline 0 "" gen -n 3 --seed 1 -o g.png --grid grid.png --timeline time.png
holds grid_written [ -s grid.png -a -s time.png ]

expect grid_too_large 4 "make fewer at once" gen -n 90000 --seed 1 --grid huge.png -o 'h-{i}.png'
expect long_timeline 0 "" gen --steps 300 --seed 1 --timeline long.png -o l.png

# -- json and progress ------------------------------------------------------
gen -p bag -n 2 --seed 18446744073709551615 -o 'j-{i}.png' --json >j.json 2>j.err
equal json_files "$(jq -c .files j.json)" '["j-1.png","j-2.png"]'
equal json_seeds "$(jq -c .seeds j.json)" '["18446744073709551615",0]'
equal json_steps "$(jq -c '[.steps, .model]' j.json)" '[4,"tiny"]'
equal json_is_one_object "$(jq -s length j.json)" 1
holds no_progress_without_terminal [ ! -s j.err ]
gen --seed 1 -o p.png --progress json -q 2>p.json >/dev/null
equal progress_lines "$(jq -c '[.step, .steps]' p.json | tr -d '\n')" '[1,4][2,4][3,4][4,4]'
expect no_colour_without_terminal 1 "" grep -q "$(printf '\033')" "$W/.out"

# -- raw --------------------------------------------------------------------
gen -p bag -n 2 --seed 5 --steps 3 -o 'r-{i}.png' --raw r.safetensors --raw-steps >/dev/null
header r.safetensors >r.json
equal raw_names "$(jq -c 'del(.__metadata__) | keys' r.json)" \
    '["image","sample","step.0000","step.0001","step.0002","step.0003"]'
equal raw_shape "$(jq -c '[.sample.dtype, .sample.shape]' r.json)" '["F32",[2,1,16,16]]'
equal raw_request "$(jq -r '.__metadata__.request | fromjson | .seed' r.json)" 5
tensor() { # the bytes of a tensor
    n=$(($(od -An -tu8 -N8 "$1") + 8))
    tail -c +$((n + 1 + $(jq ".\"$2\".data_offsets[0]" r.json))) "$1" | head -c 2048
}
tensor r.safetensors step.0003 >last
tensor r.safetensors sample >sample
same raw_last_step_is_the_sample last sample
gen -p bag --seed 6 --steps 3 -o r6.png --raw r6.safetensors >/dev/null
tail -c 1024 sample >second
n=$(($(od -An -tu8 -N8 r6.safetensors) + 8))
tail -c +$((n + 1 + $(header r6.safetensors | jq '.sample.data_offsets[0]'))) r6.safetensors | head -c 1024 >alone
same raw_alone_as_in_a_batch second alone
expect raw_ceiling 4 "make fewer at once" gen -n 100000 --steps 1000 --seed 1 --raw big.safetensors --raw-steps -o 'big-{i}.png'

# -- stopping and going on --------------------------------------------------
for sampler in ddim ddpm; do
    set -- -p bag --seed 11 --steps 6 --sampler $sampler
    gen "$@" -o whole-$sampler.png >/dev/null
    gen "$@" --save-state s-$sampler --stop-after 2 -o no-$sampler.png >/dev/null 2>&1
    holds stopped_$sampler [ ! -e no-$sampler.png ]
    gen --resume s-$sampler -o went-$sampler.png >/dev/null
    same resumed_$sampler whole-$sampler.png went-$sampler.png
done
expect resume_with_seed 2 "--seed cannot go with --resume" gen --resume s-ddim --seed 3
expect resume_other_model 3 "" "$U" generate -m "$M/tiny-rgb" --resume s-ddim -o o.png
head -c 3000 s-ddim >cut
expect resume_damaged 3 "cut" gen --resume cut -o o.png
expect state_of_many 2 "one picture" gen -n 2 --save-state t

# Ctrl-C in the middle.  A thousand progress lines do not fit a pipe, so the
# program waits for its reader and cannot be done before it is interrupted.
interrupt() { # options: exit code of a run that is interrupted
    mkfifo pipe
    "$U" generate -m "$M/tiny" --steps 1000 --seed 2 --progress json -o int.png "$@" >/dev/null 2>pipe &
    pid=$!
    exec 3<pipe
    read -r line <&3
    kill -INT $pid
    cat <&3 >/dev/null
    wait $pid
    code=$?
    exec 3<&-
    rm pipe
}
interrupt
equal interrupted $code 130
holds interrupted_leaves_nothing [ ! -e int.png ]
interrupt --save-state int
equal interrupted_with_state $code 130
gen --resume int -o int.png >/dev/null
gen --steps 1000 --seed 2 -o int2.png >/dev/null
same interrupted_and_resumed int.png int2.png
# SIGPIPE is an ordinary end: no message.
gen -n 20 --seed 1 -o 'sp-{i}.png' 2>sigpipe.err | head -n 1 >/dev/null
holds sigpipe_is_silent [ ! -s sigpipe.err ]

# -- models that are wrong --------------------------------------------------
expect no_model 1 "model nowhere: no such file or folder, nor a model that comes" "$U" generate -m nowhere
expect near_model 1 "did you mean fashion-score?" "$U" generate -m fashion-scor
expect near_path 1 "did you mean $M/tiny-text?" "$U" inspect "$M/tiny-tect"
: >here.safetensors
expect serve_file_here 2 "too short for a safetensors file" "$U" serve -m here.safetensors --check
expect serve_near_model 1 "did you mean fashion-score?" "$U" serve -m fashion-scor --port 0
cp -r "$M/tiny" broken
head -c 100000 "$M/tiny/unet/diffusion_pytorch_model.safetensors" >broken/unet/diffusion_pytorch_model.safetensors
expect truncated_model 3 "download is probably incomplete" "$U" generate -m broken
expect truncated_inspect 3 "diffusion_pytorch_model.safetensors" "$U" inspect broken
rm broken/unet/diffusion_pytorch_model.safetensors
echo x >broken/unet/diffusion_pytorch_model.bin
expect pickle_model 3 "pickle" "$U" generate -m broken
echo '{' >broken/unet/config.json
expect bad_config 3 "not valid JSON" "$U" inspect broken
sed 's/"layers_per_block": 1/"layers_per_block": 0/' "$M/tiny/unet/config.json" >broken/unet/config.json
expect config_path 3 "broken/unet/config.json: \"layers_per_block\"" "$U" inspect broken
cp "$M/tiny/unet/config.json" broken/unet/config.json
rm broken/unet/diffusion_pytorch_model.bin
expect no_weights 1 "diffusion_pytorch_model.safetensors.index.fp16.json" "$U" generate -m broken
echo '{"weight_map":{"conv_in.weight":"part.safetensors"}}' >broken/unet/diffusion_pytorch_model.safetensors.index.json
expect no_shard 1 "broken/unet/part.safetensors: there is no such file" "$U" generate -m broken

# -- convert -----------------------------------------------------------------
expect convert_folder 0 "half written" "$U" convert "$M/tiny" half --dtype f16
equal convert_format "$("$U" inspect half --json | jq -c .dtypes)" '{"F16":145}'
holds convert_runs "$U" generate -m half -n 1 --steps 2 -o half.png -q
expect convert_no_file 3 "has no form as a single file" "$U" convert half one.safetensors
equal convert_json "$("$U" convert half other --json | jq -c .parts)" '{"unet":{"tensors":145,"parameters":45321}}'
same convert_is_exact half/unet/diffusion_pytorch_model.safetensors other/unet/diffusion_pytorch_model.safetensors
expect convert_progress 0 '"event":"progress","byte":90642,"bytes":90642,' "$U" convert half third --progress json
expect convert_in_the_way 2 "is there already" "$U" convert half other
expect convert_no_folder 2 "there is no folder nowhere/" "$U" convert half nowhere/x
expect convert_no_lora 2 "with commas between" "$U" convert half next --lora a,,b
expect convert_unknown_format 2 "f32, f16, bf16" "$U" convert half next --dtype f33

# -- inspect, noise, healthcheck ---------------------------------------------
"$U" inspect "$M/tiny" --json --tensors >i.json
equal inspect_facts "$(jq -c '[.family, .parameters, .native_size, .classes, .can_run]' i.json)" \
    '["UNet2DModel",45321,[16,16],10,true]'
equal inspect_nothing_odd "$(jq -c '.odd' i.json)" '{"missing":[],"misshapen":[],"extra":[],"notes":[]}'
equal inspect_tensors "$(jq '.tensors | length' i.json)" 145
holds inspect_memory [ "$(jq '.peak_memory_bytes > 1000000' i.json)" = true ]
expect inspect_plain 0 "family: UNet2DModel" "$U" inspect "$M/tiny"
cp -r "$M/tiny" 'a"b\c'
expect inspect_quotes 0 'path: a"b\c' "$U" inspect 'a"b\c'
expect inspect_below_a_file 1 "a.png/x: Not a directory" "$U" inspect a.png/x
if [ "$(id -u)" -ne 0 ]; then
    cp -r "$M/tiny" shut && chmod 000 shut/unet
    expect inspect_shut 1 "shut/unet/config.json: cannot open: Permission denied" "$U" inspect shut
    chmod 700 shut/unet
else
    echo "skip cli_inspect_shut: root may read everything"
fi
expect inspect_needs_a_model 2 "inspect needs 1 argument, not 0; usage: unstir inspect" "$U" inspect
cp -r "$M/tiny" odd
sed 's/"layers_per_block": 1/"layers_per_block": 2/' "$M/tiny/unet/config.json" >odd/unet/config.json
equal inspect_missing "$("$U" inspect odd --json | jq -c '[.can_run, (.odd.missing | length > 0)]')" '[false,true]'
expect noise_strip 0 "strip.png" "$U" noise a.png --steps 4 -o strip.png
"$U" noise a.png --steps 4 -o strip2.png >/dev/null
same noise_is_reproducible strip.png strip2.png
"$U" noise a.png --steps 4 --schedule linear -o strip3.png >/dev/null
holds noise_schedules_differ [ "$(cmp -s strip.png strip3.png; echo $?)" -eq 1 ]
equal noise_json "$("$U" noise a.png --seed 3 -o n.png --json | jq -c .)" '{"file":"n.png","steps":8,"seed":3}'
expect noise_schedule_unknown 2 "did you mean cosine?" "$U" noise a.png --schedule cosin
expect noise_not_a_png 3 "PNG" "$U" noise prompts
expect noise_missing 1 "nofile.png" "$U" noise nofile.png
expect healthcheck_nobody 1 "healthcheck: 127.0.0.1:1: Connection refused" "$U" healthcheck --timeout-ms 500 http://127.0.0.1:1/health/ready

# -- train ------------------------------------------------------------------
# A log file that stands where a terminal could: lines, the first step's and
# the last one's at least; --json has them on stdout, --quiet nowhere.
tiny_training() {
    "$U" train --data swiss-roll --max-pictures 64 --channels 8 --head-dim 8 --attention none --batch 8 --timesteps 10 \
        --sample-every 0 --threads 1 --steps 3 "$@"
}
tiny_training -o roll >roll.out 2>roll.err
equal train_log_first_and_last "$(jq -s -c '[(.[0] | .step, .steps), (.[-1] | .step, .pictures), (.[0] | has("left_s"))]' roll.err)" '[1,3,3,24,true]'
equal train_plain_result "$(grep -c 'roll: 3 steps' roll.out)" 1
before=$(cksum roll/unet/* roll/training/state.safetensors)
expect train_done_already 0 "roll: training was done already, after 3 steps with loss $(sed -n 's/.*3 steps, loss \([0-9.]*\);.*/\1/p' roll.out)" \
    "$U" train --resume roll
equal train_done_json "$("$U" train --resume roll --json | jq -c '[.already_done, .step, .loss > 0]')" '[true,3,true]'
equal train_done_leaves_files "$(cksum roll/unet/* roll/training/state.safetensors)" "$before"
tiny_training -o roll2 --json >roll.out 2>roll.err
equal train_json_lines "$(jq -s -c '[.[0].step, .[-1].step]' roll.out)" '[1,3]'
holds train_json_alone [ ! -s roll.err ]
tiny_training -o roll3 -q >roll.out 2>&1
holds train_quiet [ ! -s roll.out ]
same train_same_weights roll/unet/diffusion_pytorch_model.safetensors roll3/unet/diffusion_pytorch_model.safetensors
tiny_training -o roll4 --objective origin >roll.out 2>/dev/null
equal train_tells_the_bound "$(grep -c 'bound: .* bits a dimension, .* against an isotropic Gaussian' roll.out)" 1
tiny_training -o roll5 --objective origin --json 2>/dev/null | tail -n 1 >roll.out
equal train_bound_json "$(jq -c '[.bound_bits < .known_bits, .gaussian_bits < .known_bits]' roll.out)" '[true,true]'
"$U" train --data heartbeat-bits --max-pictures 64 --channels 8 --head-dim 8 --attention none --batch 8 --timesteps 10 \
    --steps 3 --sample-every 0 -o beat --objective origin-bits >beat.out 2>/dev/null
equal train_bits_bound "$(grep -c 'bound: .* bits a dimension, .* against fair coins (all there is to know: +0.884)' beat.out)" 1
expect train_bits_samples 0 "b.png" "$U" generate -m beat --steps 3 --seed 1 -o b.png --force
expect train_bits_other_sampler 2 "does not suit this model" "$U" generate -m beat --sampler ddim -o b.png --force
expect train_bits_grey 2 "black and white" tiny_training -o roll8 --objective origin-bits
tiny_training -o roll6 --objective score >roll.out 2>&1
equal train_score_scheduler "$(jq -r ._class_name roll6/scheduler/scheduler_config.json)" ScoreSdeVeScheduler
expect train_score_samples 0 "s.png" "$U" generate -m roll6 --steps 3 --seed 1 -o s.png --force
expect noise_of_scores 0 "ns.png" "$U" noise -m roll6 s.png -o ns.png
expect noise_of_bits 0 "nb.png" "$U" noise -m beat b.png -o nb.png
expect train_sigma_order 2 "sigma_max" tiny_training -o roll7 --objective score --sigma-min 1 --sigma-max 0.5
expect train_keeps_a_model 2 "roll: holds a model already; --resume goes on with it, --force replaces it" tiny_training -o roll
equal train_kept_files "$(cksum roll/unet/* roll/training/state.safetensors)" "$before"
expect train_force 0 "roll2: 3 steps" tiny_training -o roll2 --force
expect train_resume_alone 2 "--lr: not beside --resume" "$U" train --resume roll --lr 1
mkdir pictures && cp a.png pictures
expect train_size 2 "--size: pictures of 5 x 5 cannot be halved 1 times, as a network of 2 levels does; nearest: 6" \
    "$U" train --data pictures --size 5 --channels 8,8 --head-dim 8 --steps 1 -o roll9
expect train_length 2 "one of steps, epochs and minutes says how long to train; none is given" "$U" train --data swiss-roll -o roll9
tiny_training -o whole --full-precision --sample-every 0 --stop-after 1 >whole.out 2>&1
"$U" train --resume whole --sample-every 0 >>whole.out 2>&1
equal train_resume_keeps_precision "$(header whole/unet/diffusion_pytorch_model.safetensors | jq -r '[.[].dtype? // empty] | unique[]')" F32
expect train_sample_of_two_pixels 0 "p.png" "$U" generate -m roll --steps 2 --seed 1 -o p.png --force
expect generate_by_the_shipped_model 0 "shipped.png" "$U" generate -p dress --steps 1 -o shipped.png

# -- models that read a text ------------------------------------------------
text() {
    "$U" generate -m "$M/tiny-text" --steps 2 --seed 1 "$@"
}
expect text_prompt 0 "cat.png" text -p "a cat" -o cat.png
expect text_negative 0 "" text -p "a cat" --negative dog -o dog.png
expect text_weight 0 "" text -p "a (cat:1.4)" -o weight.png
expect text_plain 0 "" text -p "a (cat:1.4)" --prompt-syntax plain -o plain.png
expect text_skip 0 "" text -p "a cat" --clip-skip 2 -o skip.png
equal text_differ "$(sha256sum cat.png dog.png weight.png plain.png skip.png | cut -c1-64 | sort -u | wc -l)" 5
expect text_skip_above 2 "--clip-skip: clip_skip must be 1 to 3" text -p cat --clip-skip 4
expect text_class 2 "has no classes" text --class 1
# A LoRA of rank 1 with ones in both halves.
layer=unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q
header="{\"$layer.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,16],\"data_offsets\":[0,64]},\"$layer.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[16,1],\"data_offsets\":[64,128]}}"
mkdir loras
# shellcheck disable=SC2059
{
    printf "\\$(printf %o $((${#header} % 256)))\\$(printf %o $((${#header} / 256)))\\0\\0\\0\\0\\0\\0"
    printf %s "$header"
    for i in 1 2 3 4 5 6 7 8; do
        printf '\0\0\200\077\0\0\200\077\0\0\200\077\0\0\200\077'
    done
} >loras/ones.safetensors
expect text_lora_missing 2 "LoRA style: no style.safetensors, style/adapter_model.safetensors or style/pytorch_lora_weights.safetensors in" text -p "<lora:style:1> cat"
expect text_lora_is_no_path 2 "no ../loras/ones.safetensors, " text --lora-dir loras -p "<lora:../loras/ones:1> cat"
expect text_lora_by_file 0 "" text -p "a cat" --lora loras/ones.safetensors:0.5 -o lora-file.png
expect text_lora_by_name 0 "" text -p "a cat" --lora-dir loras --lora ones:0.5 -o lora-name.png
same text_lora_is_the_same lora-file.png lora-name.png
expect text_lora_tag 0 "" text -p "a cat<lora:ones:0.5>" --lora-dir loras -o lora-tag.png
expect text_lora_twice 0 "" text -p "a cat" --lora loras/ones.safetensors:0.25 --lora loras/ones.safetensors:0.25 -o lora-two.png
expect text_lora_zero 0 "" text -p "a cat" --lora loras/ones.safetensors:0 -o lora-zero.png
same text_lora_zero_is_none cat.png lora-zero.png
equal text_lora_differs "$(sha256sum cat.png lora-file.png | cut -c1-64 | sort -u | wc -l)" 2
equal text_lora_is_named "$(grep -ac "$(sha256sum loras/ones.safetensors | cut -c1-64)" lora-tag.png)" 1
printf 'a cat <lora:ones:1>\na dog\n' >tags.txt
expect text_lora_of_each 2 "name different LoRAs" text -p @tags.txt --lora-dir loras
expect text_state 0 "" text -p "a cat" --stop-after 1 --save-state text.state
expect text_resume 0 "" "$U" generate -m "$M/tiny-text" --resume text.state -o resumed.png
same text_resumed_is_same cat.png resumed.png
text -p "a cat" -n 2 -o 'raw-{i}.png' --raw text.safetensors --raw-steps >/dev/null
header text.safetensors >text.json
equal text_raw_shapes "$(jq -c '[.image.shape, .sample.shape, ."step.0002".shape]' text.json)" \
    '[[2,3,16,16],[2,4,8,8],[2,4,8,8]]'
equal text_inspect "$("$U" inspect "$M/tiny-text" --json | jq -c '[.can, .autoencoder, (.parts|length)]')" '[["text-to-picture","guidance","negative-prompt"],"AutoencoderKL",6]'

# Steps of latents by three decoders
text -p "a cat" --timeline steps-matrix.png -o x1.png >/dev/null
text -p "a cat" --timeline steps-full.png --preview-decoder full -o x2.png >/dev/null
text -p "a cat" --timeline steps-tiny.png --preview-decoder tiny --tiny-decoder "$M/../vae_tiny" -o x3.png >/dev/null
equal preview_decoders_differ "$(sha256sum steps-*.png | cut -c1-64 | sort -u | wc -l)" 3
equal preview_decoders_change_no_picture "$(sha256sum cat.png x1.png x2.png x3.png | cut -c1-64 | sort -u | wc -l)" 1
expect preview_decoder_lacking 2 "--preview-decoder: tiny-text has no tiny decoder" text -p cat --animate f2.webp --preview-decoder tiny
expect preview_decoder_unknown 2 "must be one of matrix, tiny, full" text -p cat --preview-decoder vae
expect tiny_decoder_of_another 1 "the tiny decoder" text -p cat --tiny-decoder "$M/tiny"
# Several pictures that begin with one
text -p "a cat" --init cat.png --strength 0.5 -n 3 --seed 4 -o 'i-{seed}.png' >/dev/null
text -p "a cat" --init cat.png --strength 0.5 --seed 6 -o i.png >/dev/null
same begun_together_as_alone i.png i-6.png

# -- models that edit pictures -----------------------------------------------
mkdir edit
cp -r "$M/../edit/." "$M/tiny-text/vae" "$M/tiny-text/text_encoder" "$M/tiny-text/tokenizer" "$M/tiny-text/scheduler" edit
edit() {
    "$U" generate -m edit -p "a red dog" --steps 3 --seed 1 "$@"
}
expect edit_needs_a_picture 2 "--init_image: tiny-edit edits a picture" edit
expect edit 0 "e1.png" edit --init cat.png -o e1.png
expect edit_default 0 "" edit --init cat.png --image-guidance 1.5 -o e2.png
same edit_default_is_1.5 e1.png e2.png
expect edit_harder 0 "" edit --init cat.png --image-guidance 4 -o e3.png
expect edit_of_another 0 "" edit --init dog.png -o e4.png
equal edit_differ "$(sha256sum e1.png e3.png e4.png | cut -c1-64 | sort -u | wc -l)" 3
expect edit_says_so 0 '"image_guidance_scale":4' cat e3.png
expect edit_below_1 2 "--image-guidance 0.5: must be 1..100" edit --init cat.png --image-guidance 0.5
expect edit_strength 2 "--strength: tiny-edit begins in noise" edit --init cat.png --strength 0.5
expect edit_mask 2 "takes no mask" edit --init cat.png --mask cat.png
expect edit_state 0 "" edit --init cat.png --stop-after 1 --save-state edit.state
expect edit_resume 0 "" "$U" generate -m edit --resume edit.state -o e5.png
same edit_resumed_is_same e1.png e5.png
equal edit_inspect "$("$U" inspect edit --json | jq -c '[.pipeline, .can, .arena_bytes > 0]')" '["StableDiffusionInstructPix2PixPipeline",["edit","guidance","negative-prompt"],true]'
expect no_image_guidance 2 "--image-guidance: tiny-text does not edit" text -p cat --image-guidance 2

# A run in two parts, by a sampler that keeps no history: the same numbers
expect part_whole 0 "" text -p cat --sampler ddim --raw whole.safetensors -o part0.png
expect part_first 0 "" text -p cat --sampler ddim --denoising-end 0.5 --raw half.safetensors -o part1.png
expect part_second 0 "" text -p cat --sampler ddim --init half.safetensors --denoising-start 0.5 --raw both.safetensors -o part2.png
equal part_same "$(tail -c 1024 both.safetensors | sha256sum)" "$(tail -c 1024 whole.safetensors | sha256sum)"
expect part_says_so 0 '"denoising_start":0.5' cat part2.png
expect part_of_nothing 2 "--denoising-start needs --init" text -p cat --denoising-start 0.5
expect part_and_strength 2 "--strength: denoising_start says where to begin" text -p cat --init half.safetensors --denoising-start 0.5 --strength 0.3
expect part_backwards 2 "does not lie before" text -p cat --init half.safetensors --denoising-start 0.5 --denoising-end 0.4
expect part_too_short 2 "lies none of 2 steps" text -p cat --init half.safetensors --denoising-start 0.9999
expect latents_noised 0 "" text -p cat --init half.safetensors --strength 0.6 -o part3.png
expect latents_of_few 2 "of a picture of 16 x 16, not 32 x 16" text -p cat --init half.safetensors --width 32
expect latents_masked 0 "" text -p cat --init half.safetensors --mask cat.png -o part4.png
expect latents_masked_differ 1 "differ" cmp part3.png part4.png

# The same two parts by one command
pair() {
    text -p cat --sampler ddim --refiner "$M/tiny-text" --denoising-end 0.5 "$@"
}
expect pair 0 "" pair --raw pair.safetensors -o pair.png
equal pair_same "$(tail -c 1024 pair.safetensors | sha256sum)" "$(tail -c 1024 whole.safetensors | sha256sum)"
expect pair_says_so 0 '"refiner":{"model":"tiny-text"' cat pair.png
expect pair_for_people 0 "Refiner: tiny-text " cat pair.png
holds pair_in_raw grep -aq refiner pair.safetensors
equal pair_json "$(pair --json -o pair2.png | jq -c '[.model, .refiner, .steps]')" '["tiny-text","tiny-text",2]'
same pair_again pair.png pair2.png
expect pair_stopped 0 "" pair --stop-after 1 --save-state pair.state
expect pair_resumed 0 "" "$U" generate -m "$M/tiny-text" --refiner "$M/tiny-text" --resume pair.state -o pair3.png
same pair_resumed_is_same pair.png pair3.png
expect pair_resumed_alone 3 "no refiner is given" "$U" generate -m "$M/tiny-text" --resume pair.state
expect pair_of_pixels 2 "--refiner: fashion works on pixels" text -p cat --refiner fashion
expect pair_to_the_end 2 "--denoising-end: denoising_end 1 leaves nothing to the refiner" text -p cat --refiner "$M/tiny-text" --denoising-end 1
expect pair_too_late 2 "--refiner: tiny-text: from 0.9999 to 1 lies none of 2 steps" text -p cat --refiner "$M/tiny-text" --denoising-end 0.9999
expect told_nothing 2 "--original-size: is of SDXL alone" text -p cat --crop-at 3,4
expect told_no_pair 2 "--target-size 640: must be two whole numbers, as 1024x768" text -p cat --target-size 640
expect told_no_score 2 "--aesthetic-score: is of SDXL alone" text -p cat --aesthetic-score 5

# -- bench ------------------------------------------------------------------
"$U" bench eval -m "$M/tiny" --repeat 2 --warmup 1 --threads 1 --width 32 --json >bench.json
equal bench_eval "$(jq -c '[.what, .threads, .width, .batch, .ms_min <= .ms_max]' bench.json)" '["eval",1,32,1,true]'
"$U" bench eval -m "$M/tiny" --repeat 2 --warmup 1 --threads 1 --profile --json >profile.json
equal bench_profile "$(jq -c '[.gflops_one_thread > 0, (.profile | length > 3), (.profile[0] | .calls > 0 and .cpu_ms > 0), ([.profile[].share_of_time] | add | . > 0.99 and . < 1.01)]' profile.json)" '[true,true,true,true]'
expect bench_plain 0 "ms_median: " "$U" bench eval -m "$M/tiny" --repeat 2
equal bench_no_warmup "$("$U" bench eval -m "$M/tiny" --repeat 1 --warmup 0 --json | jq -c '[.warmup, .repeat]')" '[0,1]'
"$U" bench shortcuts -m "$M/tiny" --repeat 1 --warmup 0 --threads 1 --json >shortcuts.json
equal bench_shortcuts "$(jq -c '[.what, (.shortcuts | length), .shortcuts[0].name, .shortcuts[0].gain, .shortcuts[0].psnr_db, (.shortcuts[1].psnr_db < 80)]' shortcuts.json)" '["shortcuts",7,"full",1,null,true]'
expect bench_unknown 2 "did you mean eval?" "$U" bench evil
expect bench_needs_a_word 2 "usage: unstir bench" "$U" bench

# -- the service: same request, same bytes ------------------------------------
mkfifo first_line
"$U" serve -m "$M/tiny" --port 0 --log-format text >first_line 2>serve.err &
pid=$!
exec 4<first_line
read -r line <&4
url=${line#listening on }
end=$(($(date +%s) + 60)) # a busy machine is slow to read the model
until "$U" healthcheck "$url/health/ready" 2>/dev/null ||
    [ "$(date +%s)" -gt $end ]; do
    :
done
expect healthcheck_ready 0 "" "$U" healthcheck "$url/health/ready"
curl -s -m 60 -o http.png -d '{"prompt":"sneaker","seed":7}' "$url/generate"
same http_and_command_line a.png http.png
kill -TERM $pid
wait $pid
equal serve_drains $? 0
exec 4<&-
