//! Tests of the whole: against an archive made here, and against the real one where it can be reached.

mod end_to_end;
mod support;
