//! Rows that are stored in fewer bits.

use latent_mla::kernels::suite::{Values, assert_same_bits};
use latent_mla::kernels::{Backend, Dtype};
use latent_mla::{Attend, RowFormat, Slot};

use super::case::{Case, latent, upload};
use super::{assert_attend_follows, gpu};

#[test]
fn rows_in_fewer_bits_follow_the_reference() {
    // Two whole blocks of a scale and a part of one; odd parts everywhere.
    for format in [RowFormat::Bf16, RowFormat::Fp8 { latent: 301 }] {
        let mut case = Case::new(&[(1, 65), (3, 3)], 307);
        case.format = format;
        case.rows.iter_mut().enumerate().for_each(|(i, v)| *v *= [1.0, 7.0, 1e-6][i / 128 % 3]);
        assert_attend_follows(&case, latent(301, 6), 3);
        let slots: Vec<Slot> =
            case.spans.iter().flat_map(|s| (0..s.keys()).map(|p| s.slot(p))).collect();
        let rows = gpu().read_rows(&case.pages(&gpu()), &slots).unwrap();
        let mut want = case.rows.clone();
        want.chunks_exact_mut(307).for_each(|row| format.round(row));
        assert_same_bits(&gpu().download(&rows).unwrap(), &want);
    }
    let mut case = Case::new(&[(1, 257)], 576);
    case.format = RowFormat::Fp8 { latent: 512 };
    assert_attend_follows(&case, latent(512, 64), 16);
    assert_eq!(gpu().pages_bytes(&case.pages(&gpu())), 656 * 64 * 11);
}

/// Values around every one that can be stored, its neighbours' middles, and each of these a bit up
/// and a bit down: under the scale 1.
#[test]
fn every_edge_of_e4m3_is_rounded_as_on_the_host() {
    let mut stored = vec![0.0_f32; 256];
    Dtype::F8E4m3.decode(&(0..=255).collect::<Vec<u8>>(), &mut stored);
    stored.retain(|v| !v.is_nan() && *v >= 0.0);
    let middles = stored.windows(2).map(|w| f32::midpoint(w[0], w[1]));
    let mut values: Vec<f32> = stored.iter().copied().chain(middles).collect();
    values.extend(values.clone().iter().flat_map(|v| [v.next_up(), v.next_down()]));
    values.extend(values.clone().iter().map(|v| -v));
    values.extend([f32::NAN, f32::MIN_POSITIVE, 1e-30, 2e-3]);
    // 448 and the scale 1 in each block.
    let width = 127;
    let mut rows = Vec::new();
    for part in values.chunks(width - 1) {
        rows.push(448.0);
        rows.extend(part.iter().map(|v| v.clamp(-448.0, 448.0)));
        rows.resize(rows.len().next_multiple_of(width), 0.0);
    }
    assert_rows_are_rounded_as_on_the_host(&rows, width);
}

/// Blocks of largest magnitudes from 1e-5 to 1e38, full mantissas and powers of two, with elements
/// that lie half between two values that can be stored, or some bits from there: a scale or a
/// reciprocal that is off by one bit moves some of them.
#[test]
fn scales_of_any_magnitude_are_those_of_the_host() {
    let (count, width) = (64, 41);
    let spread: Vec<f32> = Values::new(8).draw(count);
    let mut rows = Vec::new();
    for (i, spread) in spread.iter().enumerate() {
        let power = 2.0_f32.powi(i32::try_from(i).unwrap() * 2 - 17);
        let exact = i.is_multiple_of(5);
        let largest = if exact { power * 448.0 } else { power * (1.5 + spread / 2.0) };
        let scale = largest.max(1e-4) / 448.0;
        rows.push(largest);
        for eighth in 0..8_u8 {
            let middle = scale * (17.0 + 2.0 * f32::from(eighth)) / 16.0;
            rows.extend((0..5).map(|bits| f32::from_bits(middle.to_bits() + bits - 2)));
        }
    }
    assert_rows_are_rounded_as_on_the_host(&rows, width);
}

/// Holds FP8 rows that were written and read back to their rounding on the host.
#[track_caller]
fn assert_rows_are_rounded_as_on_the_host(rows: &[f32], width: usize) {
    let (count, format) = (rows.len() / width, RowFormat::Fp8 { latent: width });
    let mut pages = gpu().pages(width, format).unwrap();
    gpu().open_page(&mut pages, 0).unwrap();
    let slots: Vec<Slot> = (0..count).map(|row| Slot { page: 0, row }).collect();
    gpu().write_rows(&mut pages, &slots, &upload(&gpu(), rows, &[count, width])).unwrap();
    let got = gpu().download(&gpu().read_rows(&pages, &slots).unwrap()).unwrap();
    let mut want = rows.to_vec();
    want.chunks_exact_mut(width).for_each(|row| format.round(row));
    assert_same_bits(&got, &want);
}
