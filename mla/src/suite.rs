//! The properties of attention and its cache, to be stamped with
//! [`attention_suite!`](crate::attention_suite!).
//!
//! Each property is a function of a backend and its tolerance, holds for every kind of attention in
//! [`kinds`], and panics with the kind for which the backend breaks it. Where the text says *no
//! bit*, equal means equal bits.

#![expect(clippy::missing_panics_doc, reason = "a property panics where it does not hold")]

pub mod backward;
mod fixture;
pub mod formats;
pub mod forms;
pub mod invariance;
pub mod sequences;

pub use fixture::{Fixture, kinds};

/// Holds a backend to the properties of attention and its cache: one `#[test]` per property of
/// `latent_mla::suite` (feature `suite`). Stamp each backend in a module of its own.
///
/// ```
/// mod reference_f64 {
///     use latent_mla::kernels::{Reference, Tolerance};
///     latent_mla::attention_suite!(Reference::<f64>::new(), Tolerance::F64);
/// }
/// ```
#[macro_export]
macro_rules! attention_suite {
    ($backend:expr, $tolerance:expr $(,)?) => {
        $crate::kernels::stamp! { $crate::suite, $backend, $tolerance;
            forms: absorbed_equals_expanded,
                auto_takes_one_form_per_sequence_and_ignores_batch_mates,
                a_common_offset_changes_no_score;
            formats: rows_read_back_are_rounded_once,
                attention_sees_what_is_read_back, decode_equals_prefill_in_every_format,
                bytes_counted_are_those_of_the_format;
            invariance: decode_equals_prefill, any_mix_of_prefill_and_decode_changes_no_bit,
                page_placement_changes_no_bit, threads_change_no_bit,
                future_tokens_do_not_change_the_past;
            sequences: fork_then_append_equals_two_runs,
                truncate_then_append_equals_never_having_appended, a_dropped_step_leaves_no_trace,
                an_empty_batch_gives_an_empty_result, bytes_counted_are_bytes_allocated,
                unwritten_rows_are_nan;
        }
    };
}

/// Holds the gradients of a backend to those of the definition, as
/// [`attention_suite!`](crate::attention_suite!) does its operations.
///
/// ```
/// mod reference_f64 {
///     use latent_mla::kernels::{Reference, Tolerance};
///     latent_mla::attention_backward_suite!(Reference::<f64>::new(), Tolerance::F64);
/// }
/// ```
#[macro_export]
macro_rules! attention_backward_suite {
    ($backend:expr, $tolerance:expr $(,)?) => {
        $crate::kernels::stamp! { $crate::suite, $backend, $tolerance;
            backward: follow_their_definition, saving_changes_no_bit, batch_mates_change_no_bit,
                threads_change_no_bit, edges;
        }
    };
}
