"""Of every family of networks in timm, at least one serves as a backbone."""

import pytest
import timm
import torch
from timm.models import list_modules

from mammoscope.learning import backbone
from mammoscope.learning.network import build_network
from mammoscope.learning.settings import BackboneSettings, PictureSettings, Recipe

# by family: a small network of it, and the rows and columns of a picture that it takes
SMALL = {
    "byoanet": ("halonet26t", 256),
    "byobnet": ("gernet_s", 64),
    "cait": ("cait_xxs24_224", 64),
    "coat": ("coat_lite_tiny", 64),
    "convit": ("convit_tiny", 64),
    "convnext": ("convnext_atto", 64),
    "cpubone": ("cpubone_nano", 64),
    "crossvit": ("crossvit_9_240", 240),
    "csatv2": ("csatv2", 64),
    "cspnet": ("cs3darknet_focus_s", 64),
    "cspnext": ("cspnext_tiny", 64),
    "deit": ("deit_tiny_distilled_patch16_224", 64),
    "densenet": ("densenet121", 64),
    "dpn": ("dpn68", 64),
    "edgenext": ("edgenext_x_small", 64),
    "efficientformer": ("efficientformer_l1", 224),
    "efficientformer_v2": ("efficientformerv2_s0", 64),
    "efficientnet": ("tinynet_b", 64),
    "efficientvim": ("efficientvim_m1", 64),
    "efficientvit_mit": ("efficientvit_b0", 64),
    "efficientvit_msra": ("efficientvit_m1", 64),
    "eva": ("vit_pe_core_tiny_patch16_384", 64),
    "fasternet": ("fasternet_t0", 64),
    "fastvit": ("fastvit_s12", 64),
    "gcvit": ("gcvit_xxtiny", 64),
    "ghostnet": ("ghostnet_050", 64),
    "hardcorenas": ("hardcorenas_a", 64),
    "hgnet": ("hgnetv2_b0", 64),
    "hrnet": ("hrnet_w18_small", 64),
    "iformer": ("iformer_s", 64),
    "inception_next": ("inception_next_atto", 64),
    "lcnetv2": ("lcnetv2_small", 64),
    "lowformer": ("lowformer_b0", 64),
    "mambaout": ("mambaout_femto", 64),
    "maxxvit": ("coatnet_pico_rw_224", 64),
    "mobilenetv3": ("mobilenetv3_small_050", 64),
    "mobilevit": ("mobilevit_xxs", 64),
    "pit": ("pit_ti_224", 64),
    "pvt_v2": ("pvt_v2_b0", 64),
    "repghost": ("repghostnet_050", 64),
    "repvit": ("repvit_m1", 64),
    "resnest": ("resnest14d", 64),
    "resnet": ("resnet18", 64),
    "resnetv2": ("resnetv2_18", 64),
    "rexnet": ("rexnet_100", 64),
    "senet": ("legacy_seresnet18", 64),
    "shvit": ("shvit_s1", 64),
    "sknet": ("skresnet18", 64),
    "starnet": ("starnet_s050", 64),
    "swiftformer": ("swiftformer_s", 64),
    "tiny_vit": ("tiny_vit_5m_224", 64),
    "visformer": ("visformer_tiny", 64),
    "vision_transformer": ("vit_tiny_patch16_384", 64),
    "vision_transformer_hybrid": ("vit_tiny_r_s16_p8_224", 64),
    "vovnet": ("ese_vovnet19b_slim", 64),
    "xcit": ("xcit_nano_12_p16_224", 64),
}
# families of large networks only: tried without numbers
LARGE = {
    "beit": ("beit_base_patch16_384", 64),
    "convmixer": ("convmixer_1024_20_ks9_p14", 64),
    "davit": ("davit_tiny", 64),
    "deepseek_vit": ("deepseek_vit_412m", 224),
    "dla": ("dla34", 64),
    "focalnet": ("focalnet_tiny_srf", 64),
    "gemma4_vit": ("gemma4_vit_167m", 64),
    "hiera": ("hiera_tiny_224", 64),
    "hieradet_sam2": ("sam2_hiera_tiny", 64),
    "inception_resnet_v2": ("inception_resnet_v2", 128),
    "inception_v3": ("inception_v3", 128),
    "inception_v4": ("inception_v4", 128),
    "levit": ("levit_384_s8", 64),
    "metaformer": ("caformer_s18", 64),
    "mlp_mixer": ("mixer_s32_224", 64),
    "mobilenetv5": ("mobilenetv5_base", 64),
    "mvitv2": ("mvitv2_tiny", 64),
    "naflexvit": ("naflexvit_base_patch16_gap", 64),
    "nasnet": ("nasnetalarge", 64),
    "nest": ("nest_tiny", 64),
    "nextvit": ("nextvit_small", 64),
    "nfnet": ("dm_nfnet_f0", 64),
    "pnasnet": ("pnasnet5large", 64),
    "qwen3_vit": ("qwen3_vit_88m", 64),
    "rdnet": ("rdnet_tiny", 64),
    "regnet": ("regnetv_040", 64),
    "res2net": ("res2next50", 64),
    "selecsls": ("selecsls42", 64),
    "sequencer": ("sequencer2d_s", 64),
    "swin_transformer": ("swin_s3_tiny_224", 64),
    "swin_transformer_v2": ("swinv2_tiny_window8_256", 64),
    "swin_transformer_v2_cr": ("swinv2_cr_tiny_224", 64),
    "tnt": ("tnt_s_patch16_224", 64),
    "tresnet": ("tresnet_m", 64),
    "twins": ("twins_svt_small", 64),
    "vgg": ("vgg11", 64),
    "vision_transformer_relpos": ("vit_srelpos_small_patch16_224", 64),
    "vision_transformer_sam": ("samvit_base_patch16_224", 64),
    "vitamin": ("vitamin_small_224", 64),
    "volo": ("volo_d1_224", 64),
    "xception": ("legacy_xception", 64),
    "xception_aligned": ("xception41", 64),
}


def _recipe(name: str, n_pixels: int) -> Recipe:
    sizes = dict.fromkeys(("train_rows", "train_columns", "held_out_rows", "held_out_columns"), n_pixels)
    return Recipe(backbone=BackboneSettings(name=name, weights="none"), picture=PictureSettings(**sizes))


def test_no_family_of_timm_is_left_out() -> None:
    assert not SMALL.keys() & LARGE.keys()
    assert SMALL.keys() | LARGE.keys() == {family for family in list_modules() if timm.list_models(module=family)}


@pytest.mark.parametrize("family", SMALL)
def test_a_network_of_the_family_gives_finite_logits(family: str) -> None:
    name, n_pixels = SMALL[family]
    torch.manual_seed(1)
    network = build_network(_recipe(name, n_pixels)).eval()
    pictures = torch.rand(2, 1, n_pixels, n_pixels, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        logits = network(pictures).cancer
    assert logits.shape == (2,)
    assert torch.isfinite(logits).all()
    assert name in timm.list_models(module=family)


@pytest.mark.parametrize("family", LARGE)
def test_a_network_of_the_family_gives_maps(family: str) -> None:
    name, n_pixels = LARGE[family]
    _, layout = backbone._find_way(_recipe(name, n_pixels))
    assert layout.form != "pooled"
    assert name in timm.list_models(module=family)
