//! Models' folders: those of the conformance pack, and copies to be changed.

use std::fs;
use std::path::{Path, PathBuf};

use latent_model::checkpoint::random::{RandomDtype, write};
use latent_model::checkpoint::{Checkpoint, OpenOptions, TensorMeta, save};
use latent_model::config::ModelConfig;
use latent_model::conformance::Expected;
use serde_json::Value;
use tempfile::TempDir;

/// The conformance cases that say how a model goes on.
pub(crate) const CASES: [&str; 12] = [
    "v2_lite",
    "v2",
    "v3",
    "v3_fp8",
    "v3_mtp",
    "moonlight",
    "kimi_k2",
    "deepseek",
    "deepseek_gqa",
    "llama",
    "llama_mha",
    "llama_mqa",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of a conformance case.
pub(crate) fn case(name: &str) -> String {
    text(&root().join("conformance").join(name))
}

/// What a conformance case expects.
pub(crate) fn expected(name: &str) -> Expected {
    Expected::open(case(name).as_ref()).unwrap()
}

/// Token ids as they are given and printed.
pub(crate) fn list(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A model's folder that is gone with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A copy of a conformance case.
    pub(crate) fn of(name: &str) -> Self {
        let folder = Self::empty();
        folder.copy(&root().join("conformance").join(name));
        folder
    }

    /// A copy of `v3` whose vocabulary is that of the small tokenizer beside it.
    pub(crate) fn with_text() -> Self {
        let folder = Self::empty();
        folder.copy(&root().join("model/tests/fixtures/tiny_tokenizer"));
        let published = fs::read_to_string(root().join("conformance/v3/config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&published).unwrap();
        config["vocab_size"] = 343.into();
        config["eos_token_id"] = Value::Null;
        folder.write("config.json", config.to_string());
        let (config, _) = ModelConfig::from_dir(folder.path()).unwrap();
        write(folder.path(), &config.tensors(), 7, RandomDtype::F32, u64::MAX).unwrap();
        folder
    }

    /// A small text in two documents or more, and settings as `file`, in which TEXT stands for its path and
    /// OUT for that of a folder `out`.
    pub(crate) fn to_train_in(file: &str, settings: &str) -> Self {
        let folder = Self::empty();
        let line = |i: u32| format!("{i} sheep, {} gates.\n", i * i);
        let lines: Vec<String> = (0..40).map(line).collect();
        folder.write("text.txt", lines.concat().replace("9 sheep", "%%\n9 sheep"));
        let quoted = |name: &str| format!("{:?}", text(&folder.join(name)));
        let settings = settings.replace("TEXT", &quoted("text.txt")).replace("OUT", &quoted("out"));
        folder.write(file, settings);
        folder
    }

    fn copy(&self, from: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, self.join(&text(Path::new(path.file_name().unwrap())))).unwrap();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn dir(&self) -> String {
        text(self.path())
    }

    pub(crate) fn join(&self, file: &str) -> PathBuf {
        self.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.join(file), bytes).unwrap();
    }

    /// Changes the object in a JSON file.
    pub(crate) fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&fs::read(self.join(file)).unwrap()).unwrap();
        change(&mut value);
        self.write(file, value.to_string());
    }

    /// Writes the weights anew, as `change` leaves them, in one file.
    pub(crate) fn edit_weights(&self, change: impl FnOnce(&mut Vec<(TensorMeta, Vec<u8>)>)) {
        let checkpoint = Checkpoint::open(self.path(), OpenOptions::default()).unwrap();
        let read = |name| {
            let info = checkpoint.info(name).unwrap();
            let meta = TensorMeta::new(name, info.dtype, info.shape);
            (meta, checkpoint.bytes(name).unwrap().as_slice().to_vec())
        };
        let mut tensors: Vec<(TensorMeta, Vec<u8>)> = checkpoint.names().map(read).collect();
        change(&mut tensors);
        for file in self.files().iter().filter(|file| file.starts_with("model")) {
            fs::remove_file(self.join(file)).unwrap();
        }
        let metas: Vec<TensorMeta> = tensors.iter().map(|(meta, _)| meta.clone()).collect();
        save(self.path(), &metas, u64::MAX, |meta, out| {
            out.write_all(&tensors.iter().find(|(m, _)| m.name == meta.name).unwrap().1)
        })
        .unwrap();
    }

    /// The names of its files.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
