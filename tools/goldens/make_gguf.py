#!/usr/bin/env python3
"""make_gguf.py - GGUF files by the package "gguf", and what they hold.

usage: make_gguf.py tests/data/gguf

types.gguf has a tensor of each number format, quantised ones of random
blocks, so that every bit of a block counts; types.safetensors has the values
that the package makes of them.  sd1.gguf and sdxl.gguf are the smallest files
that are read as whole models, with the names that writers of such files use;
the .safetensors beside each is the same model under its original names.

SPDX-License-Identifier: MIT
"""
import pathlib
import sys

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

Q = gguf.GGMLQuantizationType
rng = np.random.default_rng(20260101)
UNET = "model.diffusion_model."
VAE = "first_stage_model.encoder.down.0.block.0.conv1.weight"


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


# Where the f16 scales of a block stand.
SCALES = {Q.Q4_1: (0, 2), Q.Q5_1: (0, 2), Q.Q4_K: (0, 2), Q.Q5_K: (0, 2),
          Q.Q2_K: (80, 82), Q.Q3_K: (108,), Q.Q6_K: (208,)}


def random_blocks(kind, rows, columns, rng=rng, scale=0.05):
    """Any bits, but for the f16 scales: those are finite."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
    for at in SCALES.get(kind, (0,)):
        small = (rng.standard_normal((rows, columns // block, 1)) * scale).astype(np.float16)
        data[:, :, at:at + 2] = small.view(np.uint8)
    return data.reshape(rows, -1)


def bf16(x):
    return (x.view(np.uint32) >> 16).astype(np.uint16)


class File:
    def __init__(self, path, arch):
        self.writer = gguf.GGUFWriter(path, arch)
        self.values = {}

    def add(self, name, x, kind=Q.F32, value_name=None):
        if kind == Q.F16:
            x = x.astype(np.float16)
            self.writer.add_tensor(name, x)
            value = x.astype(np.float32)
        elif kind == Q.F32:
            self.writer.add_tensor(name, x)
            value = x
        else:
            raw = x if x.dtype == np.uint8 else quantize(x, kind)
            self.writer.add_tensor(name, raw, raw_dtype=kind)
            value = dequantize(raw, kind)
        self.values[value_name or name] = np.ascontiguousarray(value)

    def close(self, path):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()
        save_file(self.values, path)


def types(folder):
    f = File(folder / "types.gguf", "sd1")
    w = f.writer
    w.add_uint8("test.u8", 200)
    w.add_int8("test.i8", -3)
    w.add_uint16("test.u16", 60000)
    w.add_int16("test.i16", -30000)
    w.add_uint32("test.u32", 1 << 31)
    w.add_int32("test.i32", -5)
    w.add_float32("test.f32", 1.5)
    w.add_bool("test.bool", True)
    w.add_string("test.text", "a text")
    w.add_uint64("test.u64", 1 << 63)
    w.add_int64("test.i64", -(1 << 40))
    w.add_float64("test.f64", 2.5)
    w.add_array("test.numbers", [1, 2, 3])
    w.add_array("test.texts", ["one", "two"])
    w.add_custom_alignment(64)
    f.add("f32", normal(2, 3, 5, 7))
    f.add("f16", normal(3, 5), Q.F16)
    x = bf16(normal(4, 6))
    f.writer.add_tensor("bf16", x.view(np.uint8), raw_dtype=Q.BF16)
    f.values["bf16"] = (x.astype(np.uint32) << 16).view(np.float32)
    for kind, columns in ((Q.Q8_0, 96), (Q.Q4_0, 96), (Q.Q4_K, 512), (Q.Q4_1, 96), (Q.Q5_0, 96),
                          (Q.Q5_1, 96), (Q.Q2_K, 512), (Q.Q3_K, 512), (Q.Q5_K, 512), (Q.Q6_K, 512)):
        f.add(kind.name.lower(), random_blocks(kind, 3, columns), kind)
    f.add("f32_1", normal(5))
    f.close(folder / "types.safetensors")


def unet(f, context, kind=Q.F16):
    f.add(UNET + "input_blocks.0.0.weight", normal(8, 4), kind)
    f.add(UNET + "input_blocks.1.0.in_layers.2.weight", normal(8, 8), kind)
    f.add(UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight", normal(8, 8), kind)
    f.add(UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", normal(8, context), kind)
    f.add(UNET + "out.2.weight", normal(4, 8), Q.F32)
    f.add(VAE, normal(4, 3), kind)


def sd1(folder):
    f = File(folder / "sd1.gguf", "sd1")
    unet(f, 64)
    f.add("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", normal(12, 64), Q.Q8_0)
    f.close(folder / "sd1.safetensors")


def sdxl(folder):
    f = File(folder / "sdxl.gguf", "sdxl")
    unet(f, 128)
    f.add(UNET + "label_emb.0.0.weight", normal(8, 16))
    f.add("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", normal(12, 64), Q.Q4_0,
          "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight")
    old, new = "cond_stage_model.1.transformer.text_model.", "conditioner.embedders.1.model."
    f.add(old + "embeddings.token_embedding.weight", normal(12, 64), Q.Q8_0, new + "token_embedding.weight")
    f.add(old + "encoder.layers.0.self_attn.in_proj.weight", normal(192, 64), Q.Q8_0,
          new + "transformer.resblocks.0.attn.in_proj_weight")
    f.add(old + "encoder.layers.0.self_attn.in_proj.bias", normal(192), Q.F32,
          new + "transformer.resblocks.0.attn.in_proj_bias")
    f.add(old + "final_layer_norm.weight", normal(64), Q.F32, new + "ln_final.weight")
    f.add(old + "text_projection", normal(64, 64), Q.Q8_0, new + "text_projection")
    f.close(folder / "sdxl.safetensors")


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    types(folder)
    sd1(folder)
    sdxl(folder)


if __name__ == "__main__":
    main()
