//! The saving of DeepSeek-V2's cache, said in three ways that must not be mixed.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use latent_mla::AttentionConfig;
use latent_model::config::{ModelConfig, published};

/// The bits of an element of V2's cache as it was deployed.
const DEPLOYED_BITS: usize = 6;
const STORED_BITS: usize = 16;

/// What is compared with what, the smaller, the larger.
pub(super) struct Claim {
    what: &'static str,
    small: usize,
    large: usize,
    unit: &'static str,
}

impl Claim {
    /// The part that is saved, in percent.
    pub(super) fn saved(&self) -> f64 {
        100.0 * (1.0 - self.small as f64 / self.large as f64)
    }
}

/// The three comparisons, from the embedded configurations.
///
/// # Source
/// DeepSeek-V2 (arXiv 2405.04434), abstract, sections 2.1.4 and 3.2.3.
pub(super) fn claims() -> Vec<Claim> {
    let all = published();
    let get = |name| all.iter().find(|(n, _)| *n == name).map(|(_, config)| config);
    let (Some(v2), Some(dense)) = (get("deepseek-v2"), get("deepseek-67b")) else {
        return Vec::new();
    };
    let AttentionConfig::Latent(mla) = &v2.attention else { return Vec::new() };
    let elements = ModelConfig::cached_elements_per_token;
    vec![
        Claim {
            what: "V2 as deployed, 6-bit cache, against DeepSeek 67B at 16 bits",
            small: elements(v2) * DEPLOYED_BITS,
            large: elements(dense) * STORED_BITS,
            unit: "bits a token",
        },
        Claim {
            what: "the same two models, both at one width",
            small: elements(v2),
            large: elements(dense),
            unit: "elements a token",
        },
        Claim {
            what: "V2's MLA against MHA with as many heads of v_head_dim",
            small: v2.attention.cached_elements(),
            large: 2 * mla.num_attention_heads * mla.v_head_dim,
            unit: "elements a layer",
        },
    ]
}

/// The saving that DeepSeek-V2's abstract states, in percent, from the published sizes; `None` where they are
/// not embedded.
pub(crate) fn published_saving() -> Option<f64> {
    claims().first().map(Claim::saved)
}

/// The comparisons for the terminal.
pub(super) fn text() -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["three ways to count the saving", "", "saved"]);
    for claim in claims() {
        let sizes = format!("{} of {}\n{}", claim.small, claim.large, claim.unit);
        table.add_row([claim.what.to_owned(), sizes, format!("{:.2} %", claim.saved())]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_savings_are_the_published_and_the_derived_ones() {
        let saved: Vec<String> = claims().iter().map(|c| format!("{:.2}", c.saved())).collect();
        assert_eq!(saved, ["93.34", "82.24", "98.24"]);
    }
}
