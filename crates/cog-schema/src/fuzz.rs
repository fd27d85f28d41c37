//! Mutated models for as long as `COG_FUZZ_SECONDS` says (`make fuzz`): no input may panic or loop.
//!
//! Starts from every Python file of the repository and a model that uses all that the schema knows, and cuts, copies,
//! swaps and inserts pieces of them.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::tests::{run_files, signature};

/// Far more than any input needs.
const TIME_LIMIT: Duration = Duration::from_secs(10);

const EVERYTHING: &str = r#"
from __future__ import annotations
import cog, enum, dataclasses
from cog import BaseModel, BaseRunner, ConcatenateIterator, File, Input, Opaque, Path, Secret
from typing import *
from pydantic import BaseModel as PBM
from shared import Other as Renamed
from .pack import thing

CHOICES = ["a", "b"] + ["c"]
SIZES = {"1:1": (1, 1), "2:1": (2, 1)}

@dataclasses.dataclass(frozen=True)
class Inputs:
    ratio = Input(description="r", choices=list(SIZES.keys()), default="1:1")
    @staticmethod
    def guidance(default: float) -> float:
        return Input(ge=0.0, le=20.0, default=default)

class Payload(TypedDict, total=False):
    name: Required[str]
    count: NotRequired[int]

class Tree(BaseModel):
    child: Optional["Tree"] = None
    items: list[dict[str, list[int]]] = []

class Kind(enum.Enum):
    ONE = "one"

class Runner(BaseRunner):
    def setup(self, weights: Path | None) -> None: ...
    @cog.streaming
    @cog.concurrent(max=4)
    async def run(self, text: str = Input(description="d" "e", min_length=1, regex="^[a-z]+$"),
                  n: int = -1, x: float | None = 1e-3, kind: Literal["a", "b", 3] = "a",
                  image: Optional[Path] = Input(default=None, accept="image/*"), key: Secret = None,
                  ratio: str = Inputs.ratio, g: float = Inputs.guidance(7.5), p: Payload = {},
                  many: List[Union[str, int]] = [1, "x"], o: Annotated[list[Renamed], Opaque] = [],
                  *args: int, flag: bool = not True, **kwargs: Any) -> AsyncIterator[str]:
        yield text

def train(n: int = Input(ge=0)) -> Path: ...
"#;

const PIECES: [&str; 24] = [
    "Input(",
    "default=",
    "Optional[",
    "list[",
    "]",
    ")",
    "(",
    "{",
    "}",
    " | None",
    "\n    ",
    "\n",
    "class X(X):",
    "from run import *",
    "import run as a",
    "'",
    "\"\"\"",
    "\\",
    "\u{feff}",
    "\u{0}",
    "é",
    "lambda: ",
    "**",
    ":=",
];

struct Random(u64);

impl Random {
    /// Below `limit`, which is not zero.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("it is below a usize")
    }

    /// A part of `text`, cut between characters, not longer than some lines.
    fn part<'a>(&mut self, text: &'a str) -> &'a str {
        let start = text.floor_char_boundary(self.below(text.len() + 1));
        let end = text.ceil_char_boundary((start + self.below(200)).min(text.len()));
        &text[start..end]
    }
}

fn mutated(corpus: &[String], random: &mut Random) -> String {
    let mut text = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = text.floor_char_boundary(random.below(text.len() + 1));
        match random.below(5) {
            0 => {
                let cut = random.part(&text[at..]).len();
                text.replace_range(at..text.ceil_char_boundary(at + cut), "");
            }
            1 => {
                let other = &corpus[random.below(corpus.len())];
                let part = random.part(other).to_owned();
                text.insert_str(at, &part);
            }
            2 => text.insert_str(at, PIECES[random.below(PIECES.len())]),
            3 => {
                let piece = PIECES[random.below(PIECES.len())].repeat(1 + random.below(400));
                text.insert_str(at, &piece);
            }
            _ => text.truncate(at),
        }
    }
    text
}

fn python_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            python_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "py") {
            found.push(path);
        }
    }
}

#[test]
#[ignore = "runs for as long as COG_FUZZ_SECONDS says: make fuzz"]
fn mutated_models_neither_panic_nor_loop() {
    let seconds = std::env::var("COG_FUZZ_SECONDS").map_or(600, |text| {
        text.parse()
            .expect("COG_FUZZ_SECONDS is a number of seconds")
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in ["examples", "python", "benches"] {
        python_files(&root.join(folder), &mut files);
    }
    files.sort();
    let mut corpus: Vec<String> = files.iter().flat_map(fs_err::read_to_string).collect();
    // As many as all others together: they are what models look like.
    for _ in 0..corpus.len() {
        corpus.push(EVERYTHING.to_owned());
        corpus.push(signature(
            "(self, s: str = Input(default='x', choices=['x', 'y'])) -> list[str]",
        ));
    }
    let seed = std::process::id().into();
    println!("{} texts to start from, seed {seed}", corpus.len());
    let mut random = Random(seed);
    let (to_runner, inputs) = mpsc::channel::<[String; 2]>();
    let (to_us, done) = mpsc::channel();
    let runner = std::thread::spawn(move || {
        for [model, shared] in inputs {
            let files = [
                ("run.py", &*model),
                ("shared.py", &*shared),
                ("pack/__init__.py", &*shared),
            ];
            let accepted = run_files(&files).is_ok();
            if to_us.send(accepted).is_err() {
                return;
            }
        }
    });
    let (started, mut count, mut accepted) = (Instant::now(), 0_u64, 0_u64);
    while started.elapsed() < Duration::from_secs(seconds) {
        let input = [mutated(&corpus, &mut random), mutated(&corpus, &mut random)];
        to_runner.send(input.clone()).expect("the runner waits");
        match done.recv_timeout(TIME_LIMIT) {
            Ok(is_accepted) => accepted += u64::from(is_accepted),
            Err(error) => panic!(
                "{error}, after {count} inputs, with\n{}\n-- shared --\n{}",
                input[0], input[1]
            ),
        }
        count += 1;
    }
    drop(to_runner);
    runner.join().expect("it did not panic");
    println!("{count} inputs in {seconds} s, {accepted} of them accepted: no panic, no loop");
    assert!(accepted > 0, "nothing was accepted, so little was reached");
}
