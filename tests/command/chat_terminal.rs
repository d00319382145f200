//! `latent chat` in a terminal, which `script` makes of a pipe.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::chat::rendered;
use crate::folder::Folder;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
/// How often a text is repeated that takes seconds to compute on one thread.
const SLOW: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// A chat and what its terminal shows.
struct Terminal {
    folder: Folder,
    child: Child,
    keys: ChildStdin,
    pieces: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    /// A chat whose answers end when they are asked to.
    fn open() -> Self {
        Self::with(Folder::with_text(), "")
    }

    /// The same with further flags, as a shell reads them.
    fn with(folder: Folder, flags: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_latent");
        let dir = folder.dir();
        // In the shell's place: some shells end as Ctrl-C told them to, whatever the chat does.
        let line = format!("exec '{program}' chat --model '{dir}' --ignore-eos -n 1000000 {flags}");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut piece) {
                if sender.send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { folder, child, keys, pieces, shown: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// What is shown from here on, up to `text`.
    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.shown.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => panic!("no {text:?} in {:?}", self.shown),
            }
        }
    }

    /// The exit code of a chat that ends by itself.
    fn code(mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the chat goes on");
    }
}

impl Drop for Terminal {
    /// Takes the terminal away from a chat that goes on.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn ctrl_c_ends_an_answer_and_the_conversation_goes_on() {
    let mut terminal = Terminal::open();
    terminal.wait_for(">>> ");
    terminal.press("the quick brown fox\r");
    // Some of the answer is there, below the line as it was typed.
    terminal.wait_for("the quick brown fox");
    let began = terminal.wait_for("\n");
    std::thread::sleep(Duration::from_millis(400));
    terminal.press(CTRL_C);
    let answer = terminal.wait_for("; interrupted");
    assert!(answer.contains(" (0 reused) in "), "{began}{answer}");
    terminal.wait_for(">>> ");
    terminal.press("and the lazy dog\r");
    terminal.wait_for("and the lazy dog");
    std::thread::sleep(Duration::from_millis(400));
    terminal.press(CTRL_C);
    let answer = terminal.wait_for("; interrupted");
    let reused = answer.split_once(" reused)").unwrap().0.rsplit_once('(').unwrap().1;
    assert!(reused.parse::<usize>().unwrap() > 10, "{answer}");
    terminal.wait_for(">>> ");
    terminal.press(CTRL_D);
    assert_eq!(terminal.code(), Some(0));
}

/// A chat that is at the first of its prompts, which takes long.
fn in_a_long_prompt() -> Terminal {
    let folder = Folder::with_text();
    folder.write("long", "the quick brown fox and the lazy dog ".repeat(SLOW));
    let flags = format!("--backend reference --system \"$(cat '{}/long')\"", folder.dir());
    let mut terminal = Terminal::with(folder, &flags);
    terminal.wait_for(">>> ");
    terminal.press("never answered\r");
    terminal.wait_for("never answered");
    terminal.wait_for("\n");
    std::thread::sleep(Duration::from_millis(400));
    terminal
}

#[test]
fn an_answer_that_ends_before_its_first_word_leaves_nothing_behind() {
    let mut terminal = in_a_long_prompt();
    terminal.press(CTRL_C);
    let answer = terminal.wait_for("; interrupted");
    assert!(answer.contains("; 0 new in "), "{answer}");
    terminal.wait_for(">>> ");
    terminal.press("/system\r");
    terminal.wait_for("taken away");
    terminal.wait_for(">>> ");
    terminal.press("the lazy dog\r");
    terminal.wait_for("the lazy dog");
    std::thread::sleep(Duration::from_millis(400));
    terminal.press(CTRL_C);
    let answer = terminal.wait_for("; interrupted");
    let alone = rendered(&terminal.folder, None, &["the lazy dog"]).len();
    assert!(answer.contains(&format!("latent: prompt {alone} tokens (")), "{answer}");
    terminal.press(CTRL_D);
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn ctrl_c_twice_in_an_answer_ends_the_program() {
    let mut terminal = in_a_long_prompt();
    terminal.press(CTRL_C);
    std::thread::sleep(Duration::from_millis(100));
    terminal.press(CTRL_C);
    assert_eq!(terminal.code(), Some(130));
}

#[test]
fn ctrl_c_at_the_prompt_is_answered_once() {
    let mut terminal = Terminal::open();
    let hello = terminal.wait_for(">>> ");
    assert!(hello.contains("/help"), "{hello}");
    terminal.press("never said");
    terminal.press(CTRL_C);
    terminal.wait_for("latent: once more, Ctrl-D or /exit ends the chat");
    terminal.wait_for(">>> ");
    terminal.press("/what\r");
    // A line between makes the next one the first again.
    terminal.wait_for("error: no command \"/what\"");
    terminal.wait_for(">>> ");
    terminal.press(CTRL_C);
    terminal.wait_for("latent: once more");
    terminal.wait_for(">>> ");
    terminal.press(CTRL_C);
    assert_eq!(terminal.code(), Some(0));
}

#[test]
fn a_line_comes_back_with_the_arrow_key() {
    let mut terminal = Terminal::open();
    terminal.wait_for(">>> ");
    terminal.press("/what\r");
    terminal.wait_for("error: no command \"/what\"");
    terminal.wait_for(">>> ");
    terminal.press("\x1b[A\r");
    terminal.wait_for("error: no command \"/what\"");
    terminal.wait_for(">>> ");
    terminal.press("/exit\r");
    assert_eq!(terminal.code(), Some(0));
}
