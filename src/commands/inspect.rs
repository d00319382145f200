//! `latent inspect`: what a model is, before it is loaded.

use std::fmt::Write;
use std::path::Path;

use clap::Args;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use latent_mla::AttentionConfig;
use latent_model::checkpoint::{Checkpoint, OpenOptions};
use latent_model::config::{DecodeForm, ModelConfig, Quantization};
use latent_moe::{GateConfig, TopkMethod};

use super::source::Source;
use super::{CommandError, print, units};

/// The contexts at which a token's arithmetic is counted.
const CONTEXTS: [usize; 3] = [1, 4 << 10, 128 << 10];
const WIDTH: u16 = 100;

/// Show what a model is: sizes, parameters, cost of a token, and what its files hold
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A model's folder, a config.json, or an embedded model
    #[arg(value_name = "DIR|FILE|NAME")]
    model: String,
}

impl InspectArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let source = Source::find(&self.model)?;
        for warning in &source.warnings {
            eprintln!("warning: {warning}");
        }
        let mut rows = rows(&source.config);
        if let Some(dir) = source.dir.as_deref().filter(|dir| has_weights(dir)) {
            rows.extend(weights(dir, &source.config)?);
        } else {
            rows.push(("weights", "none here".into()));
        }
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        table.set_header(["model_type", source.config.model_type.name()]);
        for (name, value) in rows {
            table.add_row([name, &value]);
        }
        print(&format!("{}\n{table}\n", source.name))
    }
}

/// What follows from the configuration.
fn rows(config: &ModelConfig) -> Vec<(&'static str, String)> {
    let mixtures = (0..config.num_hidden_layers).filter(|&i| config.is_moe(i)).count();
    let dense = config.num_hidden_layers - mixtures;
    let mut rows = vec![
        ("layers", format!("{dense} dense, {mixtures} of experts")),
        ("hidden size", config.hidden_size.to_string()),
        ("vocabulary", {
            let tied = if config.tie_word_embeddings { ", the head is the embedding" } else { "" };
            format!("{}{tied}", config.vocab_size)
        }),
        ("context", format!("{} tokens", config.max_position_embeddings)),
        ("attention", attention(&config.attention)),
        ("feed-forward", format!("{} wide where dense", config.intermediate_size)),
    ];
    if let Some(moe) = &config.moe {
        let mut text = gate(&moe.config.gate);
        let _ = write!(
            text,
            "; {} shared; {} wide each",
            moe.config.n_shared_experts, moe.config.moe_intermediate_size
        );
        rows.push(("experts", text));
    }
    rows.push(("parameters", {
        let (total, active) = (config.total_parameters(), config.active_parameters());
        format!(
            "{} ({}), {} active per token",
            units::count(total),
            units::grouped(total),
            units::count(active)
        )
    }));
    if config.num_nextn_predict_layers > 0 {
        let added = units::count(config.mtp_parameters());
        let layers = config.num_nextn_predict_layers;
        rows.push(("multi-token prediction", format!("{layers} layers, {added} more parameters")));
    }
    rows.push(("cache per token", {
        let plain = units::grouped(config.cached_bytes_per_token(2));
        let fp8 = config.cached_fp8_bytes_per_token().map(units::grouped);
        let fp8 = fp8.map_or(String::new(), |bytes| format!(", {bytes} bytes in FP8"));
        format!("{plain} bytes at 16 bits{fp8}")
    }));
    rows.push(("FLOPs per token", flops(config)));
    rows.push(("dtype", config.dtype.map_or("not said".into(), |dtype| dtype.to_string())));
    rows.push((
        "quantization",
        match config.quantization {
            None => "none".into(),
            Some(Quantization::Fp8 { block: [rows, cols] }) => {
                format!("FP8 e4m3, a scale per {rows} x {cols}")
            }
        },
    ));
    rows
}

fn attention(config: &AttentionConfig) -> String {
    match config {
        AttentionConfig::Latent(c) => {
            let query = match c.q_lora_rank {
                Some(rank) => format!("queries through rank {rank}"),
                None => "queries in one step".into(),
            };
            format!(
                "latent, rank {} + {} rotated; {} heads of {} + {} rotated, values of {}; {query}",
                c.kv_lora_rank,
                c.qk_rope_head_dim,
                c.num_attention_heads,
                c.qk_nope_head_dim,
                c.qk_rope_head_dim,
                c.v_head_dim,
            )
        }
        AttentionConfig::Grouped(c) => format!(
            "{} heads of {} in {} groups",
            c.num_attention_heads, c.head_dim, c.num_key_value_heads
        ),
    }
}

fn gate(config: &GateConfig) -> String {
    let method = match config.topk_method {
        TopkMethod::Greedy => "greedy".into(),
        TopkMethod::GroupLimitedGreedy { n_group, topk_group } => {
            format!("group_limited_greedy, {topk_group} of {n_group} groups")
        }
        TopkMethod::NoauxTc { n_group, topk_group } => {
            format!("noaux_tc, {topk_group} of {n_group} groups")
        }
    };
    let (chosen, all) = (config.num_experts_per_tok, config.n_routed_experts);
    format!("{chosen} of {all} routed, {method}")
}

fn flops(config: &ModelConfig) -> String {
    let latent = matches!(config.attention, AttentionConfig::Latent(_));
    let line = |context| {
        let absorbed = units::count(config.decode_flops(context, DecodeForm::Absorbed));
        let expanded = units::count(config.decode_flops(context, DecodeForm::Expanded));
        let forms = if latent { format!(" absorbed, {expanded} expanded") } else { String::new() };
        format!("{absorbed}{forms} after {} tokens", units::grouped(context as u64 - 1))
    };
    CONTEXTS.map(line).join("\n")
}

fn has_weights(dir: &Path) -> bool {
    ["model.safetensors", "model.safetensors.index.json"].iter().any(|f| dir.join(f).exists())
}

/// What the files hold; opening them proves their headers.
fn weights(dir: &Path, config: &ModelConfig) -> Result<Vec<(&'static str, String)>, CommandError> {
    let block = match config.quantization {
        Some(Quantization::Fp8 { block }) => block,
        None => OpenOptions::default().block,
    };
    let checkpoint = Checkpoint::open(dir, OpenOptions { block, ..OpenOptions::default() })?;
    for warning in checkpoint.warnings() {
        eprintln!("warning: {warning}");
    }
    let summary = checkpoint.summary();
    let mix: Vec<String> = summary
        .dtypes
        .iter()
        .map(|(dtype, total)| {
            let bytes = units::bytes(total.bytes as u64);
            format!("{dtype}: {} tensors, {bytes}", units::grouped(total.tensors as u64))
        })
        .collect();
    let disk = units::bytes(summary.disk_bytes as u64);
    Ok(vec![("weights", format!("{} files, {disk}", summary.files)), ("stored as", mix.join("\n"))])
}
