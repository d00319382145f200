//! `latent inspect`: what a model is, before it is loaded.

use std::fmt::Write;
use std::path::Path;

use clap::Args;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use latent_mla::AttentionConfig;
use latent_model::checkpoint::{Checkpoint, OpenOptions, VerifyOptions};
use latent_model::config::{DecodeForm, ModelConfig, Quantization};
use latent_moe::{GateConfig, TopkMethod};

use super::source::Source;
use super::{CommandError, output, units};

/// The contexts at which a token's arithmetic is counted.
const CONTEXTS: [usize; 3] = [1, 4 << 10, 128 << 10];
const WIDTH: u16 = 100;

/// Show what a model is: sizes, parameters, cost of a token, and what its files hold
///
/// The files' tensors are held against the config, as loading does, by their headers alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent inspect deepseek-v3
  latent inspect DIR
  latent inspect conformance/v3_fp8")]
pub(crate) struct InspectArgs {
    /// A model's folder, a config.json, or an embedded model
    #[arg(value_name = "DIR|FILE|NAME")]
    model: String,
}

impl InspectArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let source = Source::find(&self.model)?;
        output::warn(&source.warnings);
        let mut rows = rows(&source.config);
        let mut verdict = Ok(());
        if let Some(dir) = source.dir.as_deref().filter(|dir| has_weights(dir)) {
            let checkpoint = open(dir, &source.config)?;
            output::warn(checkpoint.warnings());
            rows.extend(weights(&checkpoint));
            verdict = verify(&checkpoint, &source.config);
            let fits = if verdict.is_ok() { "yes" } else { "no" };
            rows.push(("as the config wants", fits.into()));
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
        output::print(&format!("{}\n{table}\n", source.name))?;
        verdict
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
        ("context", units::of(config.max_position_embeddings as u64, "token")),
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
        let layers = units::of(config.num_nextn_predict_layers as u64, "layer");
        rows.push(("multi-token prediction", format!("{layers}, {added} more parameters")));
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
        AttentionConfig::Grouped(c) => {
            let heads = units::of(c.num_attention_heads as u64, "head");
            let groups = units::of(c.num_key_value_heads as u64, "group");
            format!("{heads} of {} in {groups}", c.head_dim)
        }
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
        format!("{absorbed}{forms} after {}", units::of(context as u64 - 1, "token"))
    };
    CONTEXTS.map(line).join("\n")
}

fn has_weights(dir: &Path) -> bool {
    ["model.safetensors", "model.safetensors.index.json"].iter().any(|f| dir.join(f).exists())
}

/// Opens the files, which proves their headers.
fn open(dir: &Path, config: &ModelConfig) -> Result<Checkpoint, CommandError> {
    let block = match config.quantization {
        Some(Quantization::Fp8 { block }) => block,
        None => OpenOptions::default().block,
    };
    Ok(Checkpoint::open(dir, OpenOptions { block, ..OpenOptions::default() })?)
}

/// Proves what loading would, except for the values of the weights.
fn verify(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<(), CommandError> {
    let ignore_prefixes = config.repeated_tensors();
    let options = VerifyOptions { ignore_prefixes, ..VerifyOptions::default() };
    Ok(checkpoint.verify(&config.tensors(), &options)?)
}

/// What the files hold.
fn weights(checkpoint: &Checkpoint) -> Vec<(&'static str, String)> {
    let summary = checkpoint.summary();
    let mix: Vec<String> = summary
        .dtypes
        .iter()
        .map(|(dtype, total)| {
            let tensors = units::of(total.tensors as u64, "tensor");
            format!("{dtype}: {tensors}, {}", units::bytes(total.bytes as u64))
        })
        .collect();
    let files = units::of(summary.files as u64, "file");
    let disk = units::bytes(summary.disk_bytes as u64);
    vec![("weights", format!("{files}, {disk}")), ("stored as", mix.join("\n"))]
}
