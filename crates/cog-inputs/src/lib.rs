//! Input rules: what a model's `OpenAPI` document demands of the inputs of a request.
//!
//! The rules are the JSON Schema keywords that inputs use. They are compiled once ([`ModelInputs::of`]) and then say
//! two things: which types, choices, bounds, defaults and formats a [`Field`] has, and whether a value meets them
//! ([`Field::check`]). What is wrong comes as a [`Finding`], a value: its words, and how many are told, are the
//! caller's. Values are checked as JSON text, so that nothing is built of a large one.
//!
//! Nothing here coerces a value or fills in a default. Documents come from images and are not trusted: what is odd in
//! one is not checked ([`Inputs::unchecked`]), and none makes a check endless.

mod check;
mod compile;
mod field;
mod finding;
mod number;
#[cfg(test)]
mod properties;
mod rule;
#[cfg(test)]
mod tests;
mod types;
mod walk;

pub use compile::{Unchecked, components, referenced};
pub use field::{Field, Inputs, Kind, ModelInputs};
pub use finding::{Finding, NoneOf, Place, Problem};
pub use rule::Rule;
pub use types::Type;
pub use walk::{each_element, each_member};
