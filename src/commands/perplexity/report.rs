//! How a text was predicted, as a table for people and as JSON.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use latent_model::perplexity::{Perplexity, PerplexityOptions};
use serde_json::json;

use crate::commands::units;

/// A text that was scored.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) backend: String,
    pub(super) options: PerplexityOptions,
    /// Of the text.
    pub(super) tokens: usize,
    /// Of the tokens that were scored.
    pub(super) bytes: usize,
    pub(super) seconds: f64,
    pub(super) found: Perplexity,
}

impl Report {
    pub(super) fn table(&self) -> String {
        let found = &self.found;
        let (scored, windows) = (found.scores.len() as u64, found.windows as u64);
        let within = |value: f64, error: Option<f64>| {
            error.map_or(format!("{value:.4}"), |error| format!("{value:.4} ± {error:.4}"))
        };
        let perplexity = found.perplexity();
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header(["", "text"]);
        for (name, value) in [
            ("tokens", units::grouped(self.tokens as u64)),
            ("windows", format!("{} of {}", units::grouped(windows), self.options.window)),
            ("tokens scored", units::grouped(scored)),
            ("bytes scored", units::grouped(self.bytes as u64)),
            ("-ln p of a token", within(found.mean_nll(), found.standard_error())),
            // To first order, an error of the mean is a relative one of its exponential.
            (
                "perplexity",
                within(perplexity, found.standard_error().map(|error| perplexity * error)),
            ),
            ("bits per byte", format!("{:.4}", found.bits_per_byte(self.bytes))),
            ("tokens a second", format!("{:.2}", self.tokens as f64 / self.seconds.max(1e-9))),
        ] {
            table.add_row([name, &value]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}, cache {}\n{table}\n", self.backend, self.options.format)
    }

    pub(super) fn json(&self) -> String {
        let found = &self.found;
        let report = json!({
            "backend": self.backend,
            "cache": self.options.format.to_string(),
            "tokens": self.tokens,
            "bos_token_id": self.options.bos,
            "window": self.options.window,
            "windows": found.windows,
            "tokens_scored": found.scores.len(),
            "bytes_scored": self.bytes,
            "mean_nll": found.mean_nll(),
            "standard_error": found.standard_error(),
            "perplexity": found.perplexity(),
            "bits_per_byte": found.bits_per_byte(self.bytes),
            "seconds": self.seconds,
        });
        format!("{report:#}\n")
    }
}
