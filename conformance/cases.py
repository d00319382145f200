"""The configurations of the pack: one `config.json` in the released style per case."""

BASE = dict(
    vocab_size=320, hidden_size=80, intermediate_size=112, moe_intermediate_size=28, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=4, n_shared_experts=2, n_routed_experts=8, num_experts_per_tok=3,
    kv_lora_rank=36, q_lora_rank=None, qk_nope_head_dim=24, qk_rope_head_dim=16, v_head_dim=20,
    first_k_dense_replace=1, moe_layer_freq=1, hidden_act="silu", rms_norm_eps=1e-6, rope_theta=10000.0,
    attention_bias=False, attention_dropout=0.0, tie_word_embeddings=False, use_cache=True,
    max_position_embeddings=163840, initializer_range=0.02, pretraining_tp=1,
    bos_token_id=0, eos_token_id=1, torch_dtype="float32",
)  # fmt: skip

V2 = dict(
    architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", scoring_func="softmax",
    norm_topk_prob=False, aux_loss_alpha=0.001, seq_aux=True, bos_token_id=0, eos_token_id=1,
)  # fmt: skip

V3 = dict(
    architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", scoring_func="sigmoid",
    topk_method="noaux_tc", norm_topk_prob=True, num_nextn_predict_layers=0, ep_size=1,
)  # fmt: skip

LLAMA = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=144, hidden_size=48, intermediate_size=88,
    num_hidden_layers=2, num_attention_heads=6, hidden_act="silu", rms_norm_eps=1e-5, rope_theta=10000.0,
    rope_scaling=None, attention_bias=False, attention_dropout=0.0, mlp_bias=False, use_cache=True,
    max_position_embeddings=2048, initializer_range=0.02, pretraining_tp=1, bos_token_id=0, eos_token_id=1,
    torch_dtype="float32",
)  # fmt: skip


def yarn(factor: int, mscale: float, mscale_all_dim: float, beta_fast: int = 32, beta_slow: int = 1) -> dict:
    return dict(
        type="yarn", factor=factor, mscale=mscale, mscale_all_dim=mscale_all_dim,
        beta_fast=beta_fast, beta_slow=beta_slow, original_max_position_embeddings=4096,
    )  # fmt: skip


FORWARD = {
    # DeepSeek-V2-Lite: no query compression, softmax, greedy choice, no normalisation
    "v2_lite": dict(
        BASE, **V2, topk_method="greedy", n_group=1, topk_group=1, routed_scaling_factor=1.0,
        rope_scaling=yarn(40, 0.707, 0.707),
    ),
    # DeepSeek-V2: query compression, groups ranked by their best expert, scale 16
    "v2": dict(
        BASE, **V2, q_lora_rank=44, topk_method="group_limited_greedy", n_routed_experts=16, n_group=4, topk_group=2,
        num_experts_per_tok=4, routed_scaling_factor=16.0, rope_scaling=yarn(40, 0.707, 0.707),
    ),
    # DeepSeek-V3 and R1: sigmoid, correction bias, groups ranked by their best two, normalised; two shards
    "v3": dict(
        BASE, **V3, q_lora_rank=44, n_routed_experts=16, n_group=4, topk_group=2, num_experts_per_tok=4,
        n_shared_experts=1, num_hidden_layers=4, first_k_dense_replace=2, routed_scaling_factor=2.5,
        rope_scaling=yarn(40, 1.0, 1.0),
    ),
    # Moonlight: V3 without query compression, groups and YaRN; rms_norm_eps 1e-5, the latent norms keep 1e-6
    "moonlight": dict(
        BASE, **V3, n_group=1, topk_group=1, routed_scaling_factor=2.446, rms_norm_eps=1e-5, rope_theta=50000.0,
        rope_scaling=None,
    ),
    # V3 with one multi-token-prediction layer; two shards
    "v3_mtp": dict(
        BASE, **dict(V3, num_nextn_predict_layers=1), q_lora_rank=44, n_routed_experts=8, n_group=2, topk_group=1,
        n_shared_experts=1, routed_scaling_factor=2.5, rope_scaling=yarn(40, 1.0, 1.0),
    ),
    # V3 with e4m3 weights in blocks of 128 x 128 and a short block at every edge
    "v3_fp8": dict(
        BASE, **V3, hidden_size=200, intermediate_size=300, moe_intermediate_size=136, q_lora_rank=144,
        kv_lora_rank=160, qk_nope_head_dim=48, qk_rope_head_dim=32, v_head_dim=40, n_routed_experts=8, n_group=2,
        topk_group=1, n_shared_experts=1, num_hidden_layers=2, routed_scaling_factor=2.5,
        rope_scaling=yarn(40, 1.0, 1.0), torch_dtype="bfloat16",
    ),
    # Kimi K2: V3 under its own model_type, one group, both YaRN betas 1, a count of experts that is no power of two
    "kimi_k2": dict(
        BASE, **dict(V3, model_type="kimi_k2"), vocab_size=112, hidden_size=48, intermediate_size=64,
        moe_intermediate_size=16, num_hidden_layers=2, q_lora_rank=28, kv_lora_rank=20, qk_nope_head_dim=16,
        v_head_dim=12, n_routed_experts=10, n_shared_experts=1, num_experts_per_tok=4, n_group=1, topk_group=1,
        routed_scaling_factor=2.827, rms_norm_eps=1e-5, rope_theta=50000.0, aux_loss_alpha=0.001, seq_aux=True,
        rope_scaling=yarn(32, 1.0, 1.0, beta_fast=1, beta_slow=1),
    ),
    # Llama with grouped queries and one matrix for embedding and head
    "llama": dict(LLAMA, num_key_value_heads=2, tie_word_embeddings=True),
    # the first Llama's multi-head attention: num_key_value_heads is not written; head_dim is, and is not hidden / heads
    "llama_mha": dict(LLAMA, head_dim=12, tie_word_embeddings=False),
    # multi-query attention: one key and value head
    "llama_mqa": dict(LLAMA, num_key_value_heads=1, rope_theta=100000.0, tie_word_embeddings=True),
}  # fmt: skip

TINY = dict(
    kv_lora_rank=16, hidden_size=32, intermediate_size=48, moe_intermediate_size=20, qk_nope_head_dim=12,
    qk_rope_head_dim=8, v_head_dim=10, vocab_size=96, num_hidden_layers=2, n_routed_experts=8, num_experts_per_tok=3,
)  # fmt: skip

GRADIENT = {
    # cross-entropy alone
    "v3_grad": dict(
        BASE, **V3, **dict(TINY, q_lora_rank=20, n_group=4, topk_group=2), n_shared_experts=1,
        routed_scaling_factor=2.5, rope_scaling=yarn(40, 1.0, 1.0),
    ),
    # plus V2's sequence-wise balance loss
    "v2_grad_aux": dict(
        BASE, **dict(V2, aux_loss_alpha=0.1), **TINY, n_group=1, topk_group=1, topk_method="greedy",
        n_shared_experts=2, routed_scaling_factor=1.0, rope_scaling=yarn(40, 0.707, 0.707),
    ),
}  # fmt: skip

SHARDS = {"v3": 2, "v3_mtp": 2}
