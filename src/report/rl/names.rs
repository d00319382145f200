//! What a run is called: the part of its path that no other has.

use std::path::{Component, Path};

/// The folder that a run is named by, and its seed where the folder is `.../NAME/seed-N`.
pub(super) fn of_seed(folder: &Path) -> (&Path, Option<u64>) {
    let name = folder.file_name().and_then(|name| name.to_str());
    let seed = name.and_then(|name| name.strip_prefix("seed-")?.parse().ok());
    match (seed, folder.parent()) {
        (Some(seed), Some(parent)) if parent.file_name().is_some() => (parent, Some(seed)),
        _ => (folder, None),
    }
}

/// The names of folders, of which no two are the same: what is left of their paths when the beginning and the end that
/// all share are taken off. A folder alone has its own name.
pub(super) fn names(folders: &[&Path]) -> Vec<String> {
    let parts: Vec<Vec<String>> = folders.iter().map(|folder| parts(folder)).collect();
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0);
    let shared = |at: &dyn Fn(&[String], usize) -> Option<String>, most: usize| {
        let same = |i: &usize| parts.iter().all(|path| at(path, *i) == at(&parts[0], *i));
        (0..most).take_while(same).count()
    };
    let mut before = shared(&|path, i| path.get(i).cloned(), shortest);
    let behind = shared(&|path, i| path.iter().rev().nth(i).cloned(), shortest - before);
    // Of a folder in another folder nothing would be left.
    if shortest == before + behind {
        before = before.saturating_sub(1);
    }
    let name = |path: &Vec<String>| match path.get(before..path.len() - behind) {
        Some(own) if !own.is_empty() && parts.len() > 1 => own.join("/"),
        _ => path.last().cloned().unwrap_or_else(|| "run".into()),
    };
    parts.iter().map(name).collect()
}

fn parts(folder: &Path) -> Vec<String> {
    let own = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    folder.components().filter_map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(folders: &[&str]) -> Vec<String> {
        names(&folders.iter().map(Path::new).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_what_no_other_path_has() {
        assert_eq!(named(&["/data/runs/gated", "/data/runs/added"]), ["gated", "added"]);
        assert_eq!(named(&["/runs/a/rl", "/runs/b/rl"]), ["a", "b"]);
        assert_eq!(
            named(&["/runs/a/x/rl", "/runs/b/x/rl", "/c/rl"]),
            ["runs/a/x", "runs/b/x", "c"]
        );
        assert_eq!(named(&["/runs/a", "/runs/a/b"]), ["a", "a/b"]);
        assert_eq!(named(&["/runs/a/a", "/runs/a"]), ["a/a", "a"]);
        assert_eq!(named(&["/runs/a"]), ["a"]);
        assert_eq!(named(&["/", "/a"]), ["run", "a"]);
        assert_eq!(named(&["/"]), ["run"]);
        assert!(named(&[]).is_empty());
    }

    #[test]
    fn seeds_are_in_the_folder_of_their_name() {
        let seed = |folder: &'static str| of_seed(Path::new(folder));
        assert_eq!(seed("/runs/rl/seed-3"), (Path::new("/runs/rl"), Some(3)));
        assert_eq!(seed("/runs/rl/seed-x"), (Path::new("/runs/rl/seed-x"), None));
        assert_eq!(seed("/seed-3"), (Path::new("/seed-3"), None));
        assert_eq!(seed("/runs/rl"), (Path::new("/runs/rl"), None));
    }
}
