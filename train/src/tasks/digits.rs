//! How long the numbers of a problem are.

use std::ops::RangeInclusive;

use crate::config::{TrainConfigError, want};

/// The most digits of a number: all of them fit into 64 bits, and products of two into 128.
const MOST: u32 = 18;

/// The numbers with `least` to `most` digits, without 0; the settings by their names for errors.
pub(super) fn numbers(
    (least_name, least): (&'static str, u32),
    (most_name, most): (&'static str, u32),
) -> Result<RangeInclusive<u64>, TrainConfigError> {
    want((1..=MOST).contains(&most), most_name, most, format!("from 1 to {MOST}"))?;
    let wanted = format!("from 1 to max_digits, {most}");
    want((1..=most).contains(&least), least_name, least, wanted)?;
    Ok(10_u64.pow(least - 1)..=10_u64.pow(most) - 1)
}
