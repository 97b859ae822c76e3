//! Results on standard output.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::{Failure, Result};

pub(crate) fn text(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Failure::Output)
}

/// One object, on a line of its own.
pub(crate) fn json(object: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(object).map_err(|error| Failure::Output(error.into()))?;
    text(&(line + "\n"))
}
