//! Checkpoints of a run: whole whenever a process ends, refused where they belong to another run.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use latent_kernels::Reference;
use latent_model::text::Tokenizer;
use latent_model::{Feed, Form, LoadOptions, Model};
use latent_train::checkpoint::{Checkpoints, Contents, Restored, SnapshotError};
use latent_train::{Array, TrainError, Trainer};

#[path = "runs/tiny.rs"]
#[expect(dead_code, reason = "other tests train whole runs")]
mod tiny;

use tiny::{MLA_MOE, Place, names};

/// Steps 0 to 2 of a run.
struct Steps {
    place: Place,
    trainers: [Trainer<Reference<f32>>; 3],
}

impl Steps {
    fn new() -> Self {
        let place = Place::new();
        let after = |steps| {
            let mut trainer = place.trainer(MLA_MOE, &[]);
            (0..steps).for_each(|_| drop(trainer.step().unwrap()));
            trainer
        };
        let trainers = [after(0), after(1), after(2)];
        Self { place, trainers }
    }

    fn save(&self, checkpoints: &Checkpoints, step: usize) -> Result<PathBuf, SnapshotError> {
        checkpoints.save(&self.trainers[step].contents().unwrap())
    }

    fn read(&self, folder: &Path) -> Result<Restored, SnapshotError> {
        Restored::read(
            folder,
            &self.place.prepared(MLA_MOE, &[]).settings(&Reference::<f32>::new()),
        )
    }
}

/// A process may end before any operation on files, in the middle of a save that also removes.
#[test]
fn a_kill_before_any_operation_leaves_the_last_checkpoint_or_the_new_one() {
    let steps = Steps::new();
    let (mut seen, mut operations) = ([false; 3], 0);
    for ends_before in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path(), 1).unwrap();
        steps.save(&checkpoints, 0).unwrap();
        steps.save(&checkpoints, 1).unwrap();
        let mut count = 0;
        let contents = steps.trainers[2].contents().unwrap();
        let saved = checkpoints.save_observed(&contents, &mut |_| {
            count += 1;
            if count > ends_before { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        let newest = checkpoints.latest().unwrap().unwrap();
        let restored = steps.read(&newest).unwrap();
        let step = restored.progress.step;
        assert_eq!(newest, checkpoints.folder(step));
        let index = usize::try_from(step).unwrap();
        assert_eq!(&restored.weights, steps.trainers[index].weights(), "before {ends_before}");
        seen[index] = true;
        if step == 1 {
            steps.save(&checkpoints, 2).unwrap();
        } else {
            checkpoints.tidy().unwrap();
        }
        assert_eq!(names(folder.path()), ["latest", "step-00000002"], "before {ends_before}");
        if saved.is_ok() {
            operations = ends_before;
            break;
        }
    }
    assert_eq!(seen, [false, true, true]);
    assert!(operations > 15, "{operations} operations");
}

/// A folder under its hidden name may hold anything when the process ends within an operation.
#[test]
fn what_a_killed_process_left_is_swept_away() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2).unwrap();
    steps.save(&checkpoints, 0).unwrap();
    for left in [".step-00000001.partial", ".step-00000009.removed"] {
        fs::create_dir(folder.path().join(left)).unwrap();
        fs::write(folder.path().join(left).join("model.safetensors"), "half").unwrap();
    }
    fs::write(folder.path().join(".latest.partial"), "step-0").unwrap();
    fs::write(folder.path().join(".step-notes.partial"), "not ours").unwrap();
    // A whole one that nothing pointed to yet, and a file of it that is no longer written.
    fs::create_dir(folder.path().join("step-00000001")).unwrap();
    fs::write(folder.path().join("step-00000001/old"), "").unwrap();
    steps.save(&checkpoints, 1).unwrap();
    let left = [".step-notes.partial", "latest", "step-00000000", "step-00000001"];
    assert_eq!(names(folder.path()), left);
    steps.read(&checkpoints.latest().unwrap().unwrap()).unwrap();
    assert!(!folder.path().join("step-00000001/old").exists());
}

#[test]
fn a_full_disk_leaves_the_last_checkpoint_and_nothing_else() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2).unwrap();
    steps.save(&checkpoints, 0).unwrap();
    let contents = steps.trainers[1].contents().unwrap();
    let full = |what: &str| {
        let fails = what.starts_with("write") && what.ends_with("optimizer.safetensors");
        if fails { Err(io::Error::from(ErrorKind::StorageFull)) } else { Ok(()) }
    };
    let error = checkpoints.save_observed(&contents, &mut |what| full(what)).unwrap_err();
    assert!(error.to_string().contains("optimizer.safetensors: "), "{error}");
    assert!(
        matches!(&error, SnapshotError::Io { source, .. } if source.kind() == ErrorKind::StorageFull)
    );
    assert_eq!(checkpoints.latest().unwrap(), Some(checkpoints.folder(0)));
    // Half of a save is taken away where the process lives on.
    let mut weights = contents.weights.clone();
    weights.insert("__metadata__", Array::new(&[1], vec![0.0]).unwrap());
    let error = checkpoints.save(&Contents { weights: &weights, ..contents }).unwrap_err();
    assert!(error.to_string().contains("__metadata__"), "{error}");
    assert_eq!(checkpoints.latest().unwrap(), Some(checkpoints.folder(0)));
    assert_eq!(names(folder.path()), ["latest", "step-00000000"]);
}

