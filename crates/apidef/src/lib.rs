//! API definitions: Classic and OAS documents become one [`Api`].

mod api;
mod classic;
pub mod control;
mod document;
mod duration;
mod facts;
mod json;
mod listen_path;
mod members;
mod oas;
mod ours;
mod reader;
mod report;
mod source;
mod target;

pub use api::*;
pub use document::{Document, Format, ParsedDefinition, parse_classic, parse_oas};
pub use report::{DefinitionError, ErrorKind, Warning};
pub use source::{DefinitionFile, SourceFile, is_definition_name, parse_definition, parse_files};
