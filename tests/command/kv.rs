//! `latent kv`.

use crate::folder::{Folder, case, text};
use crate::program::{fits_the_terminal, refuses_data, succeeds};

#[test]
fn every_ladder_and_the_three_savings_are_shown() {
    let text = succeeds(&["kv"]).out;
    for wanted in
        ["4,997,120", "70,272", "40,016", "31,104", "69,120", "93.34 %", "82.24 %", "98.24 %"]
    {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    fits_the_terminal(&text);
}

#[test]
fn a_folder_is_tabled_and_plotted() {
    let folder = Folder::empty();
    let svg = folder.join("ladder.svg");
    let printed = succeeds(&["kv", "--model", &case("v3"), "--svg", &text(&svg)]);
    // 4 layers of a latent of 36 and a rotated key of 16, 2 bytes each.
    assert!(printed.out.contains("416"), "{}", printed.out);
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("MLA, FP8"), "{svg}");
    assert_eq!(folder.files(), ["ladder.svg"]);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let error = refuses_data(&["kv", "--model", "kimi-k2", "--svg", "/no/such/folder/ladder.svg"]);
    assert!(error.starts_with("/no/such/folder/ladder.svg: "), "{error}");
}