#[test]
fn the_oldest_are_removed_and_as_many_as_asked_for_are_kept() {
    let steps = Steps::new();
    for (keep, left) in [(1, &[2][..]), (2, &[1, 2]), (9, &[0, 1, 2])] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path(), keep).unwrap();
        (0..3).for_each(|step| drop(steps.save(&checkpoints, step).unwrap()));
        assert_eq!(checkpoints.steps().unwrap(), left);
        assert_eq!(fs::read_to_string(folder.path().join("latest")).unwrap(), "step-00000002\n");
    }
    let none = Checkpoints::new(Path::new("x"), 0).unwrap_err();
    assert_eq!(none.to_string(), "keep: found 0, want at least 1 checkpoint");
}

#[test]
fn the_newest_checkpoint_is_not_written_twice() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1).unwrap();
    steps.save(&checkpoints, 1).unwrap();
    let error = steps.save(&checkpoints, 1).unwrap_err();
    assert!(matches!(error, SnapshotError::Exists { .. }), "{error}");
    steps.read(&checkpoints.latest().unwrap().unwrap()).unwrap();
}

#[test]
fn a_checkpoint_is_loaded_as_a_published_model_is() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1).unwrap();
    let saved = steps.save(&checkpoints, 2).unwrap();
    let options = LoadOptions { check_weights: true, ..LoadOptions::default() };
    let (loaded, warnings) = Model::load(Reference::<f32>::new(), &saved, &options).unwrap();
    assert_eq!(warnings, [""; 0]);
    let tokenizer = Tokenizer::from_dir(&saved).unwrap();
    let tokens = tokenizer.encode("7 sheep").unwrap();
    let logits = |model: &Model<Reference<f32>>| {
        let mut cache = model.cache(64).unwrap();
        let feed = Feed { sequence: cache.new_sequence(), tokens: &tokens };
        let hidden = model.forward(&mut cache, &[feed], Form::Absorbed, &mut ()).unwrap();
        model.logits(&hidden).unwrap()
    };
    assert_eq!(logits(&loaded), logits(&steps.trainers[2].model().unwrap()));
    assert_eq!(tokenizer.eos_id().map(|id| vec![id]), Some(loaded.config().eos_token_id.clone()));
}

#[test]
fn g7_a_checkpoint_without_one_of_its_files_is_refused() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let saved = steps.save(&Checkpoints::new(folder.path(), 1).unwrap(), 1).unwrap();
    let files = names(&saved);
    assert_eq!(files.len(), 6);
    for name in files.iter().filter(|name| *name != "tokenizer_config.json") {
        let (path, aside) = (saved.join(name), folder.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        let error = steps.read(&saved).unwrap_err();
        let whole = "not found; the checkpoint is not whole, and a run cannot go on from it";
        assert_eq!(error.to_string(), format!("{}: {whole}", path.display()));
        fs::rename(&aside, &path).unwrap();
    }
    steps.read(&saved).unwrap();
}

#[test]
fn g7_a_checkpoint_whose_files_are_cut_is_refused() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let saved = steps.save(&Checkpoints::new(folder.path(), 1).unwrap(), 1).unwrap();
    for name in ["config.json", "model.safetensors", "optimizer.safetensors", "trainer.json"] {
        let path = saved.join(name);
        let bytes = fs::read(&path).unwrap();
        for length in [0, 7, bytes.len() / 2, bytes.len() - 5] {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = steps.read(&saved).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        fs::write(&path, bytes).unwrap();
    }
    steps.read(&saved).unwrap();
}

#[test]
fn a_weight_that_is_no_number_is_refused() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let saved = steps.save(&Checkpoints::new(folder.path(), 1).unwrap(), 1).unwrap();
    for name in ["model.safetensors", "optimizer.safetensors"] {
        let path = saved.join(name);
        let bytes = fs::read(&path).unwrap();
        let mut wrong = bytes.clone();
        let last = wrong.len() - 4;
        wrong[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&path, wrong).unwrap();
        let run = steps.place.prepared(MLA_MOE, &[]);
        let error = steps
            .read(&saved)
            .map_err(TrainError::from)
            .and_then(|restored| Trainer::resume(Reference::<f32>::new(), run, restored))
            .unwrap_err()
            .to_string();
        assert!(error.contains(name) && error.contains("NaN"), "{error}");
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn g7_a_pointer_to_nothing_is_refused() {
    let steps = Steps::new();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1).unwrap();
    assert_eq!(checkpoints.latest().unwrap(), None);
    steps.save(&checkpoints, 1).unwrap();
    for (text, found) in [
        ("step-00000007\n", "step-00000007, which is no folder"),
        ("", "\"\""),
        ("../elsewhere", "\"../elsewhere\""),
        ("step-1", "\"step-1\""),
    ] {
        fs::write(folder.path().join("latest"), text).unwrap();
        let error = checkpoints.latest().unwrap_err().to_string();
        let wanted = format!(
            "{}: found {found}, want the name of a checkpoint, as in step-00001000",
            folder.path().join("latest").display()
        );
        assert_eq!(error, wanted);
    }
}
