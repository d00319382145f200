//! The memory behind a cache.

use latent_mla::kernels::suite::{Values, assert_same_bits};
use latent_mla::kernels::{Backend, KernelError};
use latent_mla::{Attend, RowFormat, Slot, Span};

use super::case::{grouped, upload};
use super::gpu;

#[test]
fn a_page_that_is_not_open_is_never_read() {
    let mut pages = gpu().pages(2, RowFormat::Scalar).unwrap();
    gpu().open_page(&mut pages, 3).unwrap();
    let q = upload(&gpu(), &[1.0], &[1, 1, 1]);
    for page in [0, 4, 2_147_480_000, usize::MAX] {
        let is_index =
            |e: &KernelError| matches!(e, KernelError::Index { found, .. } if *found == page);
        let slots = [Slot { page, row: 0 }];
        assert!(is_index(&gpu().read_rows(&pages, &slots).unwrap_err()));
        let rows = upload(&gpu(), &[0.0, 0.0], &[1, 2]);
        assert!(is_index(&gpu().write_rows(&mut pages, &slots, &rows).unwrap_err()));
        assert!(is_index(&gpu().copy_page(&mut pages, page, 3).unwrap_err()));
        assert!(is_index(&gpu().copy_page(&mut pages, 3, page).unwrap_err()));
        let spans = [Span { first: 0, tokens: 1, start: 64, pages: vec![3, page] }];
        let o = gpu().attend(&q, &pages, &spans, grouped(1, 1, 1), 1.0);
        assert!(is_index(&o.unwrap_err()));
        // Behind the last key, a page is not looked at.
        let spans = [Span { first: 0, tokens: 1, start: 63, pages: vec![3, page] }];
        assert!(gpu().attend(&q, &pages, &spans, grouped(1, 1, 1), 1.0).is_ok());
    }
    assert!(gpu().read_rows(&pages, &[Slot { page: 3, row: 64 }]).is_err());
    gpu().close_page(&mut pages, 3);
    gpu().close_page(&mut pages, usize::MAX);
    assert_eq!(gpu().pages_bytes(&pages), 0);
    assert!(gpu().read_rows(&pages, &[Slot { page: 3, row: 0 }]).is_err());
    let error = gpu().open_page(&mut pages, usize::MAX).unwrap_err();
    assert!(matches!(error, KernelError::DeviceLimit { .. }), "{error}");
    assert!(matches!(
        gpu().pages(usize::MAX, RowFormat::Scalar).unwrap_err(),
        KernelError::Shape { .. }
    ));
}

#[test]
fn rows_stay_when_the_buffer_grows() {
    let mut pages = gpu().pages(3, RowFormat::Scalar).unwrap();
    let mut want = Vec::new();
    for page in 0..9 {
        gpu().open_page(&mut pages, page).unwrap();
        let rows: Vec<f32> = Values::new(page as u64).draw(64 * 3);
        let slots: Vec<Slot> = (0..64).map(|row| Slot { page, row }).collect();
        gpu().write_rows(&mut pages, &slots, &upload(&gpu(), &rows, &[64, 3])).unwrap();
        want.extend(rows);
    }
    let read = |pages: &_, page| {
        let slots: Vec<Slot> = (0..64).map(|row| Slot { page, row }).collect();
        gpu().download(&gpu().read_rows(pages, &slots).unwrap()).unwrap()
    };
    for page in 0..9 {
        assert_same_bits(&read(&pages, page), &want[page * 192..][..192]);
    }
    gpu().copy_page(&mut pages, 2, 7).unwrap();
    for (page, from) in [(6, 6), (7, 2), (8, 8), (2, 2)] {
        assert_same_bits(&read(&pages, page), &want[from * 192..][..192]);
    }
    assert_eq!(gpu().pages_bytes(&pages), 9 * 64 * 3 * 4);
    gpu().open_page(&mut pages, 4).unwrap();
    assert!(read(&pages, 4).iter().all(|v| v.is_nan()), "an opened page is full of NaN");
    assert_same_bits(&read(&pages, 5), &want[5 * 192..][..192]);
}
