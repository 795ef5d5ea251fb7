//! API definitions: Classic and OAS documents become one [`Api`].

mod api;

pub use api::*;
