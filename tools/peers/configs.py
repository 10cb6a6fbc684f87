"""configs.py - Stable Diffusion 1.5 and XL as their configurations say.

Facts of the released models; keys that are left out have the default of
their class.

SPDX-License-Identifier: MIT
"""

SD15_UNET = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 768, "attention_head_dim": 8,
}
# With the guidance scale as an input, as latent consistency distillation adds it.
LCM_UNET = dict(SD15_UNET, time_cond_proj_dim=256)
SDXL_UNET = {
    "sample_size": 128, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10], "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048, "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

VAE = {
    "sample_size": 512, "in_channels": 3, "out_channels": 3, "latent_channels": 4,
    "layers_per_block": 2, "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "scaling_factor": 0.18215,
}
SDXL_VAE = dict(VAE, sample_size=1024, scaling_factor=0.13025)
TINY_VAE = {}  # AutoencoderTiny's defaults are those of TAESD

CLIP_L = {
    "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
    "projection_dim": 768, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1,
}
CLIP_BIG_G = dict(CLIP_L, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32,
                  num_attention_heads=20, hidden_act="gelu", projection_dim=1280)

BETAS = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
         "beta_schedule": "scaled_linear", "steps_offset": 1, "prediction_type": "epsilon"}
PNDM = dict(BETAS, _class_name="PNDMScheduler", skip_prk_steps=True, set_alpha_to_one=False)
LCM = dict(BETAS, _class_name="LCMScheduler", original_inference_steps=50, set_alpha_to_one=True,
           timestep_spacing="leading")
EULER = dict(BETAS, _class_name="EulerDiscreteScheduler", timestep_spacing="leading")

# Folder of the diffusers layout: (class, configuration)
FAMILIES = {
    "sd15": {
        "pipeline": "StableDiffusionPipeline", "scheduler": PNDM, "edge": 512,
        "unet": ("UNet2DConditionModel", SD15_UNET), "vae": ("AutoencoderKL", VAE),
        "text_encoder": ("CLIPTextModel", CLIP_L)},
    "lcm": {
        "pipeline": "LatentConsistencyModelPipeline", "scheduler": LCM, "edge": 512,
        "unet": ("UNet2DConditionModel", LCM_UNET), "vae": ("AutoencoderTiny", TINY_VAE),
        "text_encoder": ("CLIPTextModel", CLIP_L)},
    "sdxl": {
        "pipeline": "StableDiffusionXLPipeline", "scheduler": EULER, "edge": 1024,
        "unet": ("UNet2DConditionModel", SDXL_UNET), "vae": ("AutoencoderKL", SDXL_VAE),
        "text_encoder": ("CLIPTextModel", CLIP_L),
        "text_encoder_2": ("CLIPTextModelWithProjection", CLIP_BIG_G)},
}
PARTS = ["unet", "vae", "text_encoder", "text_encoder_2"]


def build(family, part):
    """The reference's network on the meta device: names and shapes, no memory."""
    import diffusers
    import torch
    import transformers

    name, config = FAMILIES[family][part]
    with torch.device("meta"):
        if name.startswith("CLIP"):
            net = getattr(transformers, name)(transformers.CLIPTextConfig(**config))
        else:
            net = getattr(diffusers, name)(**config)
    return net.eval()
