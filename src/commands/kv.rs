//! `latent kv`: what a token costs in the cache, by kind of attention.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use latent_mla::AttentionConfig;
use latent_model::config::{ModelConfig, published};

use super::source::Source;
use super::{CommandError, output, units};

mod claims;
mod plot;

pub(crate) use claims::published_saving;

/// The contexts that are tabled, in tokens.
const CONTEXTS: [(u64, &str); 3] = [(4 << 10, "4k"), (32 << 10, "32k"), (128 << 10, "128k")];
/// The number of groups of a GQA model of the same shape.
const GROUPS: usize = 8;

/// Show what a token costs in the cache: MHA, GQA, MQA, MLA and MLA in FP8 of the same shape
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent kv
  latent kv --model kimi-k2 --svg ladder.svg
  latent kv --model DIR")]
pub(crate) struct KvArgs {
    /// An embedded model, a model's folder, or a config.json [default: every embedded model]
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Write a plot of the model's ladder over the context; deepseek-v3 where no model is named
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// One kind of cache of a model.
pub(crate) struct Rung {
    pub(crate) name: String,
    /// Whether the model was published with this attention.
    pub(crate) own: bool,
    /// The bytes per token over all layers.
    pub(crate) bytes_per_token: u64,
}

/// The caches that a model of the shape of `config` could have, from the largest kind on.
///
/// Every head keeps its width: keys of `qk_nope_head_dim + qk_rope_head_dim`, values of
/// `v_head_dim`. All but the last are of 16-bit elements.
pub(crate) fn ladder(config: &ModelConfig) -> Vec<Rung> {
    let (heads, width, groups, latent) = match &config.attention {
        AttentionConfig::Latent(c) => {
            let groups = (c.num_attention_heads > GROUPS).then_some(GROUPS);
            (c.num_attention_heads, c.qk_head_dim() + c.v_head_dim, groups, true)
        }
        AttentionConfig::Grouped(c) => {
            let own = c.num_key_value_heads;
            let groups =
                (1..c.num_attention_heads).contains(&own).then_some(own).filter(|g| *g > 1);
            (c.num_attention_heads, 2 * c.head_dim, groups, false)
        }
    };
    let own_groups = match &config.attention {
        AttentionConfig::Grouped(c) => Some(c.num_key_value_heads),
        AttentionConfig::Latent(_) => None,
    };
    let rung = |name: String, groups: usize| Rung {
        name,
        own: own_groups == Some(groups),
        bytes_per_token: (config.num_hidden_layers * groups * width * 2) as u64,
    };
    let mut rungs = vec![rung("MHA".into(), heads)];
    rungs.extend(groups.map(|groups| rung(format!("GQA, {groups} groups"), groups)));
    rungs.push(rung("MQA".into(), 1));
    if latent {
        let bytes_per_token = config.cached_bytes_per_token(2);
        rungs.push(Rung { name: "MLA".into(), own: true, bytes_per_token });
    }
    rungs.extend(config.cached_fp8_bytes_per_token().map(|bytes_per_token| Rung {
        name: "MLA, FP8".into(),
        own: false,
        bytes_per_token,
    }));
    rungs
}

/// The ladders of `models` as a table for the terminal.
pub(crate) fn table(models: &[(String, ModelConfig)]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    let contexts = CONTEXTS.map(|(_, name)| name);
    let mut header = vec!["model", "cache", "bytes/token"];
    header.extend(contexts);
    header.push("of MHA");
    let columns = header.len();
    table.set_header(header);
    for (name, config) in models {
        let rungs = ladder(config);
        let mha = rungs[0].bytes_per_token as f64;
        for (i, rung) in rungs.iter().enumerate() {
            let own = if rung.own { " *" } else { "" };
            let mut row = vec![
                if i == 0 { name.clone() } else { String::new() },
                format!("{}{own}", rung.name),
                units::grouped(rung.bytes_per_token),
            ];
            row.extend(CONTEXTS.map(|(n, _)| units::bytes(n * rung.bytes_per_token)));
            row.push(format!("{:.2}%", 100.0 * rung.bytes_per_token as f64 / mha));
            table.add_row(row);
        }
    }
    for column in table.column_iter_mut().skip(2).take(columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

impl KvArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let models = match &self.model {
            Some(name) => {
                let source = Source::find(name)?;
                output::warn(&source.warnings);
                vec![(source.name, source.config)]
            }
            None => published().into_iter().map(|(n, config)| (n.to_owned(), config)).collect(),
        };
        let mut text = format!("{}\n", table(&models));
        text += "* as published. MHA, GQA and MQA have heads of the model's own widths; 16 bits an \
                 element.\n  MLA, FP8: e4m3 latents, an f32 scale per 128, the rotated key in \
                 bf16.\n";
        if self.model.is_none() {
            let _ = write!(text, "\n{}", claims::text());
        }
        if let Some(path) = self.svg {
            let shown = models.iter().find(|(name, _)| name == "deepseek-v3").unwrap_or(&models[0]);
            output::write_file(&path, plot::svg(&shown.0, &shown.1).as_bytes())?;
            let _ =
                writeln!(text, "\nThe ladder of {} over the context: {}", shown.0, path.display());
        }
        output::print(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(name: &str) -> Vec<(String, u64)> {
        let config = published().into_iter().find(|(n, _)| *n == name).unwrap().1;
        ladder(&config).into_iter().map(|r| (r.name, r.bytes_per_token)).collect()
    }

    #[test]
    fn the_ladder_of_v3_is_the_known_one() {
        let want = [
            ("MHA", 4_997_120),
            ("GQA, 8 groups", 312_320),
            ("MQA", 39_040),
            ("MLA", 70_272),
            ("MLA, FP8", 40_016),
        ];
        assert_eq!(bytes("deepseek-v3"), want.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn a_grouped_model_stands_on_its_own_rung() {
        let want = [("MHA", 2 * 95 * 16_384), ("GQA, 8 groups", 389_120), ("MQA", 48_640)];
        assert_eq!(bytes("deepseek-67b"), want.map(|(name, n)| (name.to_owned(), n)));
        let want = [("MHA", 28 * 2 * 16 * 128 * 2), ("MQA", 28 * 2 * 128 * 2)];
        assert_eq!(bytes("deepseek-moe-16b"), want.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn the_whole_table_fits_100_columns() {
        let all: Vec<_> = published().into_iter().map(|(n, c)| (n.to_owned(), c)).collect();
        for line in table(&all).lines().chain(claims::text().lines().map(str::to_owned)) {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
