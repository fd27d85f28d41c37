//! Tests of the workspace as a whole. What the program does is tested in `tests/scenarios`.

mod dependencies;
mod help;
