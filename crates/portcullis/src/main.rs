//! The command line: roles and tools in one program.
//!
//! `main` parses the arguments, hands over to the verb and turns its outcome into an exit
//! status; `docs/cli.md` describes the same things for users.

mod cert;
mod check;
mod cli;
mod configuration;
mod doctor;
mod exit;
mod gateway;
mod links;
mod logging;
mod quickstart;
mod table;
mod version;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// The default allocator gives memory back late and costs time on the request path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { command, gateway } = Cli::parse();
    let outcome = match command.unwrap_or(Command::Gateway(gateway)) {
        Command::Quickstart(arguments) => quickstart::run(arguments),
        Command::Gateway(arguments) => gateway::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Links(arguments) => links::run(&arguments),
        Command::Cert(command) => cert::run(&command),
        Command::Version => version::run(),
    };
    outcome.unwrap_or_else(exit::Failure::report).into()
}
