//! What all variants have in common, and what each changes.

use super::variants::{Variant, Variants};
use crate::report::page::Block;
use crate::report::settings;

pub(super) fn blocks(variants: &Variants) -> Vec<Block> {
    let of = |variant: &Variant| settings::Of {
        cell: variant.cell(),
        name: variant.name.clone(),
        settings: variant.first().settings.clone(),
    };
    let all: Vec<_> = variants.iter().map(of).collect();
    settings::blocks(&all, "variant")
}
