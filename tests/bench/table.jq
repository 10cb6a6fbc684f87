# table.jq - the Markdown table of tests/bench/run.sh from all JSON lines.

def number($d): . * pow(10; $d) | round / pow(10; $d) | tostring;
def percent: if . == null then "unknown share" else (. * 100 | round | tostring) + " %" end;
def model: sub(".*models/"; "");
def row($what; $figure; $more): "| \($what) | \($figure) | \($more) |";

def evals: .[] | select(.what == "eval")
    | row("\(.model | model), \(.width)x\(.height), batch \(.batch), \(.precision), \(.isa), one evaluation";
          "\(.ms_min | number(2)) ms";
          "\(.batch * 1000 / .ms_min | number(1)) pictures/s, \(.gflops | number(0)) GFLOP/s, \(.share_of_peak | percent) of peak; median \(.ms_median | number(2)) ms");

def kernels: .[] | select(.what == "kernels") | .isa as $isa | .rows
    | group_by([.kernel, .algorithm])[]
    | row("\(.[0].kernel), \(.[0].algorithm), \($isa), \(length) shapes";
          "\(map(.gflops) | max | number(0)) GFLOP/s";
          "best \(map(.share_of_peak) | max | percent), median \(sort_by(.share_of_peak)[length / 2 | floor].share_of_peak | percent) of peak");

"| what | figure | more |", "|---|---|---|",
(.[] | select(.what == "machine")
    | row("multiply-adds from registers, \(.isa), \(.threads) threads"; "\(.gflops | number(0)) GFLOP/s"; "one thread \(.gflops_one_thread | number(0)); memory \(.read_gb_s | number(1)) GB/s read, \(.copy_gb_s | number(1)) copied")),
(.[] | select(.what == "pool")
    | row("an empty loop on \(.threads) threads"; "\(.loop_us | number(2)) us"; "\(.loop_asleep_us | number(1)) us if they sleep"),
      row("two gangs side by side keep"; .kept | percent; "of one gang's loops a second; promised: 80 %")),
kernels, evals,
(.[] | select(.what == "picture")
    | row("\(.model | model), a picture of \(.steps) steps"; "\(.ms | number(0)) ms"; "\(.ms_per_step | number(2)) ms a step")),
(.[] | select(.what == "train")
    | row("\(.model | model), a training step, batch \(.batch), \(.precision)"; "\(.ms_min | number(0)) ms"; "\(.images_per_s | number(0)) pictures/s, \(.gflops | number(0)) GFLOP/s")),
(.[] | select(.what == "bodies")
    | row("polls on \(.connections) connections while bodies of 8 MB come in and all cores infer"; "p99 \(.p99_ms) ms"; "\(.mb_per_s) MB/s of bodies; promised: 50 ms")),
(.[] | select(has("polls_per_s") and (has("events") or .what == "bodies" | not))
    | row("polls on \(.connections) connections while all cores infer"; "\(.polls_per_s)/s"; "p99 \(.p99_ms) ms; promised: 5,000/s within 50 ms")),
(.[] | select(has("events"))
    | row("events after their step, \(.polls_per_s) polls/s on \(.connections) connections"; "p99 \(.p99_ms) ms"; "p50 \(.p50_ms) ms of \(.events) events; promised: 20 ms")),
(.[] | select(.what == "curl")
    | row("POST /generate by curl, \(.steps) steps"; "\(.seconds | number(2)) s"; "best of 5"))
