//! Files and folders where somebody else's code could have put anything: a link that leads elsewhere, a pipe that never
//! gives a byte, a file without end. Whatever is opened here is opened once, waits for nothing, and is looked at after
//! it was opened.
//!
//! - [`Folder`]: a foreign tree, beneath its own handle and without any link.
//! - [`read_project_file`] and its like: a file of the user's project, in which links within the project are allowed.
//! - [`open_regular`], [`read_regular`]: a file whose path is trusted, but not what is there.
//! - [`Scratch`]: a folder of our own in a place for all, which goes away.
//!
//! Nothing here knows what is in the files.

mod folder;
mod project;
mod regular;
mod scratch;

pub use folder::{Entry, Folder, Found, Moment, Status};
pub use project::{open_project_file, read_project_bytes, read_project_file};
pub use regular::{
    Links, open_regular, read_at_most, read_regular, read_regular_text, text_at_most,
};
pub use scratch::Scratch;
