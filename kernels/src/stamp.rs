//! The macros that turn a suite of properties into tests.

/// Holds a backend to the definition of every operation: one `#[test]` per property of
/// `latent_kernels::suite` (feature `suite`). Stamp each backend in a module of its own.
///
/// ```
/// mod reference_f32 {
///     use latent_kernels::{Reference, Tolerance};
///     latent_kernels::backend_suite!(Reference::<f32>::new(), Tolerance::F32);
/// }
/// ```
#[macro_export]
macro_rules! backend_suite {
    ($backend:expr, $tolerance:expr $(,)?) => {
        $crate::stamp! { $crate::suite, $backend, $tolerance;
            transfer: upload_then_download_is_the_identity, reshape_keeps_the_elements,
                a_vector_is_a_decoded_row, wrong_shapes_are_errors;
            linear: follows_its_definition, is_linear, a_row_alone_equals_the_row_in_a_batch,
                several_at_once_equal_one_by_one, threads_change_no_bit, wrong_shapes_are_errors;
            rms_norm: follows_its_definition, ignores_the_scale_of_a_row,
                zeros_and_huge_rows_stay_finite, a_row_alone_equals_the_row_in_a_batch,
                threads_change_no_bit, wrong_arguments_are_errors;
            rope: turns_complex_numbers, layouts_are_a_permutation, keeps_lengths,
                position_zero_is_the_identity, a_common_offset_changes_no_score,
                a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit,
                wrong_shapes_are_errors;
            softmax: follows_its_definition, ignores_a_shift, minus_infinity_gets_nothing,
                nan_and_infinity_take_the_row, a_row_alone_equals_the_row_in_a_batch,
                threads_change_no_bit, a_scalar_is_an_error;
            swiglu: follows_its_definition, extreme_gates_reach_their_limits,
                a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit,
                wrong_shapes_are_errors;
            add: follows_its_definition, wrong_shapes_are_errors;
            gather: follows_its_definition, a_row_alone_equals_the_row_in_a_batch,
                threads_change_no_bit, an_id_out_of_range_is_an_error;
            argmax: follows_its_definition, nan_and_infinity_spoil_their_row_alone,
                a_scalar_is_an_error;
            draw: follows_its_definition, the_cold_is_greedy, the_ends_are_the_first_and_the_last,
                nan_and_infinity_spoil_their_row_alone, wrong_arguments_are_errors;
            columns: split_follows_its_definition, join_undoes_split,
                select_follows_its_definition, wrong_arguments_are_errors;
        }
    };
}

/// Holds the gradients of a backend to their definition, as [`backend_suite!`](crate::backend_suite!)
/// does its operations.
///
/// ```
/// mod reference_f32 {
///     use latent_kernels::{Reference, Tolerance};
///     latent_kernels::backward_suite!(Reference::<f32>::new(), Tolerance::F32);
/// }
/// ```
#[macro_export]
macro_rules! backward_suite {
    ($backend:expr, $tolerance:expr $(,)?) => {
        $crate::stamp! { $crate::suite, $backend, $tolerance;
            backward: linear_follows_its_definition, rms_norm_follows_its_definition,
                rope_is_the_transpose, swiglu_follows_its_definition,
                gather_follows_its_definition, cross_entropy_follows_its_definition,
                cross_entropy_scales_each_row_alone,
                a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit,
                wrong_arguments_are_errors;
        }
    };
}

/// Makes `#[test]` functions of the properties of a suite, `fn(&backend, tolerance)` each: for
/// crates that add operations, and a suite for them, to a backend.
///
/// ```
/// mod suite {
///     pub mod naming {
///         use latent_kernels::{Backend, Tolerance};
///         pub fn a_name_is_not_empty<B: Backend>(b: &B, _: Tolerance) { assert_ne!(b.name(), "") }
///     }
/// }
/// mod tests {
///     use latent_kernels::{Reference, Tolerance};
///     latent_kernels::stamp! { super::suite, Reference::<f64>::new(), Tolerance::F64;
///         naming: a_name_is_not_empty;
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! stamp {
    ($suite:path, $backend:expr, $tolerance:expr;
     $($room:ident: $($property:ident),+ $(,)?;)+) => {
        use $suite as suite;
        $(mod $room {
            #[allow(unused_imports, reason = "the backend may be named by an absolute path")]
            use super::*;
            $(
                #[test]
                fn $property() {
                    super::suite::$room::$property(&$backend, $tolerance);
                }
            )+
        })+
    };
}
