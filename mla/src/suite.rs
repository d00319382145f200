//! The properties of attention and its cache, to be stamped for any backend by one line.
//!
//! ```
//! # mod stamped {
//! use latent_mla::kernels::Reference;
//! latent_mla::attention_suite!(Reference::<f64>::new(), 1e-10);
//! # }
//! ```
//!
//! Every property holds for all kinds of attention in [`kinds`]. Where the text says *no bit*, equal
//! means equal bits; elsewhere the tolerance holds, absolute plus relative.

#![expect(clippy::missing_panics_doc, reason = "a property panics where it does not hold")]

mod fixture;
mod forms;
mod invariance;
mod sequences;

pub use fixture::{Fixture, assert_close, kinds};
pub use forms::{
    a_common_offset_changes_no_score, absorbed_equals_expanded,
    auto_takes_one_form_per_sequence_and_ignores_batch_mates,
};
pub use invariance::{
    any_mix_of_prefill_and_decode_changes_no_bit, decode_equals_prefill,
    future_tokens_do_not_change_the_past, page_placement_changes_no_bit,
    the_number_of_threads_changes_no_bit,
};
pub use sequences::{
    a_dropped_step_leaves_no_trace, an_empty_batch_gives_an_empty_result,
    bytes_counted_are_bytes_allocated, fork_then_append_equals_two_runs,
    truncate_then_append_equals_never_having_appended, unwritten_rows_are_nan,
};

/// Stamps every property of [`suite`](crate::suite) as a test of a backend.
///
/// The first argument makes the backend, the second is the tolerance.
#[macro_export]
macro_rules! attention_suite {
    ($backend:expr, $tolerance:expr) => {
        $crate::attention_suite!(@each $backend, $tolerance;
            absorbed_equals_expanded,
            auto_takes_one_form_per_sequence_and_ignores_batch_mates,
            a_common_offset_changes_no_score,
            decode_equals_prefill,
            any_mix_of_prefill_and_decode_changes_no_bit,
            page_placement_changes_no_bit,
            the_number_of_threads_changes_no_bit,
            future_tokens_do_not_change_the_past,
            fork_then_append_equals_two_runs,
            truncate_then_append_equals_never_having_appended,
            a_dropped_step_leaves_no_trace,
            an_empty_batch_gives_an_empty_result,
            bytes_counted_are_bytes_allocated,
            unwritten_rows_are_nan,
        );
    };
    (@each $backend:expr, $tolerance:expr; $($property:ident),* $(,)?) => {$(
        #[test]
        fn $property() {
            $crate::suite::$property(&$backend, $tolerance);
        }
    )*};
}
