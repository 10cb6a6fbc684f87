/* config_table.h - the options of `unstir serve`, grouped as --help shows
 * them.  See config.h for the kinds; the environment name is UNSTIR_ and the
 * flag in upper case with _ for -.
 *
 * Included several times; no guard.
 *
 * SPDX-License-Identifier: MIT
 */
CONFIG_GROUP("Models")
CONFIG_LIST(model, "model", "",
            "folder in the diffusers layout, single .safetensors or .gguf file "
            "or name of a shipped model; may be given more than once")

CONFIG_SIZE(models_memory, "models-memory", 0, 0, 1125899906842624,
            "for the weights of all models; those used least recently are "
            "unloaded above it; 0: no ceiling")
CONFIG_TEXT(lora_dir, "lora-dir", "",
            "folder of LoRAs (NAME.safetensors) that requests may name; read "
            "again when it changes")
CONFIG_INT(max_loras, "max-loras", 256, 1, 4096, "files of that folder")
CONFIG_SIZE(lora_bytes, "lora-bytes", 2147483648, 4096, 1099511627776,
            "of a LoRA file, and of all of a request")
CONFIG_INT(max_derived, "max-derived", 4, 1, 64,
           "models with LoRAs that are kept; those used least recently are "
           "unloaded above it")
CONFIG_CHOICE(precision, "precision", "auto", "auto|f32|bf16|int8",
              "operands of the network; auto is the CPU's own type")
CONFIG_TEXT(isa, "isa", "", "instruction set; empty is the best this CPU has")

CONFIG_TEXT(pack_cache, "pack-cache", "auto",
            "auto, none or a folder: keep packed weights for the next start")

CONFIG_TEXT(vae, "vae", "",
            "autoencoder of every model given, in place of its own or that it "
            "lacks; of one model: \"vae\" in its unstir.json")
CONFIG_LIST(text_encoder, "text-encoder", "",
            "the same of text encoders; twice for models with two")

CONFIG_BOOL(low_memory, "low-memory", false,
            "leave large weights in their file, decode latents in bands: less "
            "memory, more time")

CONFIG_TEXT(tiny_decoder, "tiny-decoder", "",
            "folder with an AutoencoderTiny for previews of latent models; "
            "empty: vae_tiny in the model's folder, if it is there")

CONFIG_GROUP("Computing")
CONFIG_INT(threads, "threads", 0, 0, 1024, "threads of a worker; 0: one a core")
CONFIG_CHOICE(pin, "pin", "auto", "auto|on|off",
              "keep threads on cores; auto: when a worker has one a core")
CONFIG_INT(workers, "workers", 1, 1, 64,
           "jobs that compute at one time; one with all cores is best up to 8")
CONFIG_INT(nice, "nice", 19, 0, 19, "niceness of the computing threads")
CONFIG_TIME(quantum_ms, "quantum", 2000, 1, 3600000,
            "a job computes before it lets waiting ones go first")

CONFIG_GROUP("Jobs")
CONFIG_INT(max_n, "max-n", 16, 1, 16, "pictures of one request")
CONFIG_INT(max_queue, "max-queue", 64, 1, 4096, "jobs that wait")
CONFIG_TIME(max_queue_ms, "max-queue-seconds", 1800000, 1000, 86400000,
            "predicted seconds of work that is accepted")
CONFIG_INT(max_jobs, "max-jobs", 4096, 16, 1048576,
           "jobs that wait, run or are remembered; the oldest finished one is "
           "forgotten for a new one")
CONFIG_TIME(ttl_ms, "ttl", 600000, 50, 86400000,
            "a finished job and its pictures are kept")
CONFIG_TIME(max_ttl_ms, "max-ttl", 86400000, 50, 604800000,
            "longest ttl_s a request may ask for")
CONFIG_SIZE(result_bytes, "result-bytes", 268435456, 4096, 1099511627776,
            "of finished pictures; the oldest are dropped above it")
CONFIG_SIZE(preview_bytes, "preview-bytes", 67108864, 4096, 1099511627776,
            "of kept steps; the oldest finished job's are dropped above it")
CONFIG_INT(max_streams, "max-streams", 512, 1, 65536,
           "event and picture streams at one time")

CONFIG_GROUP("Listening")
CONFIG_TEXT(listen, "listen", "127.0.0.1:8080",
            "HOST:PORT, [V6]:PORT or unix:PATH; port 0 picks a free one")
CONFIG_INT(port, "port", -1, 0, 65535, "replaces the port of --listen")
CONFIG_LIST(host_name, "host-name", "",
            "name by which clients may call this server (Host header)")
CONFIG_BOOL(insecure_no_auth, "insecure-no-auth", false,
            "allow listening beyond loopback without keys")

CONFIG_GROUP("Limits of connections")
CONFIG_INT(max_connections, "max-connections", 1024, 4, 65536,
           "connections at one time")
CONFIG_SIZE(body_bytes, "body-bytes", 536870912, 65536, 1099511627776,
            "of request bodies above 64 KiB, all together")
CONFIG_SIZE(answer_bytes, "answer-bytes", 268435456, 65536, 1099511627776,
            "of answers above 64 KiB that clients have yet to take, all "
            "together; stored pictures count once they are dropped from the "
            "store")
CONFIG_TIME(header_timeout_ms, "header-timeout", 10000, 50, 3600000,
            "for a request's line and headers to arrive")
CONFIG_TIME(body_timeout_ms, "body-timeout", 30000, 50, 3600000,
            "for a request's body to arrive")
CONFIG_TIME(write_timeout_ms, "write-timeout", 30000, 50, 3600000,
            "for a client to take more of an answer")
CONFIG_TIME(keep_alive_ms, "keep-alive", 60000, 50, 3600000,
            "an idle connection is kept")

CONFIG_GROUP("Stopping")
CONFIG_TIME(drain_timeout_ms, "drain-timeout", 30000, 0, 86400000,
            "after SIGTERM, to finish running and queued work")
CONFIG_TIME(drain_grace_ms, "drain-grace", 1000, 0, 600000,
            "after the last work, for clients to fetch results")

CONFIG_GROUP("Log")
CONFIG_CHOICE(log_format, "log-format", "auto", "auto|text|json",
              "auto: text on a terminal, JSON lines elsewhere")
CONFIG_CHOICE(log_level, "log-level", "info", "debug|info|warn|error|off",
              "least level that is written")
CONFIG_BOOL(log_requests, "log-requests", true, "a line for every request")

CONFIG_GROUP("This command")
CONFIG_TEXT(config, "config", "", "read options from this file")
CONFIG_BOOL(check, "check", false, "check options and exit")
CONFIG_BOOL(print_config, "print-config", false, "print all options and exit")
